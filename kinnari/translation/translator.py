"""Texts in one language in, the same texts in another out: what the cache, the tasks and every engine agree on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Progress = Callable[[int], None]


def no_progress(done: int) -> None:
    """What is called with the number of texts done when nobody watches."""


@dataclass(frozen=True)
class Translation:
    """One text in the other language, or why there is none.

    Attributes:
        text: the translation; None where there is none.
        error: why not; None where there is one.
        attempts: runs that have failed at this text, this one included; 0 where there is a translation or nobody counts.
    """

    text: str | None
    error: str | None = None
    attempts: int = 0


class Translator(Protocol):
    """An engine: a local model, an endpoint, a file of translations."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a translation depends on besides text and languages, as JSON values: model, prompt, decoding. Part of the cache key."""
        ...

    def translate(self, texts: Sequence[str], source: str, target: str, on_progress: Progress = no_progress) -> list[Translation]:
        """One translation per text, in the order of the texts; a text that fails yields an error and stops nothing.

        Args:
            source, target: ISO 639-1 codes, such as th, ko, zh, ja, en.
            on_progress: called with the number of texts done.

        Raises:
            ConfigError: the engine does not know one of the languages.
        """
        ...
