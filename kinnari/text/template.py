"""The one renderer: conversation -> segments, for training, generation and chat alike.

    <|im_start|>user\n  Hi  <|im_end|>\n<|im_start|>assistant\n  Hello!  EOS  \n
    `---- template ---' `text' `---------- template ----------' `-answer-----' `template

Which segments are trained is the loss policy's choice, see `LossOn`. A template is data (one yaml file in
conf/model/template); its text may hold control tokens, the user's text may not: a user who writes "<|im_end|>" gets the
characters, not the control token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol, get_args

from kinnari.errors import ConfigError
from kinnari.text.conversation import Message

Kind = Literal["bos", "template", "text", "opening", "answer", "eos"]
# answers      every assistant turn with its EOS
# last_answer  the last assistant turn with its EOS
# everything   prompts and template text too ("train on inputs"); never BOS, which nothing comes before
# `Message.trained` overrides it for the turn: what is written in it, and the EOS of an assistant turn.
LossOn = Literal["answers", "everything", "last_answer"]


class Segment(NamedTuple):
    """A piece of text that is tokenised by itself.

    Attributes:
        kind: "text" and "answer" are people's words, everything else is the template's own and may hold control tokens.
            "opening" is template text that the model writes itself before its answer (an empty thinking block).
        text: empty in "bos" and "eos" segments that stand for the tokenizer's own token.
    """

    kind: Kind
    text: str
    trained: bool


class Renderer(Protocol):
    """What turns messages into segments: a `Template`, or the model's own `ChatTemplate`."""

    @property
    def name(self) -> str: ...

    @property
    def answer_end(self) -> str | None: ...

    def render(self, messages: Sequence[Message], loss_on: str = "answers") -> list[Segment]: ...

    def render_prompt(self, messages: Sequence[Message]) -> list[Segment]: ...


@dataclass(frozen=True, kw_only=True)
class Template:
    """How roles become text. `{content}`, `{context}` and `{system}` are the only fields.

    Args:
        name: the file's name, recorded beside every result.
        system: wraps a system message; must hold `{content}`.
        user: wraps a user message without context.
        user_with_context: wraps one with context; None puts the context after the content, an empty line between.
        assistant_start: what the model reads before it answers; generation prompts end with it.
        after_eos: untrained text between the EOS of one answer and the next turn.
        default_system: system message used when a conversation brings none; None for no system turn.
        bos: whether a row starts with the tokenizer's BOS token.
        default_system_with_context: the default where the first user message has a context; None is `default_system`.
        user_with_system: wraps the user message that follows a system message, which then has no turn of its own but
            stands at `{system}`; None wraps the system message in `system`.
        bos_each_turn: whether BOS stands before every later user turn, too.
        answer_end: the control token that ends an answer; None is the tokenizer's EOS.

    Raises:
        ConfigError: a pattern lacks the field of what it wraps, so a message would be lost.
    """

    name: str
    system: str
    user: str
    user_with_context: str | None
    assistant_start: str
    after_eos: str
    default_system: str | None
    bos: bool
    default_system_with_context: str | None = None
    user_with_system: str | None = None
    bos_each_turn: bool = False
    answer_end: str | None = None

    def __post_init__(self) -> None:
        needed = {"system": ("content",), "user": ("content",), "user_with_context": ("content", "context")}
        for name, fields in {**needed, "user_with_system": ("content", "system")}.items():
            text: str | None = getattr(self, name)
            for field in fields:
                if text is not None and f"{{{field}}}" not in text:
                    raise ConfigError(f"template {self.name}: {name}={text!r} lacks {{{field}}}, so the message would be lost; add it.")

    def render(self, messages: Sequence[Message], loss_on: str = "answers") -> list[Segment]:
        """Segments of a whole conversation; every assistant turn is followed by EOS. Neighbouring template text is one segment.

        Raises:
            ConfigError: if there is no message, or a message or `loss_on` is of an unknown kind.
        """
        if not messages:
            raise ConfigError("A conversation needs at least one message to be rendered; it has none.")
        return self._rows(messages, loss_on).segments

    def render_prompt(self, messages: Sequence[Message]) -> list[Segment]:
        """Segments up to the place where the model answers: a prefix, token for token, of `render` of the answered one."""
        rows = self._rows(messages, "answers")
        rows.template(self.assistant_start)
        return rows.segments

    def _rows(self, messages: Sequence[Message], loss_on: str) -> _Rows:
        flags = trained_turns(messages, loss_on)
        rows = _Rows(everything=loss_on == "everything")
        if self.bos:
            rows.add("bos", "", False)
        system = self._default_system(messages)
        users = 0
        for message, trained in zip(messages, flags, strict=True):
            if message.role == "system":
                self._system(rows, system)
                system = Segment("text", message.content, trained)
            elif message.role == "user":
                if self.bos_each_turn and users:
                    rows.add("bos", "", False)
                users += 1
                self._user(rows, message, trained, system)
                system = None
            else:
                self._system(rows, system)
                system = None
                rows.template(self.assistant_start)
                rows.add("answer", message.content, trained)
                rows.add("eos", self.answer_end or "", trained)
                rows.template(self.after_eos)
        self._system(rows, system)
        return rows

    def _default_system(self, messages: Sequence[Message]) -> Segment | None:
        """The template's own words, which may hold control tokens."""
        if messages and messages[0].role == "system":
            return None
        text = self.default_system
        if messages and messages[0].role == "user" and messages[0].context and self.default_system_with_context is not None:
            text = self.default_system_with_context
        return None if text is None else Segment("template", text, False)

    def _system(self, rows: _Rows, system: Segment | None) -> None:
        """A system message that no user turn takes in."""
        if system is not None:
            rows.fill(self.system, {"content": system})

    def _user(self, rows: _Rows, message: Message, trained: bool, system: Segment | None) -> None:
        folds = system is not None and self.user_with_system is not None
        if not folds:
            self._system(rows, system)
        content, pattern = message.content, self.user
        if message.context and self.user_with_context is not None and not folds:
            pattern = self.user_with_context
        elif message.context:
            content = f"{content}\n\n{message.context}"
        fields = {
            "content": Segment("text", content, trained),
            "context": Segment("text", message.context, trained),
        }
        if system is not None and self.user_with_system is not None:
            pattern, fields["system"] = self.user_with_system, system
        rows.fill(pattern, fields)


