"""The check before every training run: a sample of the records is proven, shown in a page, and a wrong loss mask ends the run.

preflight: 200 of 41,203 records: 38.1 % of tokens trained, the end of the answer is a target in 97.5 %, 2.5 % cut
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinnari.errors import ConfigError
from kinnari.tasks.inspect_page import page
from kinnari.tasks.proofs import Proofs, prove_members
from kinnari.tasks.shown_records import shown_record
from kinnari.tasks.token_pieces import TokenPieces

log = logging.getLogger(__name__)

SHOWN = 20  # records of the page


@dataclass(frozen=True)
class Preflight:
    """What the sample is like; shares are between 0 and 1."""

    checked: int
    trained_share: float
    end_share: float
    cut_share: float


def preflight(data: Any, count: int, seed: int, page_path: Path | None = None) -> Preflight | None:
    """Prove `count` records of a datamodule that is set up, drawn with the seed; None if `count` is 0.

    Args:
        page_path: where to write the first records as the model sees them; None writes nothing.

    Raises:
        ConfigError: a rule of `kinnari.tasks.proofs` is broken, or in no record of the sample is the end of an answer a target.
    """
    if count == 0:
        return None
    members = np.sort(np.random.default_rng(seed).permutation(len(data.train_records))[:count]).tolist()
    found = prove_members(data, members)
    if page_path is not None:
        write_page(page_path, data, members[:SHOWN], found)
    _stop_if_wrong(found, data, page_path)
    records = data.train_records
    result = Preflight(
        checked=found.checked,
        trained_share=float(records.trained_counts[members].sum() / records.lengths[members].sum()),
        end_share=found.with_end / found.checked,
        cut_share=len(found.cut) / found.checked,
    )
    log.info(
        "preflight: %d of %s records: %.1f %% of tokens trained, the end of the answer is a target in %.1f %%, %.1f %% cut",
        result.checked, f"{len(records):,}", 100 * result.trained_share, 100 * result.end_share, 100 * result.cut_share,
    )  # fmt: skip
    return result


def write_page(path: Path, data: Any, members: list[int], found: Proofs) -> None:
    """The records `members` as a page."""
    pieces = TokenPieces(data.tokenizer)
    shown = [shown_record(data, i, pieces, data.train_records.record_ids[i] in found.cut) for i in members]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page("What the model is trained on", shown, []), encoding="utf-8")


def _stop_if_wrong(found: Proofs, data: Any, page_path: Path | None) -> None:
    see = "task=inspect shows the records" if page_path is None else f"{page_path} shows the records, task=inspect more of them"
    if found.failures:
        raise ConfigError(
            f"The preflight found {len(found.failures)} broken rules in {found.checked} records; the first: {found.failures[0]}. {see}. "
            "Look at model/template and at the tokenizer's special tokens; preflight.records=0 trains without this check."
        )
    if found.with_end == 0 and not _ends_untrained(data):
        raise ConfigError(
            f"In none of {found.checked} sampled records is the end of an answer a target: {len(found.cut)} of them are cut at "
            f"max_length={data.limits.max_length}. The model would never learn to stop. Raise model.max_length, or take other records; "
            f"{see}. preflight.records=0 trains without this check."
        )


def _ends_untrained(data: Any) -> bool:
    """Whether the data is plain text in pieces, whose ends mean nothing."""
    return data.template.name == "plain_text"
