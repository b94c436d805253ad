"""Which words of the page stand where, so that all of them change together with the language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio

from kinnari.serving.page_texts import TEXTS, Texts


class Labels:
    """Components of the page with the properties that are text.

    Args:
        language: the page is first drawn in it.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.components: list[Any] = []
        self._properties: list[Callable[[Texts], dict[str, Any]]] = []

    def add(self, component: Any, **properties: str) -> None:
        """`properties` of the component are these fields of `Texts`."""
        self.add_computed(component, lambda texts: {name: vars(texts)[field] for name, field in properties.items()})

    def add_computed(self, component: Any, properties: Callable[[Texts], dict[str, Any]]) -> None:
        """`properties` are worked out of the texts."""
        for name, value in properties(TEXTS[self.language]).items():
            setattr(component, name, value)
        self.components.append(component)
        self._properties.append(properties)

    def updates(self, language: str) -> list[Any]:
        """For `components`, in their order."""
        return [gradio.update(**properties(TEXTS[language])) for properties in self._properties]