def trained_turns(messages: Sequence[Message], loss_on: str) -> list[bool]:
    """Whether each turn is trained under a loss policy.

    Raises:
        ConfigError: an unknown role, or an unknown policy.
    """
    if loss_on not in get_args(LossOn):
        raise ConfigError(f"loss_on={loss_on} is unknown; choose one of {', '.join(get_args(LossOn))}.")
    last = -1
    for i, message in enumerate(messages):
        if message.role == "assistant":
            last = i
        elif message.role not in ("user", "system"):
            raise ConfigError(f"Unknown role {message.role!r}; a message is from system, user or assistant.")
    policy = {
        "answers": [m.role == "assistant" for m in messages],
        "last_answer": [i == last for i in range(len(messages))],
        "everything": [True] * len(messages),
    }[loss_on]
    return [own if m.trained is None else m.trained for m, own in zip(messages, policy, strict=True)]


class _Rows:
    """The segments so far. Template text is trained under `everything` alone, so where it is merged depends on no turn's flag."""

    def __init__(self, everything: bool) -> None:
        self.segments: list[Segment] = []
        self.everything = everything

    def add(self, kind: Kind, text: str, trained: bool) -> None:
        self.segments.append(Segment(kind, text, trained))

    def template(self, text: str) -> None:
        """Neighbours become one, so that the tokenizer sees `<|im_end|>\\n<|im_start|>` as it did in pre-training."""
        if not text:
            return
        if self.segments and self.segments[-1].kind == "template":
            text = self.segments.pop().text + text
        self.segments.append(Segment("template", text, self.everything))

    def fill(self, pattern: str, fields: dict[str, Segment]) -> None:
        """The pattern with its fields; words the template brings itself (a default system message) are template text."""
        for is_field, piece in _parts(pattern):
            field = fields.get(piece) if is_field else None
            if field is None:
                self.template(f"{{{piece}}}" if is_field else piece)
            elif field.kind == "template":
                self.template(field.text)
            elif field.text:
                self.segments.append(field)


@lru_cache(maxsize=256)
def _parts(pattern: str) -> tuple[tuple[bool, str], ...]:
    """`a{content}b` -> (False, "a"), (True, "content"), (False, "b")."""
    pieces = re.split(r"\{(content|context|system)\}", pattern)
    return tuple((i % 2 == 1, piece) for i, piece in enumerate(pieces) if piece)
