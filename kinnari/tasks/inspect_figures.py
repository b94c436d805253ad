"""The tables of task=inspect: what came of every source, what did not arrive whole, padding, the longest records."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from kinnari.tasks.inspect_page import Figures
from kinnari.text.records import TokenizedRecords

LONGEST = 5


def sources(data: Any) -> Figures:
    """Records and tokens of each source of a datamodule that is set up."""
    train, held_out, counts = data.train_records, data.held_out_records, data.counts()
    rows = []
    for option, source in data.sources.items():
        mine = train.sources.mask(source.name)
        tokens, trained = train.lengths[mine].sum(), train.trained_counts[mine].sum()
        left_out = counts[option]["rejected"] + counts[option]["removed"]
        numbers = (mine.sum(), tokens, held_out.sources.count(source.name), counts[option]["dropped"], left_out)
        records, all_tokens, held, dropped, rejected = (f"{number:,}" for number in numbers)
        rows.append((source.name, records, all_tokens, f"{trained / max(1, tokens):.1%}", held, dropped, rejected))
    return Figures("Sources", ("source", "records", "tokens", "trained", "held out", "dropped", "rejected"), rows)


def losses(data: Any) -> Figures:
    """Everything that did not arrive whole."""
    rows = []
    cut = data.train_records.num_cut + data.held_out_records.num_cut
    if cut:
        rows.append((f"cut at model.max_length={data.max_length} or a limit of limits", f"{cut:,}"))
    for word, reasons in {
        "dropped": itertools.chain(data.train_records.dropped.values(), data.held_out_records.dropped.values()),
        "rejected": (reject.reason for reject in data.rejects),
    }.items():
        rows += [(f"{word}: {reason}", f"{count:,}") for reason, count in Counter(reasons).most_common(10)]
    return Figures("Cut, dropped, rejected", ("reason", "records"), rows)


def padding(shares: Mapping[str, float], chosen: str) -> Figures:
    """Share of padding with every way of packing."""
    rows = [(f"{mode} (chosen)" if mode == chosen else mode, f"{share:.1%}") for mode, share in shares.items()]
    return Figures("Padding planned for the first steps", ("packing", "share"), rows)


def longest(records: TokenizedRecords) -> Figures:
    """The records with most tokens."""
    order = np.argsort(-records.lengths, kind="stable")[:LONGEST].tolist()
    rows = [(records.record_ids[i], f"{records.lengths[i]:,}", f"{records.trained_counts[i]:,}") for i in order]
    return Figures("Longest records", ("record", "tokens", "trained"), rows)
