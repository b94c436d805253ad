"""The data card: what a prepared set is made of, as a dict for programs and as Markdown for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kinnari.preparation import statistics
from kinnari.preparation.fingerprints import Unknowable, described, digest, tokenizer_sha256
from kinnari.preparation.pipeline import Encoding, Prepared
from kinnari.preparation.splitting import HeldOut
from kinnari.text.records import TokenizedRecords

PICTURE = "token_lengths.svg"


def data_card(prepared: Prepared, encoding: Encoding, held_out: HeldOut, steps: Mapping[str, Any], weights: Mapping[str, float]) -> dict:
    """Everything the card says, as plain values; two cards are equal if and only if data and settings are."""
    tokens, trained = int(prepared.tokens.lengths.sum()), int(prepared.tokens.trained_counts.sum())
    sources = statistics.sources(prepared)
    return {
        "rows_read": sum(source["rows_read"] for source in sources.values()),
        "rows_kept": len(prepared.tokens) - int(prepared.tokens.later_parts.sum()),
        "rows_rejected": statistics.rejected_by_step(prepared),
        "rows_not_drawn": sum(source["not_drawn"] for source in sources.values()),
        "train": len(prepared.train),
        "held_out": len(prepared.held_out),
        "tokens": tokens,
        "trained_tokens": trained,
        "share_trained": round(trained / tokens, 4) if tokens else None,
        "cut": int(prepared.tokens.cut.sum()),
        "sources": {name: values | {"weight": weights.get(name, values["weight"])} for name, values in sources.items()},
        "records_by_language": statistics.by_source_and_language(prepared),
        "languages": statistics.languages(prepared),
        "token_lengths": lengths_of(prepared.train, prepared.held_out),
        "histogram": [list(row) for row in statistics.length_histogram(prepared.tokens.lengths)],
        "settings": _settings(encoding, held_out, steps),
        "content": prepared.tokenised.key,
    }


def lengths_of(*records: TokenizedRecords) -> dict[str, float]:
    """Least, median, mean, 95th percentile and most tokens of records."""
    lengths = np.concatenate([r.lengths for r in records])
    if len(lengths) == 0:
        return {}
    middle, high = np.percentile(lengths, [50, 95]).tolist()
    return {
        "least": int(lengths.min()),
        "median": middle,
        "mean": round(float(lengths.mean()), 2),
        "p95": high,
        "most": int(lengths.max()),
    }


def _settings(encoding: Encoding, held_out: HeldOut, steps: Mapping[str, Any]) -> dict[str, Any]:
    tokenizer = encoding.tokenizer
    return {
        "tokenizer": {"class": type(tokenizer).__name__, "vocabulary": len(tokenizer), "sha256": tokenizer_sha256(tokenizer)},
        "template": {"name": encoding.template.name, "sha256": _hash(encoding.template)},
        "limits": vars(encoding.limits),
        "loss_on": encoding.loss_on,
        "held_out": vars(held_out),
        "cleaning": {name: {"step": type(step).__name__, "sha256": _hash(step)} for name, step in steps.items()},
    }


def _hash(value: Any) -> str | None:
    try:
        return digest(described(value))
    except Unknowable:
        return None


def to_markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    settings = card["settings"]
    lengths = card["token_lengths"]
    head = [
        ("rows read", card["rows_read"]),
        *((f"left out: {step}", count) for step, count in card["rows_rejected"].items() if count),
        *([("not drawn (limit)", card["rows_not_drawn"])] if card["rows_not_drawn"] else []),
        ("records kept", card["rows_kept"]),
        ("of these for training", card["train"]),
        ("of these held out", card["held_out"]),
        ("tokens", card["tokens"]),
        ("trained tokens", f"{card['trained_tokens']:,} ({_percent(card['share_trained'])})"),
        ("records cut", card["cut"]),
    ]
    sections = [
        "# Data card",
        _table(("", "count"), head),
        "## Sources\n\n" + _sources(card),
        "## Left out, by source, step and language\n\n" + _removed(card),
        "## Languages\n\n" + _languages(card),
        f"## Token lengths\n\n![Records by number of tokens]({PICTURE})\n\n" + _table(("", "tokens"), list(lengths.items())),
        "## Settings\n\n" + _table(("setting", "value"), _flat(settings)),
        f"Content: `{card['content']}`",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _sources(card: Mapping[str, Any]) -> str:
    counts = [
        (
            name,
            s["licence"],
            s["rows_read"],
            s["train"],
            s["held_out"],
            f"{s['weight']:g}",
            _names(card["records_by_language"].get(name, {})),
        )
        for name, s in card["sources"].items()
    ]
    files = [
        (name, file["file"], file["bytes"], f"`{file['sha256']}`") for name, source in card["sources"].items() for file in source["files"]
    ]
    tables = [_table(("source", "licence", "rows", "train", "held out", "weight", "languages"), counts)]
    return "\n\n".join([*tables, _table(("source", "file", "bytes", "sha256"), files)] if files else tables)


def _names(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{language} {count:,}" for language, count in counts.items())


def _removed(card: Mapping[str, Any]) -> str:
    rows: list[Sequence[Any]] = []
    for name, source in card["sources"].items():
        rows += [(name, "read", reason, count) for reason, count in source["rejected_because"].items()]
        for step, languages in source["removed"].items():
            rows += [(name, step, language or statistics.UNKNOWN, count) for language, count in languages.items()]
        rows += [(name, "tokenise", reason, count) for reason, count in source["dropped_because"].items()]
    return _table(("source", "step", "language or reason", "rows"), rows) if rows else "Nothing."


def _languages(card: Mapping[str, Any]) -> str:
    columns = ("language", "records", "tokens", "tokens per character", "cut", "share trained", "dropped")
    rows = [
        (
            name,
            values["records"],
            values["tokens"],
            values["tokens_per_character"],
            _percent(values["share_cut"]),
            _percent(values["share_trained"]),
            values["dropped"],
        )
        for name, values in card["languages"].items()
    ]
    return _table(columns, rows) + "\n\nTokens per character: of whole records with their template, over the characters of their messages."


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return rows


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
