"""task=translate from raw rows to a set, and task=generate by way of another language."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import InstantiationException

from datamodules.sources.generic_file import GenericFile
from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.generate import generate
from kinnari.tasks.translate import translate
from kinnari.text.conversation import Message
from kinnari.translation.table import read_table
from tests.kinnari.translation.engines import Dictionary, save_learned

KEY = "sk-a-key-that-no-file-may-hold"


@pytest.fixture(scope="module")
def m2m100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_learned(tmp_path_factory.mktemp("m2m100"))


@pytest.fixture
def alpaca(tmp_path: Path) -> Path:
    rows = [
        {"instruction": "cat", "input": "", "output": "hello"},
        {"instruction": "hello", "input": "cat", "output": "```\ncat\n```\nhello"},
        {"instruction": "", "input": "", "output": "no question"},
        {"instruction": "cat", "input": "", "output": "hello"},
    ]
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def nllb(folder: Path, model: Path) -> list[str]:
    return [
        "translation=nllb",
        f"translation.cache={folder}/t.sqlite",
        f"translation.engine.path={model}",
        "translation.engine.num_beams=1",
    ]


def run(folder: Path, data: Path, *options: str, target: str = "th") -> dict[str, Any]:
    choices = ["task=translate", f"task.target={target}", "data=alpaca", f"data.alpaca.path={data}", f"output_dir={folder}/out"]
    return translate(compose([*choices, *options]))


def rows_of(folder: Path, name: str) -> list[Any]:
    return [json.loads(line) for line in (folder / "out" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_set_is_translated_and_the_second_run_asks_nothing(tmp_path: Path, alpaca: Path, m2m100: Path) -> None:
    result = run(tmp_path, alpaca, *nllb(tmp_path, m2m100))
    said = [[(m["role"], m["content"], m.get("context")) for m in row["messages"]] for row in rows_of(tmp_path, "conversations")]
    assert said == [
        [("user", "แมว", None), ("assistant", "สวัสดี", None)],
        [("user", "สวัสดี", "แมว"), ("assistant", "```\ncat\n```\nสวัสดี", None)],
    ]
    assert [row["step"] for row in rows_of(tmp_path, "rejects")] == ["read", "duplicates"]
    expected = {"rows": 3, "translated": 2, "failed": 0, "written": 2, "cached": 0, "directions": {"en->th": 2}}
    assert {key: result[key] for key in expected} == expected
    # "cat" and "hello" once each, and the answer with its code
    assert result["characters"] == result["characters_sent"] == 3 + 5 + 17

    again = run(tmp_path, alpaca, *nllb(tmp_path, m2m100))
    assert (again["cached"], again["characters_sent"], again["written"]) == (3, 0, 2)


def test_the_set_is_read_back_as_data_file(tmp_path: Path, alpaca: Path, m2m100: Path) -> None:
    run(tmp_path, alpaca, *nllb(tmp_path, m2m100), "task.mode=both")
    read = list(GenericFile(path=str(tmp_path / "out" / "conversations.jsonl"), format="messages").read())
    assert [row.messages for row in read] == [
        (Message("user", "cat"), Message("assistant", "hello")),
        (Message("user", "แมว"), Message("assistant", "สวัสดี")),
        (Message("user", "hello", context="cat"), Message("assistant", "```\ncat\n```\nhello")),
        (Message("user", "สวัสดี", context="แมว"), Message("assistant", "```\ncat\n```\nสวัสดี")),
    ]
    joined = GenericFile(path=str(tmp_path / "out" / "joined.jsonl"), columns={"messages": "messages_translated"})
    assert [row.messages for row in joined.read()] == [read[1].messages, read[3].messages]


def test_translation_pairs_in_one_direction(tmp_path: Path, alpaca: Path, m2m100: Path) -> None:
    run(tmp_path, alpaca, *nllb(tmp_path, m2m100), "task.mode=translation_pairs", "task.directions=[backward]", target="ko")
    rows = rows_of(tmp_path, "conversations")
    assert [(row["messages"][0]["context"], row["messages"][1]["content"]) for row in rows[:2]] == [("고양이", "cat"), ("안녕", "hello")]
    assert {row["messages"][0]["content"] for row in rows} == {"Translate the following into English."}


def test_a_dry_run_counts_and_needs_no_engine(tmp_path: Path, alpaca: Path) -> None:
    result = run(tmp_path, alpaca, "task.dry_run=true")
    assert (result["rows"], result["texts"], result["characters_by_language"]) == (3, 3, {"en": 25})
    assert not (tmp_path / "out" / "conversations.jsonl").exists()


@pytest.mark.parametrize("name", ["texts.csv", "texts.jsonl"])
def test_somebody_else_translates(tmp_path: Path, alpaca: Path, name: str) -> None:
    assert run(tmp_path, alpaca, "task.mode=export_texts", f"task.texts={name}")["exported"] == 3
    path = tmp_path / "out" / name
    filled = [{**row, "translation": {"cat": "แมว", "hello": "สวัสดี"}.get(row["text"], "")} for row in read_table(path)]
    back = tmp_path / "back.jsonl"
    back.write_text("\n".join(json.dumps(row) for row in filled), encoding="utf-8")
    table = ["translation=table", f"translation.engine.path={back}", f"translation.cache={tmp_path}/t.sqlite"]
    result = run(tmp_path, alpaca, *table)
    assert (result["written"], result["failed"]) == (1, 1)
    assert rows_of(tmp_path, "failures")[0]["error"] == "back.jsonl has no translation of it"


def test_rows_are_cleaned_before_they_cost_anything(tmp_path: Path, alpaca: Path, m2m100: Path) -> None:
    result = run(tmp_path, alpaca, *nllb(tmp_path, m2m100), "cleaning=default")
    assert (result["rows"], result["written"]) == (2, 2)  # the duplicate is gone before
    assert [row["step"] for row in rows_of(tmp_path, "rejects")] == ["read", "exact_duplicates"]


def test_limits_are_kept(tmp_path: Path, alpaca: Path) -> None:
    assert run(tmp_path, alpaca, "task.dry_run=true", "task.limit=1")["rows"] == 1
    assert run(tmp_path, alpaca, "task.dry_run=true", "data.alpaca.limit=2")["rows"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["translation=nllb", "task.target=null"], r"task\.target is not set"),
        (["task.limit=0"], r"task\.limit=0"),
        (["+task.checks.sense=1"], "sense"),
        ([], "translation=nllb"),
        (["translation=table"], "no csv or jsonl"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, alpaca: Path, options: list[str], message: str) -> None:
    with pytest.raises((ConfigError, InstantiationException), match=message):  # `launch.py` shows the cause of the latter
        run(tmp_path, alpaca, *options)


def test_a_local_model_that_babbles_leaves_failures(tmp_path: Path, alpaca: Path) -> None:
    options = [
        "translation=prompted",
        "model=tiny_causal",
        "translation.engine.settings.max_tokens=3",
        f"translation.cache={tmp_path}/t.sqlite",
    ]
    for attempt in (1, 2):
        result = run(tmp_path, alpaca, *options)
        assert result["written"] == 0 and result["failed"] + result["rejected"].get("checks", 0) >= 2
        assert {row["attempts"] for row in rows_of(tmp_path, "failures")} == {attempt}


class Endpoint(BaseHTTPRequestHandler):
    """Speaks the chat protocol; turns what stands after the empty line round."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"].split("\n\n")[-1]
        answer = {"choices": [{"message": {"content": {"cat": "고양이", "hello": "안녕"}[text]}, "finish_reason": "stop"}]}
        self.send_response(200 if self.headers["Authorization"] == f"Bearer {KEY}" else 401)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_an_endpoint_translates_and_its_key_is_written_nowhere(tmp_path: Path, alpaca: Path, endpoint: str) -> None:
    options = ["translation=prompted", f"translation.generator={endpoint}", "translation.generator_model=m", "translation.chunk=1"]
    result = run(tmp_path, alpaca, *options, f"translation.cache={tmp_path}/t.sqlite", target="ko")
    assert result["written"] == 2
    assert rows_of(tmp_path, "conversations")[1]["messages"][1]["content"] == "```\ncat\n```\n안녕"
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


