"""The application: the API, and the page where one is wanted, in one process.

app = build_app([engine], ApiSettings(settings=GenerationSettings(max_new_tokens=256)))
uvicorn.run(app, host="127.0.0.1", port=7860)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import FastAPI

from kinnari.serving.access import KnownHosts, RequireKey, SmallBodies
from kinnari.serving.api_errors import install_error_handlers
from kinnari.serving.chat_model import ChatModel
from kinnari.serving.model_names import ModelNames
from kinnari.serving.openai_api import ApiSettings, api_routes


def build_app(
    models: Sequence[ChatModel],
    allowed: ApiSettings,
    *,
    listed: Sequence[str] | None = None,
    page: Callable[[FastAPI], None] | None = None,
    api_key: str = "",
    hosts: Sequence[str] | None = None,
) -> FastAPI:
    """An application that has not started.

    Args:
        models: to be served, each under its name.
        allowed: what a request may ask for.
        listed: names of the models in the API, see `kinnari.serving.model_names`; None for their own.
        page: mounts the chat page at `/`, see `kinnari.serving.page.mount_page`; None for the API alone.
        api_key: that clients must bring; empty for none.
        hosts: names by which the server may be called; None for any.

    Raises:
        ConfigError: no model, or two of one name.
    """
    names = ModelNames(models, listed)
    # No pages that describe the API: FastAPI's own load scripts from elsewhere.
    app = FastAPI(title="Kinnari", docs_url=None, redoc_url=None, openapi_url=None)
    install_error_handlers(app)
    app.include_router(api_routes(names, allowed))
    if page is not None:
        page(app)
    app.add_middleware(SmallBodies, most_bytes=allowed.max_body_bytes)
    if api_key:
        app.add_middleware(RequireKey, key=api_key)
    if hosts is not None:
        app.add_middleware(KnownHosts, hosts=hosts)
    return app
