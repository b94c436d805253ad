"""How many tokens stand in the rows of a run: from the data if it has been prepared, else from what the config allows.

Nothing is prepared or downloaded here: a plan must cost nothing. Only small files are read, to count their records.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import try_to_load_from_cache
from hydra.utils import get_class
from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.models.cache import cache_root
from kinnari.models.gguf import find_packaged_gguf
from kinnari.models.spec import ModelSpec
from kinnari.planning.request import RowTokens
from kinnari.preparation.pipeline import prepare, read_and_clean
from kinnari.preparation.store import Store
from kinnari.tasks import build
from kinnari.text.pair_batches import PairRecords
from kinnari.text.plan import BatchPlan

SMALL_BYTES = 16 * 2**20  # of source files that are read to count their records
STEPS_LOOKED_AT = 64


@dataclass(frozen=True)
class DataTokens:
    """What is known of the data.

    Attributes:
        plan: of the batches; None where the data has not been prepared.
        widest: most tokens of a row, whatever the plan says (task=ppo: prompt and answer, which of an encoder-decoder has its own row).
        records: of an epoch; None where they are not known.
        packed: several records to a row.
        seq2seq: sources and targets in rows of their own.
        told: one sentence on where the numbers come from.
        answer: task=ppo: most tokens of an answer; rows are told as prompts, the planner puts the answers behind them.
        pairs: records are pairs of rows (task=reward).
        shared: task=reward: tokens of each pair, its prompt once; None where pairs stand in rows of their own.
        steps: only the first optimizer steps count; None for an epoch.
    """

    plan: BatchPlan | None
    widest: int
    records: int | None
    packed: bool
    seq2seq: bool
    told: str
    answer: int | None = None
    pairs: bool = False
    shared: np.ndarray | None = None
    steps: int | None = None

    def rows(self, micro_size: int, world_size: int) -> RowTokens:
        """Rows as a run with this layout would compute them; smaller micro-batches of packed rows are wider."""
        if self.plan is None or self.plan.global_size % (micro_size * world_size):
            target = (self.answer or self.widest) if self.seq2seq else None
            return RowTokens(width=self._longest_row, packed=self.packed, records=self.records, target_width=target)
        lengths, trained, members = self.plan.lengths, self.plan.trained_counts, self._members()
        known: dict[str, Any]
        if self.pairs:  # counts are of pairs, lengths of the longer row of each
            width = int(lengths[members].max())
            known = {} if self.shared is None else self._shared(members, micro_size, world_size)
            return RowTokens(width=width, mean=float(lengths[members].mean()), records=len(members), **known)
        total = float(lengths[members].sum())
        known = {
            "mean": total / len(members),
            "trained_share": float(trained[members].sum()) / total,
            "records": len(members),
        }
        if self.answer is not None:
            prompts = np.minimum((lengths - trained)[members], self._longest_row)
            known["mean"] = float(prompts.mean())
            return RowTokens(width=int(prompts.max()), target_width=self.answer if self.seq2seq else None, **known)
        batches = self._batches(micro_size, world_size)
        if self.seq2seq:
            widths = [(int((lengths - trained)[rows].max()), int(trained[rows].max())) for rows in map(np.concatenate, batches)]
            width, target = max(widths, key=sum)
            return RowTokens(width=width, target_width=target, **known)
        longest = max(int(lengths[row].sum()) for rows in batches for row in rows)
        if not self.packed:
            longest = int(lengths[members].max())
        return RowTokens(width=longest, packed=self.packed, **known)

    @property
    def _longest_row(self) -> int:
        """Tokens; of task=ppo those of a prompt, which leaves room for an answer in its row (`kinnari.tasks.ppo`)."""
        return max(1, self.widest - (0 if self.answer is None or self.seq2seq else self.answer))

    def _shared(self, members: np.ndarray, micro_size: int, world_size: int) -> dict[str, Any]:
        assert self.shared is not None
        shared = self.shared
        widest = max((np.concatenate(rows) for rows in self._batches(micro_size, world_size)), key=lambda rows: int(shared[rows].sum()))
        return {"pairs": tuple(shared[widest].tolist()), "pair_mean": float(shared[members].mean())}

    def _members(self) -> np.ndarray:
        assert self.plan is not None
        order = self.plan.order(0)
        return order if self.steps is None else order[: self.steps * self.plan.global_size]

    def _batches(self, micro_size: int, world_size: int) -> list[list[np.ndarray]]:
        """The micro-batches of the first rank in some steps of the first epoch; each row as the numbers of its records."""
        assert self.plan is not None
        layout = BatchPlan(**{**vars(self.plan), "micro_size": micro_size, "world_size": world_size})
        last = layout.steps_per_epoch if self.steps is None else min(self.steps, layout.steps_per_epoch)
        steps = np.unique(np.linspace(0, last - 1, STEPS_LOOKED_AT).astype(int)).tolist()
        return [[np.array(row) for row in batch] for step in steps for batch in layout.share(step, 0) if batch]


class _NotPrepared(Exception):
    """A stage is not on disk."""


class _OpenedStore(Store):
    """Finished stages, opened and never made."""

    def _make(self, build: Callable[[Path], None], target: Path) -> None:
        raise _NotPrepared(target.name)


def tokens_of(cfg: DictConfig, parts: build.Parts, task: str) -> DataTokens:
    """What is known of the data of a run before it starts; `task` is sft, reward or ppo. Files need not be there yet."""
    at_hand = tokenizer_at_hand(parts.spec)
    there, small = _are_there_and_small(cfg)
    if at_hand and task == "reward" and small:  # pairs are not kept between runs: reading them again is what the run itself does
        data = build.preference_datamodule(cfg, build.tokenizer(cfg), 0, parts.world_size)
        data.setup()
        return of_plan(data.plan, cfg, task, data.train_records)
    if at_hand and there and task != "reward":
        try:
            return of_plan(prepared_before(cfg, parts).plan, cfg, task)
        except _NotPrepared:
            pass
    records = _counted(cfg, task) if small else None
    counted = "records were counted in their files" if records is not None else "no number of records, so no hours of an epoch"
    why = "the data is not prepared (task=prepare does it)"
    if not there:
        why = "files of the data are not there yet"
    elif task == "reward" or not at_hand:
        why = "no tokenizer is on this machine" if not at_hand else "the pairs are not read for a plan (on a hub, or more than 16 MiB)"
    told = f"{why}: every row is taken to have the {cfg.model.max_length} tokens of model.max_length; {counted}"
    answer = _answer(cfg) if task == "ppo" else None
    return DataTokens(None, cfg.model.max_length, records, parts.packing == "packed" and task == "sft", _two_sided(cfg), told, answer)


def of_plan(plan: BatchPlan, cfg: DictConfig, task: str, pairs: PairRecords | None = None) -> DataTokens:
    """What a datamodule that is set up knows.

    Args:
        pairs: of task=reward.
    """
    answer = _answer(cfg) if task == "ppo" else None
    packed = plan.packing == "packed" and task == "sft"
    what = "pairs, whose longer rows have" if task == "reward" else "records of"
    told = f"from {len(plan.lengths):,} prepared {what} {float(plan.lengths.mean()):.0f} tokens on average"
    return DataTokens(plan, cfg.model.max_length, len(plan.order(0)), packed, _two_sided(cfg), told, answer, pairs=task == "reward",
                      shared=_shared_lengths(pairs, cfg))  # fmt: skip


def _shared_lengths(pairs: PairRecords | None, cfg: DictConfig) -> np.ndarray | None:
    """Tokens of each pair with its prompt once, [N] int64; answers that begin alike share more."""
    if pairs is None or pairs.seq2seq or not cfg.reward.share_prompts:
        return None
    lengths = pairs.rows.lengths.reshape(-1, 2)
    answers = np.add.reduceat(pairs.rows.flat_trained, pairs.rows.offsets[:-1], dtype=np.int64).reshape(-1, 2)
    return lengths.sum(axis=1) - (lengths - answers).min(axis=1)


def _two_sided(cfg: DictConfig) -> bool:
    return cfg.model.architecture == "seq2seq"


def _answer(cfg: DictConfig) -> int:
    most = cfg.ppo.response_length
    return most if isinstance(most, int) else most[1]


def prepared_before(cfg: DictConfig, parts: build.Parts) -> Any:
    """The datamodule of the run, set up from what an earlier run or task=prepare left.

    Raises:
        _NotPrepared: it left nothing, or something else.
    """
    data = build.datamodule(_instructions(cfg), build.tokenizer(cfg), 0, parts.world_size)
    data.folder = None  # nothing is written
    data.prepared = prepare(
        data.sources.values(), data.cleaning, data.held_out, data.encoding, _OpenedStore(data.cache_dir),
        seed=data.seed, code=("datamodules",), show=False,
    )  # fmt: skip
    data.setup()
    return data


def _instructions(cfg: DictConfig) -> DictConfig:
    """Prompts are the conversations of instruction tuning without their answers; lengths are known of those."""
    changed = cfg.copy()
    changed.task.datamodule = "datamodules.InstructionDataModule"
    return changed


def tokenizer_at_hand(spec: ModelSpec) -> bool:
    """Whether the tokenizer is on this machine, so that nothing need be fetched or converted to read it."""
    if spec.toy is not None or spec.shrunk:
        return True
    if spec.path is None or spec.path.endswith(".gguf"):
        try:
            file = find_packaged_gguf(str(spec.package)) if spec.path is None else Path(spec.path).expanduser()
        except ConfigError:  # the package is not installed
            return False
        return any(cache_root().glob(f"{file.stem}-*"))
    return Path(spec.path).expanduser().is_dir() or isinstance(try_to_load_from_cache(spec.path, "config.json"), str)


def _are_there_and_small(cfg: DictConfig) -> tuple[bool, bool]:
    """(whether no file of the data is missing, whether all of it lies in files that are read in a second or two)."""
    sources = build.sources(cfg).values()
    try:
        files = [list(source.files()) for source in sources]
    except ConfigError:  # says which file: a run would end with it, a plan is asked before the data is there
        return False, False
    return True, all(files) and sum(file.stat().st_size for of_source in files for file in of_source) <= SMALL_BYTES


def _counted(cfg: DictConfig, task: str) -> int:
    """Records of an epoch before cleaning, as many as are held out taken off."""
    sources = build.sources(cfg)
    if task == "reward":
        pairs = get_class(cfg.task.pairs_datamodule)(
            sources,
            construction=cfg.task.construction,
            most_pairs=cfg.task.pairs_per_prompt,
            held_out_fraction=cfg.held_out.fraction,
            held_out_most=cfg.held_out.most,
            near_duplicates=None,
            seed=cfg.seed,
        )
        pairs.setup()
        return len(pairs.train_pairs)
    table, _ = read_and_clean(
        sources.values(), {}, Store(build.prepared_folder(cfg)), seed=cfg.seed, workers=1, code=("datamodules",), show=False
    )
    held_out = cfg.held_out.most if cfg.held_out.fraction is None else min(cfg.held_out.most, math.ceil(cfg.held_out.fraction * len(table)))
    return max(1, len(table) - held_out)
