"""The chat page: models to talk to, settings, feedback, blind comparison; in Korean, Thai, Chinese and English.

app = fastapi.FastAPI()
mount_page(app, build_page([model], settings=GenerationSettings(max_new_tokens=256), feedback=Path("feedback.jsonl")))

Nothing of it comes from, or goes to, anywhere but its server: no analytics, no fonts, and a policy by which a browser fetches nothing
from outside even where an answer of the model asks for it (an image in Markdown).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.questionnaire import LAYOUTS
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.api_errors import ApiError
from kinnari.serving.chat_model import ChatModel
from kinnari.serving.exchanges import LiveReplies
from kinnari.serving.feedback import FeedbackFile, VoteFiles
from kinnari.serving.page_chat import Chat, ChatParts, owner_of
from kinnari.serving.page_compare import Comparison
from kinnari.serving.page_labels import Labels
from kinnari.serving.page_settings import settings_fields
from kinnari.serving.page_style import STYLE, theme
from kinnari.serving.page_texts import TEXTS, preferred_language

# Gradio's own scripts are inline and build functions out of strings.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# By these Gradio writes files for whoever asks (an empty one even where files may have 0 bytes); the page uses none of them (6.31).
_CLOSED = ("/gradio_api/upload", "/gradio_api/deep_link")
# The sidebar's own button is an arrow without a word (6.31); it is shown to close with.
_TOGGLE_SETTINGS = "() => document.querySelector('.sidebar .toggle-button').click()"
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build_page(
    models: Sequence[ChatModel],
    *,
    settings: GenerationSettings,
    feedback: Path,
    history: int = 2,
    language: str = "auto",
    system: str = "",
    most_new_tokens: int = 1024,
    streams: int = 128,
) -> gradio.Blocks:
    """The page, to be given to `mount_page`.

    Args:
        models: to choose from; with two or more the first two can be compared blind.
        settings: what the fields show at first; what has no field (beams, n-grams) holds for every answer.
        feedback: jsonl file of opinions; votes go to the folder `votes` beside it.
        history: exchanges before the question that the model sees, at first.
        language: of the interface: auto (what the browser asks for), en, ko, th, zh; of the votes' sheets too, where it is not auto.
        system: the system prompt at first.
        most_new_tokens: end of the slider.
        streams: answers that may grow on the page at the same time; more wait in Gradio's queue.

    Raises:
        ConfigError: no model, two of one name, or a value out of its range.
    """
    names = [model.name for model in models]
    _check(names, history, language)
    labels, live = Labels("en" if language == "auto" else language), LiveReplies()
    with gradio.Blocks(title="Kinnari", analytics_enabled=False, fill_width=True) as page:
        with gradio.Row(elem_id="heading"):
            heading = gradio.Markdown()
            labels.add_computed(heading, lambda texts: {"value": f"# Kinnari\n{texts.tagline}"})
            if len(names) == 1:  # of several one is chosen in the chat; the comparison is blind
                shown = names[0].replace("`", "'")
                labels.add_computed(gradio.Markdown(elem_id="model-name"), lambda texts: {"value": f"{texts.model}: `{shown}`"})
            opener = gradio.Button(elem_id="open-settings", size="sm", variant="secondary")
            labels.add_computed(opener, lambda texts: {"value": f"⚙ {texts.settings}"})
            opener.click(None, None, None, js=_TOGGLE_SETTINGS, **_PRIVATE)
            languages = [(texts.name, code) for code, texts in TEXTS.items()]
            selector = gradio.Dropdown(
                languages, value=labels.language, show_label=False, container=False, elem_id="language", filterable=False
            )
        with gradio.Sidebar(position="right", open=False, width=340):
            labels.add_computed(gradio.Markdown(), lambda texts: {"value": f"### {texts.settings}"})
            fields = settings_fields(labels, settings, history=history, system=system,
                                     most_new_tokens=max(most_new_tokens, settings.max_new_tokens))  # fmt: skip
        parts = ChatParts(dict(zip(names, models, strict=True)), settings, fields, selector, live, FeedbackFile(feedback))
        _chats(parts, labels, feedback.parent / "votes", language)
        _connect(page, selector, labels, live, follow_browser=language == "auto")
    page.max_threads = streams
    page.queue(default_concurrency_limit=None)
    return page


def _check(names: Sequence[str], history: int, language: str) -> None:
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"The page needs at least one model, each with a name of its own, and has {', '.join(names) or 'none'}.")
    if history < 0:
        raise ConfigError(f"A history of {history} exchanges is none; give 0 or more.")
    if language != "auto" and language not in TEXTS:
        raise ConfigError(f"The page is not written in {language!r}; choose one of auto, {', '.join(TEXTS)}.")


def _chats(parts: ChatParts, labels: Labels, votes: Path, language: str) -> None:
    """One chat, or tabs with the chat and the comparison."""
    names = list(parts.models)
    if len(names) == 1:
        Chat(parts, labels)
        return
    with gradio.Tab(id="chat") as chat_tab:
        Chat(parts, labels)
    with gradio.Tab(id="compare") as compare_tab:
        pair = (names[0], names[1])
        Comparison(parts, pair, VoteFiles(votes, pair, language if language in LAYOUTS else "en"), labels)
    labels.add(chat_tab, label="chat")
    labels.add(compare_tab, label="compare")


def _connect(page: gradio.Blocks, selector: gradio.Dropdown, labels: Labels, live: LiveReplies, *, follow_browser: bool) -> None:
    def begin(request: gradio.Request) -> list[Any]:
        language = preferred_language(request.headers.get("accept-language", ""))
        return [language, *labels.updates(language)]

    def end(request: gradio.Request) -> None:
        for part in ("chat", "compare"):
            live.cancel(owner_of(request, part))

    if follow_browser:
        page.load(begin, None, [selector, *labels.components], queue=False, **_PRIVATE)
    selector.input(labels.updates, selector, labels.components, queue=False, **_PRIVATE)
    page.unload(end)


def mount_page(app: Any, page: gradio.Blocks, path: str = "/") -> None:
    """Serve the page from a FastAPI application that has not started, under a policy of fetching nothing from outside."""
    app.add_middleware(FetchNothingOutside)
    gradio.mount_gradio_app(
        app, page, path, theme=theme(), css=STYLE, footer_links=[], run_history=False, show_error=False, ssr_mode=False,
        enable_monitoring=False, pwa=False, mcp_server=False, max_file_size=0,
    )  # fmt: skip


class FetchNothingOutside:
    """ASGI middleware: every response says that a browser must fetch nothing from other servers, nor show the page within another;
    and the page takes no files.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["Referrer-Policy"] = "no-referrer"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        if scope["type"] == "http" and scope["path"].rstrip("/") in _CLOSED:
            await ApiError(404, "There is nothing to be uploaded here, and no state to be kept.").response()(scope, receive, send)
            return
        await self.app(scope, receive, send_with_policy if scope["type"] == "http" else send)
