"""task=inspect: what the model would be trained on, token by token, and proof that it is right."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinnari.tasks import build
from kinnari.tasks.proofs import Proofs, prove
from kinnari.tasks.token_pieces import Piece, TokenPieces
from kinnari.text.plan import PACKINGS
from kinnari.text.records import TokenizedRecords
from kinnari.text.tokens import SegmentEncoder

log = logging.getLogger(__name__)

MOST_PROVEN = 2000  # records rendered a second time; a random choice of larger sets
LONGEST = 5
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class InspectionFailed(RuntimeError):
    """The tokenised records break a rule that training relies on."""


def inspect(cfg: DictConfig) -> dict[str, Any]:
    """Print records and tables, write `inspect.jsonl`; no weights are loaded.

    Raises:
        InspectionFailed: a record breaks a rule of `kinnari.tasks.proofs`; everything is printed first.
    """
    tokenizer = build.tokenizer(cfg)
    data: Any = build.datamodule(cfg, tokenizer)
    data.setup()
    records = data.train_records
    shown = [int(i) for i in dict.fromkeys(data.plan.order(0).tolist())][: cfg.task.records]
    members = sorted({*shown, *_some(len(records), cfg.seed)})
    encoder = SegmentEncoder(tokenizer)
    proofs = prove(records, members, data.train_conversations, encoder, data.template, data.seq2seq)
    pieces, console = TokenPieces(tokenizer), Console()
    console.print(_legend())
    for i in shown:
        record = as_text(records, i, pieces, tokenizer.eos_token_id)
        console.print(_heading(records, i, proofs), record, "", sep="\n", soft_wrap=True)
    _write(Path(cfg.output_dir) / "inspect.jsonl", records, shown, pieces, proofs)
    padding = {mode: data.planned_padding(mode) for mode in PACKINGS if not (data.seq2seq and mode == "packed")}
    for table in (_sources(data), _losses(data), _padding(padding, data.plan.packing), _longest(records)):
        if table.row_count:
            console.print(table)
    _report(proofs, len(records), console)
    return {
        "records": len(records),
        "held_out": len(data.held_out_records),
        "tokens": int(records.lengths.sum()),
        "trained_fraction": float(records.trained_counts.sum() / records.lengths.sum()),
        "cut": records.num_cut + data.held_out_records.num_cut,
        "dropped": len(records.dropped) + len(data.held_out_records.dropped),
        "rejected": len(data.rejects),
        "proven": proofs.checked,
        **{f"padding/{mode}": share for mode, share in padding.items()},
    }


def _some(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(count)[:MOST_PROVEN].tolist()


def _legend() -> Text:
    legend = Text("« trained »", style="bold green").append(" and untrained tokens", style="not bold dim")
    legend.append("; ").append("special", style="cyan").append("; ").append("EOS that is trained", style="reverse bold green")
    return legend.append("; underlining changes with each token; ₃: three tokens are one character\n")


def _heading(records: TokenizedRecords, i: int, proofs: Proofs) -> Text:
    name = records.record_ids[i]
    text = Text(f"{name}  ({records.sources[i]}, {records.lengths[i]} tokens, {records.trained_counts[i]} trained)", style="bold")
    return text.append("  CUT at model.max_length", style="bold red") if name in proofs.cut else text


def as_text(records: TokenizedRecords, i: int, pieces: TokenPieces, eos_id: int) -> Text:
    """Record i in colours, trained stretches between « and »."""
    ids, trained = records[i]
    text, at, inside = Text(), 0, False
    for number, piece in enumerate(pieces.pieces(ids)):
        flag = bool(trained[at])
        if flag != inside:
            text.append("«" if flag else "»", style="bold yellow")
            inside = flag
        is_eos = piece.special and ids[at] == eos_id
        text.append(_shown(piece, is_eos), style=_style(piece, flag, is_eos) + (" underline" if number % 2 else ""))
        at += piece.count
    return text.append("»", style="bold yellow") if inside else text


def _shown(piece: Piece, is_eos: bool) -> str:
    if is_eos:
        return f"[{piece.text} EOS]"
    # Control characters of the data must not reach the terminal as such.
    text = "".join(chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c for c in piece.text)
    return text.replace("\n", "↵\n") + (str(piece.count).translate(_SUBSCRIPTS) if piece.count > 1 else "")


def _style(piece: Piece, trained: bool, is_eos: bool) -> str:
    if is_eos:
        return "reverse bold green" if trained else "reverse dim"
    return "bold green" if trained else "cyan" if piece.special else "dim"


def _write(path: Path, records: TokenizedRecords, shown: list[int], pieces: TokenPieces, proofs: Proofs) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        for i in shown:
            ids, trained = records[i]
            row = {
                "record_id": records.record_ids[i],
                "source": records.sources[i],
                "cut": records.record_ids[i] in proofs.cut,
                "tokens": pieces.strings(ids),
                "token_ids": ids.tolist(),
                "trained": trained.tolist(),
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _sources(data: Any) -> Table:
    table = _table("Sources", "source", "records", "tokens", "trained", "held out", "dropped", "rejected")
    train, held_out = data.train_records, data.held_out_records
    origin = {c.record_id: c.source for c in [*data.train_conversations, *data.held_out_conversations]}
    dropped = Counter(origin[i] for i in [*train.dropped, *held_out.dropped])
    for name in data.sources:
        mine = np.array([source == name for source in train.sources], dtype=bool)
        tokens, trained = train.lengths[mine].sum(), train.trained_counts[mine].sum()
        table.add_row(
            name,
            f"{mine.sum():,}",
            f"{tokens:,}",
            f"{trained / max(1, tokens):.1%}",
            f"{held_out.sources.count(name):,}",
            f"{dropped[name]:,}",
            f"{sum(r.source == name for r in data.rejects):,}",
        )
    return table


def _losses(data: Any) -> Table:
    """Everything that did not arrive whole."""
    table = _table("Cut, dropped, rejected", "reason", "records")
    cut = data.train_records.num_cut + data.held_out_records.num_cut
    if cut:
        table.add_row(f"cut at model.max_length={data.max_length}", f"{cut:,}")
    for word, reasons in {
        "dropped": [*data.train_records.dropped.values(), *data.held_out_records.dropped.values()],
        "rejected": [reject.reason for reject in data.rejects],
    }.items():
        for reason, count in Counter(reasons).most_common(10):
            table.add_row(f"{word}: {reason}", f"{count:,}")
    return table


def _padding(padding: dict[str, float], chosen: str) -> Table:
    table = _table("Padding planned for the first steps", "packing", "share")
    for mode, share in padding.items():
        table.add_row(f"{mode} (chosen)" if mode == chosen else mode, f"{share:.1%}")
    return table


def _longest(records: TokenizedRecords) -> Table:
    table = _table("Longest records", "record", "tokens", "trained")
    for i in np.argsort(-records.lengths, kind="stable")[:LONGEST]:
        table.add_row(records.record_ids[i], f"{records.lengths[i]:,}", f"{records.trained_counts[i]:,}")
    return table


def _report(proofs: Proofs, total: int, console: Console) -> None:
    if proofs.failures:
        for failure in proofs.failures[:20]:
            log.error("%s", failure)
        raise InspectionFailed(
            f"{len(proofs.failures)} rules are broken in {proofs.checked} of {total} records; the first: {proofs.failures[0]}. "
            "Look at the template (model/template) and the tokenizer's EOS."
        )
    console.print(
        f"Proven for {proofs.checked:,} of {total:,} records: something is trained, every uncut answer ends in a trained EOS, the "
        "prompt of generation is the beginning of the record.",
        style="green",
    )
