"""Two models side by side, blind: a question goes to both, which of them is A is drawn anew, names are told after the vote."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from typing import Any

import gradio

from kinnari.errors import ConfigError
from kinnari.serving.exchanges import Exchange, Progress, growing, together
from kinnari.serving.feedback import Choice, Given, VoteFiles
from kinnari.serving.page_chat import ChatParts, chat_window, owner_of, question_box, ready, shown, waiting
from kinnari.serving.page_labels import Labels
from kinnari.serving.page_settings import Chosen, given
from kinnari.serving.page_texts import TEXTS

log = logging.getLogger(__name__)

CHOICES: dict[Choice, str] = {"A": "a_better", "B": "b_better", "tie": "tie", "both_bad": "both_bad"}
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


class Comparison:
    """Components of the comparison, and what their buttons do.

    Questions stand alone: a history would be that of A and of B, and these are other models each time.

    Args:
        names: the two models.
    """

    def __init__(self, parts: ChatParts, names: tuple[str, str], votes: VoteFiles, labels: Labels) -> None:
        self.parts, self.names, self.votes = parts, names, votes
        self.draw = random.SystemRandom()
        labels.add(gradio.Markdown(elem_id="compare-hint"), value="compare_hint")
        with gradio.Row():
            self.windows = []
            for side, name in (("a", "answer_a"), ("b", "answer_b")):
                with gradio.Column():
                    labels.add(gradio.Markdown(elem_classes="side"), value=name)
                    self.windows.append(chat_window(elem_id=f"answer-{side}", height="max(240px, calc(100vh - 27rem))"))
        with gradio.Row(visible=False, elem_id="votes") as self.row:
            self.buttons = {choice: gradio.Button(elem_id=f"vote-{choice}", variant="secondary") for choice in CHOICES}
        for choice, field in CHOICES.items():
            labels.add(self.buttons[choice], value=field)
        self.revealed = gradio.Markdown(elem_id="revealed")
        self.box = question_box(labels, elem_id="compare-question")
        self.answers = gradio.State(None)
        self._connect()

    def _connect(self) -> None:
        outputs = [*self.windows, self.answers, self.box, self.row, self.revealed]
        self.box.submit(self._ask, [self.box, self.parts.language, *self.parts.fields], outputs, concurrency_limit=None, **_PRIVATE)
        self.box.stop(self._stop, None, None, queue=False, **_PRIVATE)
        for choice, button in self.buttons.items():
            inputs = [gradio.State(choice), self.answers, self.parts.language]
            button.click(self._vote, inputs, [self.answers, self.row, self.revealed], concurrency_limit=None, **_PRIVATE)

    def _ask(self, request: gradio.Request, question: str, language: str, *fields: Any) -> Iterator[dict[Any, Any]]:
        if not question.strip():
            yield {self.revealed: gradio.skip()}
            return
        texts, owner = TEXTS[language], owner_of(request, "compare")
        begun = Exchange(question)
        yield {**self._show(begun, begun), self.answers: None, self.box: waiting(texts), self.row: gradio.update(visible=False),
               self.revealed: ""}  # fmt: skip
        names = self.names if self.draw.random() < 0.5 else self.names[::-1]
        answers: tuple[Given, Given] | None = None
        try:
            asked = Chosen(*fields).request(self.parts.base, (), question)
        except ConfigError as error:
            failed = Exchange(question, error=f"{texts.error_refused} {error}")
            yield self._show(failed, failed)
        else:
            now: tuple[Progress, ...] = (Progress(""), Progress(""))
            try:
                for now in together(*(growing(self.parts.models[name], asked, self.parts.live, owner, texts) for name in names)):
                    yield self._show(*(Exchange(question, side.text, side.error) for side in now))
            finally:
                self.parts.live.cancel(owner)
            if not any(side.error for side in now) and any(side.text for side in now):
                answers = (given(names[0], asked, now[0].text), given(names[1], asked, now[1].text))
        yield {self.answers: answers, self.box: ready(texts), self.row: gradio.update(visible=answers is not None)}

    async def _stop(self, request: gradio.Request) -> None:
        self.parts.live.cancel(owner_of(request, "compare"))

    async def _vote(self, request: gradio.Request, choice: Choice, answers: tuple[Given, Given] | None, language: str) -> tuple[Any, ...]:
        if answers is None:
            return gradio.skip(), gradio.skip(), gradio.skip()
        try:
            self.votes.add(str(request.session_hash), answers, choice)
        except OSError:
            log.exception("A vote was lost: %s cannot be written", self.votes.folder)
            gradio.Warning(TEXTS[language].not_saved, title="Kinnari")
            return gradio.skip(), gradio.skip(), gradio.skip()
        told = TEXTS[language].revealed.format(a=answers[0].model, b=answers[1].model)
        return None, gradio.update(visible=False), told

    def _show(self, *sides: Exchange) -> dict[Any, Any]:
        return {window: shown([side]) for window, side in zip(self.windows, sides, strict=True)}
