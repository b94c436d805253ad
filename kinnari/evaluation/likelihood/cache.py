"""Log-probabilities on disk, found by the model's weights and the tokens: nothing is computed twice, also after a kill."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinnari.evaluation.likelihood.tree import Branch
from kinnari.text.content_store import ContentStore

log = logging.getLogger(__name__)


class LikelihoodCache:
    """Sums of one model, in a file that many models and processes may share.

    Args:
        path: the SQLite file, made where it is missing.
        maker: what the numbers depend on beside the tokens: `model_fingerprint(model)`, taken when the weights are final.

    Raises:
        ConfigError: the file cannot be made, or is no store.
    """

    def __init__(self, path: Path | str, maker: str) -> None:
        self.store, self.maker = ContentStore(path, "benchmark.cache_dir"), maker
        self._begun = hashlib.blake2b(maker.encode() + b"\0", digest_size=16)

    def find(self, branches: Sequence[Branch]) -> list[list[float] | None]:
        """`Tree.sums` of each branch that is known."""
        keys = [self._key(branch) for branch in branches]
        found = self.store.find(keys)
        return [found.get(key) for key in keys]

    def save(self, rows: Sequence[tuple[Branch, list[float]]]) -> None:
        """Keep them; they are on the disk when this returns. What is not finite is not kept."""
        kept = [(self._key(branch), sums) for branch, sums in rows if np.isfinite(sums).all()]
        if kept:
            self.store.save(self.maker, kept)

    def _key(self, branch: Branch) -> bytes:
        digest = self._begun.copy()
        digest.update(repr((branch.spans, branch.itself, len(branch.source))).encode())
        digest.update(np.array((*branch.source, *branch.ids), dtype=np.int64).tobytes())
        return digest.digest()