# --- generate by way of another language ----------------------------------------------------------------------------------


def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Dictionary, prompts: str) -> list[dict[str, Any]]:
    monkeypatch.setattr("kinnari.tasks.translate.translator", lambda cfg: engine)
    options = ["model=tiny_causal", "generation.max_new_tokens=40", f"task.prompts={prompts}", f"output_dir={tmp_path}"]
    languages = ["translation=nllb", "task.translate_from=th", "task.translate_to=en"]
    return generate(compose(["task=generate", *options, *languages]))["answers"]


def test_prompts_go_in_and_answers_come_out_in_the_users_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Dictionary({"แมวคืออะไร": "What is a cat?"}, fails={"เสีย"})
    good, failed = ask(tmp_path, monkeypatch, engine, '["แมวคืออะไร","เสีย"]')
    assert (good["prompt"], good["prompt_translated"], good["error"]) == ("แมวคืออะไร", "What is a cat?", None)
    assert good["answer_translated"] == good["answer"][::-1] and len(good["answer"]) > 10
    assert [(source, target) for _, source, target in engine.calls] == [("th", "en"), ("en", "th")]
    assert (failed["answer"], failed["error"]) == (None, "the prompt could not be translated: no such word")
    direct = compose(["task=generate", "model=tiny_causal", "generation.max_new_tokens=40", 'task.prompts=["What is a cat?"]'])
    assert generate(direct)["answers"][0]["answer"] == good["answer"]
    assert "no such word" in capsys.readouterr().out


def test_an_answer_that_cannot_be_translated_is_shown_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ask(tmp_path, monkeypatch, Dictionary(), '["b a"]')[0]["answer"]
    (row,) = ask(tmp_path, monkeypatch, Dictionary(fails={answer}), '["b a"]')
    assert (row["answer"], row["answer_translated"]) == (answer, None)
    assert row["error"] == "the answer could not be translated: no such word"


def test_one_choice_of_three_is_refused(tmp_path: Path) -> None:
    for options in (["translation=nllb"], ["task.translate_from=th", "task.translate_to=en"], ["translation=nllb", "task.translate_to=en"]):
        with pytest.raises(ConfigError, match="takes three choices"):
            generate(compose(["task=generate", "model=tiny_causal", *options, f"output_dir={tmp_path}"]))
