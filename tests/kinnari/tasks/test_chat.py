"""A conversation in the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.chat_model import QueueFullError
from kinnari.tasks.chat import Talk, chat
from kinnari.tasks.compose import compose
from kinnari.text.conversation import Message


class Echo:
    """Says the last question back; remembers what it was asked."""

    name = "echo"

    def __init__(self) -> None:
        self.asked, self.problem, self.interrupt = [], None, False

    def answer(self, request):
        self.asked.append(request)
        if self.problem:
            raise self.problem
        return EchoReply(request.messages[-1].content, self.interrupt)

    def close(self) -> None:
        pass


class EchoReply:
    prompt_tokens = completion_tokens = 1

    def __init__(self, text: str, interrupt: bool) -> None:
        self.text, self.interrupt, self.finish_reason, self.cancelled = text, interrupt, None, False

    def __iter__(self):
        yield self.text[:1]
        if self.interrupt:
            raise KeyboardInterrupt
        yield self.text[1:]
        self.finish_reason = "stop"

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def talk(said: list[str]) -> Talk:
    return Talk(Echo(), GenerationSettings(max_new_tokens=5), history=1, seed=10, write=said.append)


def test_answers_are_written_as_they_come(talk: Talk, said: list[str]) -> None:
    assert talk.hear("สวัสดี\n")
    assert said == ["ส", "วัสดี", "\n"]


def test_the_model_sees_the_last_exchanges_alone(talk: Talk) -> None:
    for line in ("one", "two", "three"):
        talk.hear(line)
    assert talk.model.asked[-1].messages == (Message("user", "two"), Message("assistant", "two"), Message("user", "three"))
    assert [request.seed for request in talk.model.asked] == [10, 11, 12]


def test_reset_forgets_and_system_stays(talk: Talk) -> None:
    for line in ("/system Be brief.", "one", "/reset", "two"):
        assert talk.hear(line)
    assert talk.model.asked[-1].messages == (Message("system", "Be brief."), Message("user", "two"))


def test_an_unknown_command_is_answered_with_those_there_are(talk: Talk, said: list[str]) -> None:
    assert talk.hear("/what")
    assert "/reset" in said[0] and not talk.model.asked


def test_quit_ends(talk: Talk) -> None:
    assert not talk.hear("/quit\n")


def test_a_refusal_is_written_and_the_talk_goes_on(talk: Talk, said: list[str]) -> None:
    talk.model.problem = QueueFullError("come again")
    assert talk.hear("one")
    assert "come again" in "".join(said)
    talk.model.problem = None
    talk.hear("two")
    assert talk.model.asked[-1].messages == (Message("user", "two"),)  # a question without an answer is no history


def test_an_interrupt_stops_the_answer_and_not_the_talk(talk: Talk, said: list[str]) -> None:
    talk.model.interrupt = True
    assert talk.hear("one")
    assert "".join(said) == "o (stopped)\n"


def test_a_history_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"chat.history=-1"):
        chat(compose(["task=chat", "model=tiny_causal", "chat.history=-1"]))


def test_questions_may_come_through_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n\n/reset\nAnd?\n"))
    cfg = compose(["task=chat", "model=tiny_causal", "trainer.precision=32-true", "generation.max_new_tokens=5", f"output_dir={tmp_path}"])
    assert chat(cfg) == {"exchanges": 2}
    assert "(a new conversation)" in capsys.readouterr().out


def test_bytes_that_are_no_text_and_letters_that_cannot_be_written_spoil_themselves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Hi \xff\n\xed\xa0\x80\nagain\n"), encoding="utf-8"))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    cfg = compose(["task=chat", "model=tiny_causal", "trainer.precision=32-true", "generation.max_new_tokens=5", f"output_dir={tmp_path}"])
    assert chat(cfg) == {"exchanges": 3}
    assert written.getvalue().count(b"\n") >= 3 and b"cannot read" not in written.getvalue()
