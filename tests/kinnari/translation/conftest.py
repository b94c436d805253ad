"""The learned model, taught once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kinnari.translation.engines import save_learned


@pytest.fixture(scope="session")
def m2m100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small model of NLLB's architecture that knows the words of `engines.WORDS`."""
    return save_learned(tmp_path_factory.mktemp("m2m100"))
