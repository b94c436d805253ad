"""Who answers the requests of task=judge: a model behind its file of replies, or that file alone."""

from __future__ import annotations

import hashlib
import json

from omegaconf import DictConfig

from kinnari.completion.cached import CachedCompleter
from kinnari.completion.local import LocalCompleter
from kinnari.errors import ConfigError
from kinnari.models.cache import store_file
from kinnari.models.fingerprint import model_fingerprint
from kinnari.tasks import build
from kinnari.tasks.completers import completer
from kinnari.text.content_store import ContentStore

REPLAY = "replay"


def judge_completer(cfg: DictConfig) -> CachedCompleter:
    """The judge of `judge.judge` with its memory.

    Raises:
        ConfigError: a judge that cannot be asked, a cache that cannot be used, or a replay of nobody's replies.
    """
    node = cfg.judge
    store = ContentStore(node.cache or store_file("judge.sqlite"), "judge.cache")
    if node.judge == REPLAY:
        return CachedCompleter(None, store, _replayed(store, node.judge_model))
    model = completer(cfg, "judge", "judge")
    if isinstance(model, LocalCompleter):
        return CachedCompleter(model, store, _local_name(model, cfg), chunk=node.batch_size)
    return CachedCompleter(model, store, model.name, workers=node.parallel)  # each reply is kept as it comes


def _replayed(store: ContentStore, name: str | None) -> str:
    makers = store.makers()
    if name is None and len(makers) == 1:
        return next(iter(makers))
    if name not in makers:
        known = ", ".join(f"{maker} ({count})" for maker, count in makers.items()) or "nobody's"
        asked = f"judge.judge_model={name} is not among those" if name else "judge.judge_model does not say which one is meant"
        raise ConfigError(
            f"judge.judge=replay reads replies out of {store.path}, and {asked} whose replies it holds: {known}. Name one of "
            "them, or another file with judge.cache=FILE."
        )
    return name


def _local_name(model: LocalCompleter, cfg: DictConfig) -> str:
    """A judge in this process by its place, its weights and its template: other weights in the same folder are another judge."""
    shaped = json.dumps([model_fingerprint(model.model), build.plain(cfg.model.template)], sort_keys=True)
    return f"{model.name}@{hashlib.sha256(shaped.encode()).hexdigest()[:12]}"
