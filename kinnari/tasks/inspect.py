"""task=inspect: what the model would be trained on, token by token, in the terminal and as a page, and proof that it is right."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from kinnari.tasks import build
from kinnari.tasks.inspect_figures import longest, losses, padding, sources
from kinnari.tasks.inspect_page import page
from kinnari.tasks.inspect_terminal import as_table, as_text, heading, legend
from kinnari.tasks.proofs import Proofs, prove_members
from kinnari.tasks.shown_records import shown_record
from kinnari.tasks.token_pieces import TokenPieces
from kinnari.text.plan import PACKINGS
from kinnari.text.terminal import terminal

log = logging.getLogger(__name__)

MOST_PROVEN = 2000  # records rendered a second time; a random choice of larger sets


class InspectionFailed(RuntimeError):
    """The tokenised records break a rule that training relies on."""


def inspect(cfg: DictConfig) -> dict[str, Any]:
    """Print records and tables, write `inspect.html` and `inspect.jsonl`; no weights are loaded.

    Raises:
        InspectionFailed: a record breaks a rule of `kinnari.tasks.proofs`; everything is shown first.
    """
    tokenizer = build.tokenizer(cfg)
    data: Any = build.datamodule(cfg, tokenizer)
    data.setup()
    records, folder = data.train_records, Path(cfg.output_dir)
    members = [int(i) for i in dict.fromkeys(data.plan.order(0).tolist())][: cfg.task.records]
    proofs = prove_members(data, sorted({*members, *_some(len(records), cfg.seed)}))
    shares = {mode: data.planned_padding(mode) for mode in PACKINGS if not (data.seq2seq and mode == "packed")}
    figures = [f for f in (sources(data), losses(data), padding(shares, data.plan.packing), longest(records)) if f.rows]
    pieces = TokenPieces(tokenizer)
    shown = [shown_record(data, i, pieces, records.record_ids[i] in proofs.cut) for i in members]
    _write_lines(folder / "inspect.jsonl", data, members, pieces, proofs)
    (folder / "inspect.html").write_text(page(f"What {cfg.model.name} would be trained on", shown, figures), encoding="utf-8")
    console = terminal()
    console.print(legend())
    for record in shown:
        console.print(heading(record), as_text(record), "", sep="\n", soft_wrap=True)
    for table in figures:
        console.print(as_table(table))
    console.print(f"The same as a page: {folder / 'inspect.html'}", soft_wrap=True)
    _report(proofs, len(records), console)
    return {
        "records": len(records),
        "held_out": len(data.held_out_records),
        "tokens": int(records.lengths.sum()),
        "trained_fraction": float(records.trained_counts.sum() / records.lengths.sum()),
        "cut": records.num_cut + data.held_out_records.num_cut,
        "dropped": records.num_dropped + data.held_out_records.num_dropped,
        "rejected": len(data.rejects),
        "proven": proofs.checked,
        **{f"padding/{mode}": share for mode, share in shares.items()},
    }


def _some(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(count)[:MOST_PROVEN].tolist()


def _write_lines(path: Path, data: Any, members: list[int], pieces: TokenPieces, proofs: Proofs) -> None:
    records = data.train_records
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        for i in members:
            ids, trained = records[i]
            row = {
                "record_id": records.record_ids[i],
                "source": records.sources[i],
                "language": data.train_conversations[i].language,
                "cut": records.record_ids[i] in proofs.cut,
                "tokens": pieces.strings(ids),
                "token_ids": ids.tolist(),
                "trained": trained.tolist(),
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _report(proofs: Proofs, total: int, console: Console) -> None:
    if proofs.failures:
        for failure in proofs.failures[:20]:
            log.error("%s", failure)
        raise InspectionFailed(
            f"{len(proofs.failures)} rules are broken in {proofs.checked} of {total} records; the first: {proofs.failures[0]}. "
            "Look at the template (model/template) and the tokenizer's EOS."
        )
    console.print(
        f"Proven for {proofs.checked:,} of {total:,} records: something is trained, and exactly what loss_on says; every uncut answer "
        "ends in a trained end token; the prompt of generation is the beginning of the record.",
        style="green",
    )
