"""The instruction datamodule: any mix of sources, cleaned, split and tokenised once, delivered as optimizer steps."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from datamodules.sources.source import Source
from kinnari.cleaning.step import Step
from kinnari.errors import ConfigError
from kinnari.preparation import statistics
from kinnari.preparation.pipeline import Encoding, Prepared, prepare
from kinnari.preparation.rejects import TOKENISE, RejectLog
from kinnari.preparation.splitting import HeldOut
from kinnari.preparation.store import Store
from kinnari.text.batches import Batch, padding_fraction
from kinnari.text.conversation import Conversation, Reject
from kinnari.text.plan import BatchPlan, temperature_weights
from kinnari.text.records import TokenizedRecords
from kinnari.text.split import why_nothing_held_out
from kinnari.text.steps import StepDataset, StepSampler
from kinnari.text.template import Renderer
from kinnari.text.truncation import Limits

log = logging.getLogger(__name__)


class InstructionDataModule(pl.LightningDataModule):
    """Conversations of one or more sources for `CausalLMSFT` or `Seq2SeqSFT`; text and tokens stay on disk.

    Args:
        sources: option name -> source.
        tokenizer: of the model that is trained.
        template: the renderer.
        seq2seq: encoder-decoder records.
        global_size, micro_size, packing: see `kinnari.text.plan.BatchPlan`; one dataloader item is one optimizer step.
        max_length: tokens per record (seq2seq: per side).
        limits: limits of source and target apart, and what happens beyond them; None cuts at `max_length`.
        loss_on: which turns are trained, see `kinnari.text.template.LossOn`.
        cleaning: name -> step, applied in order to all sources together.
        held_out_fraction, held_out_most, held_out_near_duplicates: validation records, see `kinnari.preparation.splitting.HeldOut`.
        temperature: evens the shares of sources out, see `kinnari.text.plan.temperature_weights`; None goes by each source's weight.
        seed: of the split, of the draw for a source's limit and of the order of training.
        world_size, rank: data-parallel ranks; the plan is the same on all.
        num_workers: processes that build batches.
        workers: processes that prepare, or `auto`; nothing depends on it but time.
        cache_dir: where prepared data is kept for the next run; None keeps it in a temporary folder as long as this object lives.
        folder: receives `rejects.jsonl` and `lineage.json`; None writes nothing (notebooks).

    Attributes, after `setup`:
        train_records, held_out_records: the records as tokens.
        train_conversations, held_out_conversations: the same records as text, by the same numbers.
        rejects: what reading and cleaning left out.
        plan: which records each step trains on.

    Raises:
        ConfigError: in `setup`, if no usable record is left.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        tokenizer: PreTrainedTokenizerBase,
        template: Renderer,
        *,
        global_size: int = 16,
        micro_size: int = 4,
        packing: str = "length_grouped",
        max_length: int = 512,
        limits: Limits | None = None,
        loss_on: str = "answers",
        seq2seq: bool = False,
        cleaning: Mapping[str, Step] | None = None,
        held_out_fraction: float | None = 0.05,
        held_out_most: int = 256,
        held_out_near_duplicates: float | None = None,
        temperature: float | None = None,
        seed: int = 42,
        world_size: int = 1,
        rank: int = 0,
        num_workers: int = 0,
        workers: int | str = "auto",
        cache_dir: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.sources, self.tokenizer, self.template = dict(sources), tokenizer, template
        self.global_size, self.micro_size, self.packing = global_size, micro_size, packing
        self.limits = limits or Limits(max_length)
        self.max_length, self.seq2seq, self.seed = self.limits.max_length, seq2seq, seed
        self.loss_on, self.cleaning, self.temperature = loss_on, dict(cleaning or {}), temperature
        self.held_out = HeldOut(fraction=held_out_fraction, most=held_out_most, seed=seed, near_duplicates=held_out_near_duplicates)
        self.world_size, self.rank, self.num_workers, self.folder = world_size, rank, num_workers, folder
        self.workers, self.cache_dir = workers, cache_dir
        self.train_conversations: Sequence[Conversation] = []
        self.held_out_conversations: Sequence[Conversation] = []
        self.rejects: Sequence[Reject] = RejectLog([], 0)
        self.prepared: Prepared | None = None
        self.plan: BatchPlan | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read, clean, split and tokenise, or open what was prepared before; later calls (validate after fit) find it open."""
        if self.plan is not None:
            return
        prepared = self.prepare()
        self.train_records, self.held_out_records = prepared.train, prepared.held_out
        self.train_conversations = prepared.table_of(prepared.train)
        self.held_out_conversations = prepared.table_of(prepared.held_out)
        if len(self.train_records) == 0:
            raise ConfigError(f"No record of {', '.join(self.sources)} can be trained on: {self._why_nothing(prepared)}")
        self.plan = self._plan(self.train_records, self.global_size, self.packing)
        if len(self.plan.order(0)) == 0:
            raise ConfigError(
                f"The weights of {', '.join(self.sources)} leave none of {len(self.train_records)} records in an epoch. Raise "
                "data.NAME.weight: 1.0 is one pass over the source."
            )
        if self.folder is not None and self.rank == 0:
            (self.folder / "lineage.json").write_text(json.dumps(self.lineage(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def prepare(self) -> Prepared:
        """All stages up to tokens on disk, without a plan: what `task=prepare` does, and `setup` begins with."""
        if self.prepared is None:
            self.prepared = prepare(
                self.sources.values(),
                self.cleaning,
                self.held_out,
                self.encoding,
                Store(self.cache_dir),
                seed=self.seed,
                workers=self.workers,
                code=("datamodules",),
                show=self.rank == 0,
            )
            self.rejects = self.prepared.rejects()
            if self.folder is not None and self.rank == 0:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.prepared.rejects(dropped=True).write(self.folder / "rejects.jsonl")
            if self.rank == 0:
                self._tell_losses(self.prepared)
        return self.prepared

    @property
    def encoding(self) -> Encoding:
        """How conversations become tokens."""
        return Encoding(tokenizer=self.tokenizer, template=self.template, limits=self.limits, loss_on=self.loss_on, seq2seq=self.seq2seq)

    def train_dataloader(self) -> DataLoader[list[Batch]]:
        """Optimizer steps from the trainer's `global_step` on, so a resumed run goes on with the step it was to do next."""
        assert self.plan is not None
        start = self.trainer.global_step if self.trainer else 0
        steps = StepDataset(self.train_records, self.plan, self.rank, self._pad_id, self.seq2seq)
        sampler = StepSampler(self.plan.steps_per_epoch, start)
        return DataLoader(steps, batch_size=None, sampler=sampler, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[list[Batch]] | list[DataLoader[list[Batch]]]:
        """The held-out records in equal numbers of micro-batches on every rank; an empty list if nothing is held out."""
        if len(self.held_out_records) == 0:
            return []
        plan = self.validation_plan()
        steps = StepDataset(self.held_out_records, plan, self.rank, self._pad_id, self.seq2seq)
        return DataLoader(steps, batch_size=None, shuffle=False)

    def validation_plan(self) -> BatchPlan:
        """Held-out records of like length together, one micro-batch per rank and step."""
        block = self.micro_size * self.world_size
        some = np.arange(len(self.held_out_records))
        order = self._plan(self.held_out_records, block, "none", fixed_order=some).of_like_length(some)
        return self._plan(self.held_out_records, block, "none", fixed_order=order)

    def planned_padding(self, packing: str, steps: int = 50) -> float:
        """Share of padding among the tokens the model would compute on with `packing`, over the first `steps` steps."""
        plan = self._plan(self.train_records, self.global_size, packing)
        dataset = StepDataset(self.train_records, plan, self.rank, self._pad_id, self.seq2seq)
        counts = [padding_fraction(dataset[step]) for step in range(min(steps, plan.steps_per_epoch))]
        real, total = np.sum(counts, axis=0)
        return 1.0 - float(real) / float(total)

    def weights(self) -> dict[str, float]:
        """Passes per epoch over each source, by its name."""
        given = {source.name: float(source.weight) for source in self.sources.values()}
        if self.temperature is None:
            return given
        counts = Counter(self.train_records.sources)
        return dict(zip(given, temperature_weights([counts[name] for name in given], self.temperature), strict=True))

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    def _plan(self, records: TokenizedRecords, global_size: int, packing: str, fixed_order: np.ndarray | None = None) -> BatchPlan:
        weights = np.ones(len(records))
        if fixed_order is None:
            mixing = self.weights()
            weights = np.fromiter((mixing[name] for name in records.sources), dtype=np.float64, count=len(records))
        return BatchPlan(
            lengths=records.lengths,
            trained_counts=records.trained_counts,
            weights=weights,
            global_size=global_size,
            micro_size=self.micro_size,
            world_size=self.world_size,
            packing=packing,
            capacity=self.max_length,
            seed=self.seed,
            fixed_order=fixed_order,
            seq2seq=self.seq2seq,
        )

    def _tell_losses(self, prepared: Prepared) -> None:
        where = "`rejects` of this datamodule" if self.folder is None else str(self.folder / "rejects.jsonl")
        if len(self.rejects):
            steps = {step: n for step, n in statistics.rejected_by_step(prepared).items() if n and step != TOKENISE}
            told = ", ".join(f"{step} {count:,}" for step, count in steps.items())
            kept = len(prepared.conversations)
            log.warning(
                "%s: %d rows rejected (%s), %d kept; the rejects are in %s", ", ".join(self.sources), len(self.rejects), told, kept, where
            )
        if reasons := _reasons(prepared):
            told = "; ".join(f"{count} because {reason}" for reason, count in reasons.most_common())
            log.warning("%d records dropped: %s", reasons.total(), told)
        if cut := int(prepared.tokens.cut.sum()):
            log.info("%d of %d records are cut to model.max_length=%d or limits", cut, len(prepared.tokens), self.max_length)
        why = why_nothing_held_out(len(prepared.tokens), self.held_out.fraction, self.held_out.most)
        if why and not len(prepared.held_out):
            log.warning(why)

    def _why_nothing(self, prepared: Prepared) -> str:
        if len(prepared.held_out):
            fraction = "null" if self.held_out.fraction is None else self.held_out.fraction
            wanted = f"held_out.fraction={fraction} held_out.most={self.held_out.most}"
            return f"{wanted} hold out all {len(prepared.held_out)} there are. Lower them."
        reasons = _reasons(prepared).most_common(3)
        return "; ".join(f"{n} records: {why}" for why, n in reasons) + ". Raise model.max_length or check the data."

    def lineage(self) -> dict[str, Any]:
        """What is trained on: per source files with hash, licence, and counts at each stage and of each step and language."""
        assert self.prepared is not None
        found, languages = statistics.sources(self.prepared), statistics.by_source_and_language(self.prepared)
        mixing = self.weights()
        return {
            name: found[source.name] | {"weight": mixing[source.name], "languages": languages.get(source.name, {})}
            for name, source in self.sources.items()
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Per source: records trained on and held out, rows rejected as unreadable, removed by cleaning, and those without a target."""
        assert self.prepared is not None
        found = statistics.sources(self.prepared)
        return {
            name: {
                **{key: found[source.name][key] for key in ("train", "held_out", "rejected", "dropped")},
                "removed": sum(sum(languages.values()) for languages in found[source.name]["removed"].values()),
            }
            for name, source in self.sources.items()
        }


def _reasons(prepared: Prepared) -> Counter[str]:
    """Why conversations were dropped, and how often."""
    reasons: Counter[str] = Counter()
    for *_, reason, count in prepared.tokenised.counts()["dropped"]:
        reasons[reason] += count
    return reasons
