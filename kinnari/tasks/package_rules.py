"""Packages that a task needs beyond Kinnari's own, looked for before anything slow: torch is imported, weights are read, after it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from kinnari.errors import ConfigError


def check_packages(c: Mapping[str, Any]) -> None:
    """Raises ConfigError: task=serve without the packages of the API, or without that of the page where it is wanted."""
    if c["task"]["name"] != "serve":
        return
    page = bool(c["serve"]["page"])
    missing = [name for name in ("fastapi", "uvicorn", *(["gradio"] if page else [])) if find_spec(name) is None]
    if missing:
        alone = " The API alone does without gradio: serve.page=false." if missing == ["gradio"] else ""
        raise ConfigError(
            f"task=serve needs {' and '.join(missing)}, not installed here. Install Kinnari's extra for it into this Python: "
            f"pip install 'kinnari[serve]'.{alone}"
        )
