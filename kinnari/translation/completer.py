"""A language model asked to translate: any `Completer`, such as an OpenAI-compatible endpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kinnari.completion.completer import Completer, Completion, CompletionSettings
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message
from kinnari.translation.languages import language
from kinnari.translation.passages import Unit, assemble, split
from kinnari.translation.translator import Progress, Translation, no_progress


class CompleterTranslator:
    """One request per text, code blocks left out of it.

    Args:
        completer: sends requests, in parallel and again where one fails, as far as it can.
        prompt: the request, with `{text}`, `{source}` and `{target}` (names of languages in English).
        system: the system message, with the same names of languages; empty for none.
        settings: decoding, the fields of `CompletionSettings`; temperature is 0 where it says nothing else.
        unit: what is sent at once; whole texts keep what belongs together.
        keep_code: fenced code blocks are neither sent nor changed.
        weights: what the completer's name does not say of its weights (an adapter), part of the cache key.

    Raises:
        ConfigError: the prompt has no place for the text, or an unknown field.
    """

    def __init__(
        self,
        completer: Completer,
        *,
        prompt: str,
        system: str = "",
        settings: Mapping[str, Any] | None = None,
        unit: Unit = "text",
        keep_code: bool = True,
        weights: str = "",
    ) -> None:
        if "{text}" not in prompt:
            raise ConfigError(f"translation.engine.prompt={prompt!r} has no place for the text; write {{text}} where it belongs.")
        for name, written in {"prompt": prompt, "system": system}.items():
            _filled(name, written, {"source": "", "target": "", "text": ""})
        self.completer, self.prompt, self.system, self.unit, self.keep_code = completer, prompt, system, unit, keep_code
        self.settings, self.weights = _settings(settings or {}), weights

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model, what it is told and how it decodes."""
        told = {"prompt": self.prompt, "system": self.system, "unit": self.unit, "keep_code": self.keep_code}
        return {
            "engine": "completer",
            "model": self.completer.name,
            "weights": self.weights,
            **told,
            "settings": dataclasses.asdict(self.settings),
        }

    def translate(self, texts: Sequence[str], source: str, target: str, on_progress: Progress = no_progress) -> list[Translation]:
        """Each stretch is asked for once; a text fails if one of its stretches does."""
        pieces = [split(text, self.unit, keep_code=self.keep_code) for text in texts]
        wanted = list(dict.fromkeys(piece.text for text in pieces for piece in text if not piece.kept))
        names = {"source": language(source).name, "target": language(target).name}
        prompts = [self._messages(text, names) for text in wanted]
        answers = self.completer.complete(prompts, self.settings, lambda done: on_progress(len(texts) * done // len(wanted)))
        done = {text: self._translation(answer) for text, answer in zip(wanted, answers, strict=True)}
        return [assemble(text, done, target) for text in pieces]

    def _messages(self, text: str, names: Mapping[str, str]) -> tuple[Message, ...]:
        asked = Message("user", _filled("prompt", self.prompt, {**names, "text": text}))
        return (Message("system", _filled("system", self.system, names)), asked) if self.system else (asked,)

    def _translation(self, answer: Completion) -> Translation:
        if answer.finish_reason == "failed":
            return Translation(None, answer.error or "the request failed")
        if answer.finish_reason == "length":
            return Translation(None, f"not finished within translation.engine.settings.max_tokens={self.settings.max_tokens}")
        # The spaces around a stretch are kept pieces of the text.
        return Translation(answer.text.strip())


def _settings(values: Mapping[str, Any]) -> CompletionSettings:
    try:
        given = {"temperature": 0.0, "max_tokens": 2048, **values}
        return CompletionSettings(**(given | {"stop": tuple(given.get("stop", ()))}))
    except TypeError as error:
        known = ", ".join(field.name for field in dataclasses.fields(CompletionSettings))
        raise ConfigError(f"translation.engine.settings: {error}. The settings are {known}.") from error


def _filled(name: str, template: str, values: Mapping[str, str]) -> str:
    try:
        return template.format(**values)
    except (KeyError, IndexError, ValueError) as error:
        known = "{source}, {target}" + (", {text}" if name == "prompt" else "")
        raise ConfigError(
            f"translation.engine.{name}={template!r} has an unknown field ({error}). Only {known} are filled in; other braces are doubled."
        ) from error
