"""task=translate: the conversations of data= in another language, or as requests to translate."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.models.cache import store_file
from kinnari.preparation.pipeline import read_and_clean
from kinnari.preparation.rejects import RejectLog
from kinnari.preparation.store import Store
from kinnari.tasks import build, completers
from kinnari.text.conversation import Conversation
from kinnari.text.progress import progress_line
from kinnari.translation import rows
from kinnari.translation.cached import CachedTranslator
from kinnari.translation.checks import TranslationChecks
from kinnari.translation.languages import LANGUAGES
from kinnari.translation.table import write_table
from kinnari.translation.translated_set import SetSettings, TranslatedSet, row_characters, source_language

log = logging.getLogger(__name__)


def translate(cfg: DictConfig) -> dict[str, Any]:
    """Build the set that `task.mode` names in `output_dir`.

    Raises:
        ConfigError: no target, no engine, a language that the engine does not know.
    """
    settings = _settings(cfg)
    engine = None if cfg.task.dry_run or cfg.task.mode == "export_texts" else translator(cfg)
    store = Store(build.prepared_folder(cfg))
    conversations, left_out = read(cfg, store)
    size = _measure(conversations, settings)
    log.info("%d rows, %d distinct texts of %d characters to translate", size["rows"], size["texts"], size["characters"])
    if engine is None:
        return size if cfg.task.dry_run else size | _export(cfg, conversations, settings)
    with TranslatedSet(engine, settings, Path(cfg.output_dir)) as built, progress_line("translating", size["characters_read"]) as advance:
        counts = built.build(chain(left_out, conversations), advance)
    if counts.failed:
        log.warning("%d rows could not be translated (failures.jsonl); the same command tries them again", counts.failed)
    return {
        "rows": counts.rows,
        "translated": counts.translated,
        "unchanged": counts.unchanged,
        "failed": counts.failed,
        "rejected": dict(counts.rejected),
        "written": counts.written,
        "directions": dict(counts.directions),
        "texts": engine.counts.texts,
        "cached": engine.counts.cached,
        "repeated": engine.counts.repeated,
        "characters": size["characters"],
        "characters_sent": engine.counts.engine_characters,
    }


def translator(cfg: DictConfig) -> CachedTranslator:
    """The engine of `translation=` with its memory on disk.

    Raises:
        ConfigError: none is chosen, or it cannot be loaded.
    """
    node = cfg.get("translation")
    if node is None:
        raise ConfigError("No engine to translate with is chosen. Add translation=nllb (see `--help` for the others).")
    given: dict[str, Any] = {}
    workers = node.workers
    if "generator" in node:
        given = {"completer": completers.completer(cfg, "translation")}
        if not completers.is_endpoint(node.generator):
            workers = 1  # one model in this process
            given["weights"] = f"{cfg.model.name} {node.generator or cfg.model.path} {cfg.model.adapter}"
    engine = instantiate(node.engine, _convert_="all", **given)
    return CachedTranslator(engine, node.cache or store_file("translations.sqlite"), chunk=node.chunk, workers=workers)


def read(cfg: DictConfig, store: Store) -> tuple[Sequence[Conversation], RejectLog]:
    """The rows of data=, cleaned and drawn as they would be trained on, `task.limit` at most; and what that left out."""
    table, rejects = read_and_clean(
        build.sources(cfg).values(),
        instantiate(cfg.cleaning.steps, _convert_="all"),
        store,
        seed=cfg.seed,
        workers=cfg.preparation.workers,
        code=("datamodules",),
    )
    limit = len(table) if cfg.task.limit is None else min(cfg.task.limit, len(table))
    return table.take(np.arange(limit)), rejects


def _settings(cfg: DictConfig) -> SetSettings:
    task = build.plain(cfg.task)
    if task["target"] is None:
        raise ConfigError("task.target is not set. Name the language to translate into, such as task.target=th.")
    if task["limit"] is not None and task["limit"] < 1:
        raise ConfigError(f"task.limit={task['limit']} must be at least 1, or null for every row.")
    try:
        checks = TranslationChecks(**task["checks"])
    except TypeError as error:
        raise ConfigError(f"task.checks has a setting that no check reads: {error}.") from error
    mode = "translated" if task["mode"] == "export_texts" else task["mode"]
    return SetSettings(
        mode=mode, target=task["target"], source=task["source"], fields=task["fields"], directions=task["directions"], checks=checks
    )


def _measure(conversations: Iterable[Conversation], settings: SetSettings) -> dict[str, Any]:
    """What there is to do, for the progress line and for a price."""
    number = characters_read = 0
    seen: set[int] = set()
    characters: dict[str, int] = {}
    for row in conversations:
        number += 1
        characters_read += row_characters(row)
        for code, text in _wanted(row, settings):
            if (key := hash((code, text))) not in seen:
                seen.add(key)
                characters[code] = characters.get(code, 0) + len(text)
    return {
        "rows": number,
        "texts": len(seen),
        "characters": sum(characters.values()),
        "characters_by_language": characters,
        "characters_read": characters_read,
    }


def _wanted(row: Conversation, settings: SetSettings) -> Iterator[tuple[str, str]]:
    """(source language, text) of everything of a row that is to be translated."""
    code = source_language(row, settings)
    if code in LANGUAGES and code != settings.target:
        yield from ((code, text) for text in rows.texts(row, settings.fields))


def _export(cfg: DictConfig, conversations: Iterable[Conversation], settings: SetSettings) -> dict[str, Any]:
    path = Path(cfg.output_dir) / cfg.task.texts
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = ((code, settings.target, text) for row in conversations for code, text in _wanted(row, settings))
    count = write_table(path, wanted)
    log.info("%d texts: %s. Fill in the column `translation`; translation=table translation.engine.path=FILE reads it back.", count, path)
    return {"exported": count, "texts_file": str(path)}
