"""task=chat: a conversation in the terminal, or with questions that come through a pipe, one a line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.chat_model import ChatModel, ChatRequest, RequestRefusedError
from kinnari.serving.exchanges import Exchange, messages_for
from kinnari.tasks import build
from kinnari.tasks.serving import check_timeout, engine, guard_of, guarded

HELP = "/reset begins anew, /system TEXT sets the system prompt (/system alone shows it), /quit ends; Ctrl-C stops an answer."


def chat(cfg: DictConfig) -> dict[str, Any]:
    """Talk until /quit or the end of the input.

    Returns:
        exchanges: how many there were.

    Raises:
        ConfigError: `chat.history` or `chat.timeout_s` is out of its range.
    """
    if not isinstance(cfg.chat.history, int) or cfg.chat.history < 0:
        raise ConfigError(f"chat.history={cfg.chat.history} must be a whole number of at least 0.")
    check_timeout("chat.timeout_s", cfg.chat.timeout_s)
    settings, guard = build.generation_settings(cfg), guard_of(cfg)
    loaded = engine(cfg, max_running=1, max_waiting=1, timeout_s=cfg.chat.timeout_s)
    model = guarded(guard, [loaded])[0]
    _replace_what_is_no_text()
    talk = Talk(model, settings, history=cfg.chat.history, system=cfg.chat.system, seed=cfg.seed)
    asks = sys.stdin.isatty()
    if asks:
        print(f"{model.name}. {HELP}")
    try:
        for line in _lines("> " if asks else ""):
            if not talk.hear(line):
                break
    except BrokenPipeError:  # whoever read the answers has gone: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end, when it flushes
    finally:
        loaded.close()
    return {"exchanges": talk.asked}


class Talk:
    """One conversation.

    Args:
        model: that answers.
        settings: decoding of every answer.
        history: exchanges before the question that the model sees.
        system: the system prompt; empty for the template's own.
        seed: of the first answer; each later one adds 1.
        write: pieces of text go here.

    Attributes:
        asked: questions so far, those before a /reset among them.
    """

    def __init__(
        self,
        model: ChatModel,
        settings: GenerationSettings,
        *,
        history: int,
        system: str = "",
        seed: int = 0,
        write: Callable[[str], None] = lambda text: print(text, end="", flush=True),
    ) -> None:
        self.model, self.settings, self.history, self.system, self.seed, self.write = model, settings, history, system, seed, write
        self.earlier: list[Exchange] = []
        self.asked = 0

    def hear(self, line: str) -> bool:
        """A question or a command; False for /quit."""
        command, _, rest = line.strip().partition(" ")
        if command == "/quit":
            return False
        if command == "/reset":
            self.earlier = []
            self.write("(a new conversation)\n")
        elif command == "/system":
            self.system = rest.strip() or self.system
            self.write(f"(system: {self.system or 'the template’s own'})\n")
        elif command.startswith("/"):
            self.write(f"{HELP}\n")
        elif line.strip():
            self._ask(line.strip())
        return True

    def _ask(self, question: str) -> None:
        messages = messages_for(self.earlier, question, system=self.system, history=self.history)
        answer = ""
        try:
            reply = self.model.answer(ChatRequest(messages=messages, settings=self.settings, seed=self.seed + self.asked))
            try:
                for piece in reply:
                    answer += piece
                    self.write(piece)
                self.write(" …\n" if reply.finish_reason == "length" else "\n")
            except KeyboardInterrupt:
                self.write(" (stopped)\n")
            finally:
                reply.cancel()
        except RequestRefusedError as problem:
            self.write(f"({problem})\n")
        self.asked += 1
        self.earlier.append(Exchange(question, answer))


def _replace_what_is_no_text() -> None:
    """Bytes of a pipe that are no UTF-8, and letters that a terminal does not have, spoil themselves and not the talk."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _lines(prompt: str) -> Iterator[str]:
    """Lines of the input until it ends, with the keys of a line editor where somebody types."""
    if not prompt:
        yield from sys.stdin
        return
    import readline  # noqa: F401, from now on `input` edits lines

    while True:
        try:
            yield input(prompt)
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            return
