"""The chat of one model: question, growing answer, stop, again, take back, and what people think of an answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.chat_model import ChatModel
from kinnari.serving.exchanges import Exchange, LiveReplies, Progress, growing
from kinnari.serving.feedback import FeedbackFile, Opinion
from kinnari.serving.page_labels import Labels
from kinnari.serving.page_settings import Chosen, given
from kinnari.serving.page_texts import TEXTS, Texts

log = logging.getLogger(__name__)

# Formulas as models write them; a lone dollar is money more often than it is mathematics.
FORMULAS: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
GREETING = "## สวัสดี · 안녕하세요 · 你好 · こんにちは · Hello"
Shown = list[dict[str, str]]
_MARKS: dict[Opinion, str] = {"good": "✓", "bad": "✗", "report": "⚑"}
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def shown(exchanges: Sequence[Exchange]) -> Shown:
    """Exchanges as a `gradio.Chatbot` takes them; an error is a quotation under what there is of the answer."""
    messages = []
    for exchange in exchanges:
        error = "> ⚠ " + " ".join(exchange.error.split()) if exchange.error else ""
        messages.append({"role": "user", "content": exchange.question})
        messages.append({"role": "assistant", "content": "\n\n".join(part for part in (exchange.answer, error) if part) or "…"})
    return messages


def chat_window(**properties: Any) -> gradio.Chatbot:
    """An empty conversation. What a model writes is sanitised; nothing of it is downloaded or shared."""
    return gradio.Chatbot(
        [], show_label=False, container=False, layout="bubble", buttons=["copy"], feedback_options=None, latex_delimiters=FORMULAS,
        allow_file_downloads=False, allow_tags=False, **properties,
    )  # fmt: skip


def question_box(labels: Labels, **properties: Any) -> gradio.Textbox:
    """Where questions are written; its button sends, and stops while an answer grows."""
    box = gradio.Textbox(lines=1, max_lines=8, show_label=False, container=False, submit_btn=True, **properties)
    labels.add(box, placeholder="placeholder", submit_btn="send")
    return box


def waiting(texts: Texts) -> Any:
    """The question box while an answer grows."""
    return gradio.update(value="", submit_btn=False, stop_btn=texts.stop)


def ready(texts: Texts) -> Any:
    """The question box after it."""
    return gradio.update(submit_btn=texts.send, stop_btn=False)


@dataclass(frozen=True)
class ChatParts:
    """What the page has beside the chat: models by name, the fields, where replies are looked after, where opinions go."""

    models: Mapping[str, ChatModel]
    base: GenerationSettings
    fields: Sequence[Any]
    language: Any
    live: LiveReplies
    feedback: FeedbackFile


class Chat:
    """Components of the chat, and what their buttons do; to be built where it is to stand."""

    def __init__(self, parts: ChatParts, labels: Labels) -> None:
        self.parts = parts
        names = list(parts.models)
        self.model = gradio.Dropdown(
            names, value=names[0], visible=len(names) > 1, elem_id="models", container=False, show_label=False, filterable=False
        )
        labels.add_computed(
            self.model, lambda texts: {"label": texts.model, "choices": [(f"{texts.model}: {name}", name) for name in names]}
        )
        self.window = chat_window(elem_id="chat", height="max(280px, calc(100vh - 23.5rem))", placeholder=GREETING)
        self.box = question_box(labels, elem_id="question", autofocus=True)
        with gradio.Row(elem_classes="quiet"):
            self.retry, self.undo, self.clear = (
                gradio.Button(elem_id=name, size="sm", variant="secondary") for name in ("retry", "undo", "clear")
            )
        for button, name in ((self.retry, "retry"), (self.undo, "undo"), (self.clear, "clear")):
            labels.add(button, value=name)
        with gradio.Row(elem_id="feedback", visible=False) as self.row:
            self.comment = gradio.Textbox(show_label=False, container=False, max_lines=1, scale=1, elem_id="comment")
            labels.add(self.comment, placeholder="comment")
            self.opinions: dict[Opinion, gradio.Button] = {
                name: gradio.Button(elem_id=name, size="sm", variant="secondary") for name in ("good", "bad", "report")
            }
        for name, button in self.opinions.items():
            labels.add_computed(button, partial(_marked, name))
        self.exchanges = gradio.State(())
        self._connect()

    def _connect(self) -> None:
        shared = [self.exchanges, self.model, self.parts.language, *self.parts.fields]
        outputs = [self.window, self.exchanges, self.box, self.row, self.comment, self.retry, self.undo]
        streams = {"outputs": outputs, "concurrency_limit": None, **_PRIVATE}
        self.box.submit(self._ask, [self.box, *shared], **streams)
        self.retry.click(self._again, shared, **streams)
        self.box.stop(self._stop, None, None, queue=False, **_PRIVATE)
        self.clear.click(self._clear, None, [self.window, self.exchanges, self.row], queue=False, **_PRIVATE)
        self.undo.click(self._take_back, self.exchanges, [self.window, self.exchanges, self.box, self.row], queue=False, **_PRIVATE)
        for name, button in self.opinions.items():
            inputs = [gradio.State(name), self.exchanges, self.comment, self.parts.language]
            # through the queue: outside it Gradio prints its notes on the server (6.31)
            button.click(self._note, inputs, self.comment, concurrency_limit=None, **_PRIVATE)

    def _ask(
        self, request: gradio.Request, question: str, exchanges: tuple[Exchange, ...], model: str, language: str, *fields: Any
    ) -> Iterator[dict[Any, Any]]:
        if not question.strip():
            yield {self.window: gradio.skip()}
            return
        texts, answer = TEXTS[language], Exchange(question)
        yield {self.window: shown([*exchanges, answer]), self.row: gradio.update(visible=False), self.comment: "",
               self.box: waiting(texts), **self._buttons(False)}  # fmt: skip
        for answer in self._answers(question, exchanges, model, texts, fields, owner_of(request)):
            yield {self.window: shown([*exchanges, answer])}
        yield {self.exchanges: (*exchanges, answer), self.row: gradio.update(visible=answer.given is not None),
               self.box: ready(texts), **self._buttons(True)}  # fmt: skip

    def _answers(
        self, question: str, exchanges: tuple[Exchange, ...], model: str, texts: Texts, fields: Sequence[Any], owner: str
    ) -> Iterator[Exchange]:
        """The exchange with its answer as it grows."""
        try:
            request = Chosen(*fields).request(self.parts.base, exchanges, question)
        except ConfigError as error:
            yield Exchange(question, error=f"{texts.error_refused} {error}")
            return
        now = Progress("")
        for now in growing(self.parts.models[model], request, self.parts.live, owner, texts):
            yield Exchange(question, now.text, now.error)
        yield Exchange(question, now.text, now.error, given(model, request, now.text) if now.text else None)

    def _again(
        self, request: gradio.Request, exchanges: tuple[Exchange, ...], model: str, language: str, *fields: Any
    ) -> Iterator[dict[Any, Any]]:
        if not exchanges:
            yield {self.window: gradio.skip()}
            return
        yield from self._ask(request, exchanges[-1].question, exchanges[:-1], model, language, *fields)

    async def _stop(self, request: gradio.Request) -> None:
        self.parts.live.cancel(owner_of(request))

    async def _clear(self, request: gradio.Request) -> tuple[Any, ...]:
        self.parts.live.cancel(owner_of(request))
        return [], (), gradio.update(visible=False)

    async def _take_back(self, exchanges: tuple[Exchange, ...]) -> tuple[Any, ...]:
        question = exchanges[-1].question if exchanges else gradio.skip()
        return shown(exchanges[:-1]), exchanges[:-1], question, gradio.update(visible=False)

    async def _note(self, verdict: Opinion, exchanges: tuple[Exchange, ...], comment: str, language: str) -> Any:
        answer = exchanges[-1].given if exchanges else None
        if answer is None:
            return gradio.skip()
        try:
            self.parts.feedback.add(answer, verdict, comment)
        except OSError:
            log.exception("Feedback was lost: %s cannot be written", self.parts.feedback.path)
            gradio.Warning(TEXTS[language].not_saved, title="Kinnari")
            return gradio.skip()
        gradio.Info(TEXTS[language].thanks, duration=3, title="Kinnari")
        return ""

    def _buttons(self, usable: bool) -> dict[Any, Any]:
        return {button: gradio.update(interactive=usable) for button in (self.retry, self.undo)}


def _marked(name: Opinion, texts: Texts) -> dict[str, Any]:
    return {"value": f"{_MARKS[name]} {vars(texts)[name]}"}


def owner_of(request: gradio.Request, part: str = "chat") -> str:
    """Names the answers that a tab of the browser waits for in one part of the page."""
    return f"{request.session_hash}/{part}"
