"""The one renderer: conversation -> segments, for training, generation and chat alike.

    <|im_start|>user\n  Hi  <|im_end|>\n  <|im_start|>assistant\n  Hello!  EOS  \n
    `---- template ---' `text' `------------- template ---------' `-answer-----' `template

Only `answer` segments are trained. A template is data (one yaml file in conf/model/template); its text may hold special
tokens, the user's text may not: a user who writes "<|im_end|>" gets the characters, not the control token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kinnari.errors import ConfigError
from kinnari.text.conversation import Message

Kind = Literal["bos", "template", "text", "answer", "eos"]


@dataclass(frozen=True)
class Segment:
    """A piece of text that is tokenised by itself. `eos` and `bos` segments stand for the token, their text is empty."""

    kind: Kind
    text: str
    trained: bool


@dataclass(frozen=True, kw_only=True)
class Template:
    """How roles become text. `{content}` and `{context}` are the only fields.

    Args:
        name: the file's name, recorded beside every result.
        system: wraps a system message; must hold `{content}`.
        user: wraps a user message without context.
        user_with_context: wraps one with context; None puts the context after the content, an empty line between.
        assistant_start: what the model reads before it answers; generation prompts end with it.
        after_eos: untrained text between the EOS of one answer and the next turn.
        default_system: system message used when a conversation brings none; None for no system turn.
        bos: whether a row starts with the tokenizer's BOS token.
    """

    name: str
    system: str
    user: str
    user_with_context: str | None
    assistant_start: str
    after_eos: str
    default_system: str | None
    bos: bool

    def __post_init__(self) -> None:
        for field, text in {"system": self.system, "user": self.user}.items():
            if "{content}" not in text:
                raise ConfigError(f"template {self.name}: {field}={text!r} lacks {{content}}, so the message would be lost; add it.")

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """Segments of a whole conversation; every assistant turn is followed by EOS, and both are trained.

        Raises:
            ConfigError: if there is no message, or a message has an unknown role.
        """
        if not messages:
            raise ConfigError("A conversation needs at least one message to be rendered; it has none.")
        segments = [Segment("bos", "", False)] if self.bos else []
        if messages[0].role != "system" and self.default_system is not None:
            segments += _fill(self.system, {"content": self.default_system}, literal=True)
        for message in messages:
            segments += self._render_message(message)
        return segments

    def render_prompt(self, messages: Sequence[Message]) -> list[Segment]:
        """Segments up to the place where the model answers: a prefix, token for token, of `render` of the answered one."""
        return [*self.render(messages), Segment("template", self.assistant_start, False)]

    def _render_message(self, message: Message) -> list[Segment]:
        if message.role == "system":
            return _fill(self.system, {"content": message.content})
        if message.role == "user":
            return self._render_user(message)
        if message.role == "assistant":
            answer = [Segment("template", self.assistant_start, False), Segment("answer", message.content, True)]
            return [*answer, Segment("eos", "", True), *_template_text(self.after_eos)]
        raise ConfigError(f"Unknown role {message.role!r}; a message is from system, user or assistant.")

    def _render_user(self, message: Message) -> list[Segment]:
        if not message.context:
            return _fill(self.user, {"content": message.content})
        if self.user_with_context is None:
            return _fill(self.user, {"content": f"{message.content}\n\n{message.context}"})
        return _fill(self.user_with_context, {"content": message.content, "context": message.context})


def _template_text(text: str) -> list[Segment]:
    return [Segment("template", text, False)] if text else []


def _fill(pattern: str, fields: dict[str, str], literal: bool = False) -> list[Segment]:
    """Split `pattern` at its fields; `literal` text is the template's own and may hold special tokens."""
    segments: list[Segment] = []
    rest = pattern
    while rest:
        found = sorted((rest.index(f"{{{key}}}"), key) for key in fields if f"{{{key}}}" in rest)
        if not found:
            return segments + _template_text(rest)
        position, key = found[0]
        segments += _template_text(rest[:position])
        segments += [Segment("template" if literal else "text", fields[key], False)] if fields[key] else []
        rest = rest[position + len(key) + 2 :]
    return segments
