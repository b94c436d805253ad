"""task=prepare: raw data -> cleaned, deduplicated, tokenised Arrow and a data card, before any training is paid for.

output_dir/data_card.md, data_card.json, token_lengths.svg     what the set is made of
           tokens/                                             a `datasets` folder with the splits train and held_out
           rejects.jsonl                                       what was left out, with the step's name and the reason
           conversations.jsonl                                 if task.conversations=true
           pairs.jsonl, held_out_pairs.jsonl                   instead, if task.rows=pairs

The tokens are those of the cache, so that training with the same settings starts at once.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kinnari.preparation.card import PICTURE, data_card, to_markdown
from kinnari.preparation.histogram import histogram_svg
from kinnari.preparation.pipeline import Prepared
from kinnari.preparation.rejects import reject_line
from kinnari.preparation.stored_records import StoredRecords
from kinnari.tasks import build
from kinnari.text.conversation import Conversation
from kinnari.text.pairs import write_pairs

log = logging.getLogger(__name__)

TOKENS, HELD_OUT = "tokens", "held_out"
SMALL = 50_000  # records that are written too fast for a progress bar
EXPORTED = ["input_ids", "labels", "source", "language", "record_id"]


def prepare(cfg: DictConfig) -> dict[str, Any]:
    """Prepare `data=` and write what came of it; no weights are loaded.

    Raises:
        ConfigError: no row is left, or `task.rows=pairs` with a source of single answers.
    """
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if cfg.task.rows == "pairs":
        return _pairs(cfg, folder)
    began = time.monotonic()
    tokenizer = build.tokenizer(cfg)
    data: Any = build.datamodule(cfg, tokenizer)
    data.folder = folder  # rejects.jsonl and lineage.json are results here, not company of a run
    data.setup()
    prepared = data.prepared
    card = data_card(prepared, data.encoding, data.held_out, data.cleaning, data.weights())
    write_card(card, folder)
    export_tokens(prepared, folder / TOKENS)
    if cfg.task.conversations:
        write_conversations(prepared, folder / "conversations.jsonl")
    names = ("rows_read", "rows_kept", "rows_rejected", "rows_not_drawn", "train", "held_out", "tokens", "trained_tokens", "cut")
    log.info("data card: %s", folder / "data_card.md")
    return {name: card[name] for name in names} | {"found_in_cache": prepared.found, "seconds": round(time.monotonic() - began, 2)}


def write_card(card: dict[str, Any], folder: Path) -> None:
    """The card's three files."""
    (folder / "data_card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "data_card.md").write_text(to_markdown(card), encoding="utf-8")
    picture = histogram_svg(card["histogram"], "Records by number of tokens", "tokens")
    (folder / PICTURE).write_text(picture, encoding="utf-8")


def export_tokens(prepared: Prepared, folder: Path) -> None:
    """The tokens of both sides as `datasets.load_from_disk(folder)` opens them."""
    import datasets  # takes a second to import, and training needs none of it

    if len(prepared.tokens) < SMALL:
        datasets.disable_progress_bars()
    stored = datasets.load_from_disk(str(prepared.tokenised.folder), keep_in_memory=False).select_columns(EXPORTED)
    sides: dict[str, StoredRecords] = {"train": prepared.train, HELD_OUT: prepared.held_out}
    splits = {name: stored.select(records.members) for name, records in sides.items()}
    datasets.DatasetDict(splits).save_to_disk(str(folder))


def write_conversations(prepared: Prepared, path: Path) -> None:
    """One conversation a line, with the side it is on; those without anything to train as well."""
    with open(path, "w", encoding="utf-8") as out:
        for conversation, held in zip(prepared.conversations, prepared.is_held_out.tolist(), strict=True):
            out.write(json.dumps(_row(conversation) | {"split": HELD_OUT if held else "train"}, ensure_ascii=False) + "\n")


def _row(conversation: Conversation) -> dict[str, Any]:
    messages = [{"role": m.role, "content": m.content} | ({"context": m.context} if m.context else {}) for m in conversation.messages]
    rest = {name: value for name, value in vars(conversation).items() if name != "messages"}
    return {"messages": messages, **rest}


def _pairs(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    tokenizer = build.tokenizer(cfg)
    data = build.preference_datamodule(cfg, tokenizer)
    data.setup()
    counts = {name: write_pairs(table, folder / file) for name, (table, file) in _files(data).items()}
    with open(folder / "rejects.jsonl", "w", encoding="utf-8") as out:
        out.writelines(map(reject_line, data.rejects))
    card = {"pairs": counts, "sources": data.lineage(), "rows_rejected": _by_step(data.rejects)}
    (folder / "data_card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "data_card.md").write_text(_pairs_card(card), encoding="utf-8")
    return {**counts, "rows_rejected": card["rows_rejected"], "seconds": round(time.monotonic() - began, 2)}


def _files(data: Any) -> dict[str, tuple[Any, str]]:
    return {"train_pairs": (data.train_pairs, "pairs.jsonl"), "held_out_pairs": (data.held_out_pairs, "held_out_pairs.jsonl")}


def _by_step(rejects: Iterable[Any]) -> dict[str, int]:
    return dict(Counter(reject.step for reject in rejects).most_common())


def _pairs_card(card: dict[str, Any]) -> str:
    lines = ["# Data card: preference pairs", "", "| source | licence | what | count |", "| --- | --- | --- | --- |"]
    for name, source in card["sources"].items():
        counts = {key: value for key, value in source.items() if isinstance(value, int)}
        lines += [f"| {name} | {source['licence']} | {key} | {value:,} |" for key, value in counts.items()]
    lines += ["", "| left out by | rows |", "| --- | --- |", *(f"| {step} | {n:,} |" for step, n in card["rows_rejected"].items())]
    lines += ["", "| source | file | sha256 |", "| --- | --- | --- |"]
    lines += [f"| {name} | {file['file']} | `{file['sha256']}` |" for name, source in card["sources"].items() for file in source["files"]]
    return "\n".join(lines) + "\n"
