"""Small files in the public layouts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str, Any], Path]


@pytest.fixture
def write(tmp_path) -> Write:
    """write("tnews/dev.json", rows): a list as json lines, anything else as one json value, a text as it is."""

    def written(name: str, content: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "\n".join(json.dumps(row, ensure_ascii=False) for row in content) + "\n"
        path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return path

    return written
