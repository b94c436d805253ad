"""The instruction datamodule: any mix of sources, split, tokenised once and delivered as optimizer steps."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from datamodules.sources.source import Source
from kinnari.errors import ConfigError
from kinnari.text.batches import Batch, padding_fraction
from kinnari.text.conversation import Conversation, Reject
from kinnari.text.lineage import file_lineage
from kinnari.text.plan import BatchPlan
from kinnari.text.progress import progress_line
from kinnari.text.records import TokenizedRecords
from kinnari.text.seq2seq_tokens import tokenize_seq2seq
from kinnari.text.split import split_by_question
from kinnari.text.steps import StepDataset, StepSampler
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder, tokenize_conversations

log = logging.getLogger(__name__)


class InstructionDataModule(pl.LightningDataModule):
    """Conversations of one or more sources for `CausalLMSFT` or `Seq2SeqSFT`.

    Args:
        sources: option name -> source.
        tokenizer: of the model that is trained.
        template: the renderer.
        seq2seq: encoder-decoder records.
        global_size, micro_size, packing: see `kinnari.text.plan.BatchPlan`; one dataloader item is one optimizer step.
        max_length: tokens per record (seq2seq: per side).
        held_out_fraction, held_out_most: validation records, split by question.
        seed: of the split and of the order of training.
        world_size, rank: data-parallel ranks; the plan is the same on all.
        num_workers: processes that build batches.
        folder: receives `rejects.jsonl` and `lineage.json`; None writes nothing (notebooks).

    Raises:
        ConfigError: in `setup`, if no usable record is left.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        *,
        global_size: int = 16,
        micro_size: int = 4,
        packing: str = "length_grouped",
        max_length: int = 512,
        seq2seq: bool = False,
        held_out_fraction: float = 0.05,
        held_out_most: int = 256,
        seed: int = 42,
        world_size: int = 1,
        rank: int = 0,
        num_workers: int = 0,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.sources, self.tokenizer, self.template = dict(sources), tokenizer, template
        self.global_size, self.micro_size, self.packing = global_size, micro_size, packing
        self.max_length, self.seq2seq, self.seed = max_length, seq2seq, seed
        self.held_out_fraction, self.held_out_most = held_out_fraction, held_out_most
        self.world_size, self.rank, self.num_workers, self.folder = world_size, rank, num_workers, folder
        self.train_conversations: list[Conversation] = []
        self.held_out_conversations: list[Conversation] = []
        self.rejects: list[Reject] = []
        self.plan: BatchPlan | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read, split and tokenise once; later calls (validate after fit) find the work done."""
        if self.plan is not None:
            return
        conversations = self._read()
        split = split_by_question(conversations, self.held_out_fraction, self.held_out_most, self.seed)
        self.train_conversations = [conversations[i] for i in split.train]
        self.held_out_conversations = [conversations[i] for i in split.held_out]
        self.train_records = self._tokenize(self.train_conversations, "training")
        self.held_out_records = self._tokenize(self.held_out_conversations, "held-out")
        if self.folder is not None and self.rank == 0:
            self._write_rejects(self.folder)
        if len(self.train_records) == 0:
            raise ConfigError(f"No record of {', '.join(self.sources)} can be trained on: {self._why_nothing()}")
        self.plan = self._plan(self.train_records, self.global_size, self.packing)
        if self.folder is not None and self.rank == 0:
            (self.folder / "lineage.json").write_text(json.dumps(self.lineage(), indent=2, ensure_ascii=False) + "\n")

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
        """Held-out records sorted by length, one micro-batch per rank and step."""
        order = np.argsort(-self.held_out_records.lengths, kind="stable")
        return self._plan(self.held_out_records, self.micro_size * self.world_size, "none", fixed_order=order)

    def planned_padding(self, packing: str, steps: int = 50) -> float:
        """Share of padding among the tokens the model would compute on with `packing`, over the first `steps` steps."""
        plan = self._plan(self.train_records, self.global_size, packing)
        dataset = StepDataset(self.train_records, plan, self.rank, self._pad_id, self.seq2seq)
        counts = [padding_fraction(dataset[step]) for step in range(min(steps, plan.steps_per_epoch))]
        real, total = np.sum(counts, axis=0)
        return 1.0 - float(real) / float(total)

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    def _read(self) -> list[Conversation]:
        kept: list[Conversation] = []
        for source in self.sources.values():
            mine: list[Conversation] = []
            rejects: list[Reject] = []
            for item in source.read():
                if isinstance(item, Reject):
                    rejects.append(item)
                else:
                    mine.append(item)
            if source.limit is not None and source.limit < len(mine):
                drawn = np.random.default_rng(self.seed).choice(len(mine), size=source.limit, replace=False)
                mine = [mine[i] for i in sorted(drawn)]
            if not mine:
                raise ConfigError(_all_bad(source, rejects))
            if rejects:
                where = "`rejects` of this datamodule" if self.folder is None else self.folder / "rejects.jsonl"
                log.warning("%s: %d rows rejected, %d kept; the rejects are in %s", source.name, len(rejects), len(mine), where)
            kept += mine
            self.rejects += rejects
        return kept

    def _tokenize(self, conversations: list[Conversation], what: str) -> TokenizedRecords:
        tokenize = tokenize_seq2seq if self.seq2seq else tokenize_conversations
        encoder = SegmentEncoder(self.tokenizer)
        with progress_line(f"tokenising {what} records", len(conversations), show=self.rank == 0) as advance:
            records = tokenize(conversations, encoder, self.template, self.max_length, advance)
        if self.rank == 0 and (records.dropped or records.num_cut):
            reasons = "; ".join(f"{n} because {why}" for why, n in Counter(records.dropped.values()).most_common())
            log.warning("%s: %d records dropped (%s), %d cut at max_length", what, len(records.dropped), reasons or "-", records.num_cut)
        return records

    def _plan(self, records: TokenizedRecords, global_size: int, packing: str, fixed_order: np.ndarray | None = None) -> BatchPlan:
        mixing = np.array([self.sources[name].weight for name in records.sources])
        weights = mixing if fixed_order is None else np.ones(len(records))
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
        )

    def _why_nothing(self) -> str:
        reasons = Counter(self.train_records.dropped.values()).most_common(3)
        return "; ".join(f"{n} records: {why}" for why, n in reasons) + ". Raise model.max_length or check the data."

    def _write_rejects(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        dropped = {**self.train_records.dropped, **self.held_out_records.dropped}
        with open(folder / "rejects.jsonl", "w", encoding="utf-8") as out:
            for reject in self.rejects:
                out.write(json.dumps(vars(reject), ensure_ascii=False) + "\n")
            for record_id, reason in dropped.items():
                out.write(json.dumps({"record_id": record_id, "reason": reason}, ensure_ascii=False) + "\n")

    def lineage(self) -> dict[str, object]:
        """What was trained on: per source files with hash, licence, and counts at each stage."""
        counts = self.counts()
        return {
            name: {
                "licence": source.licence,
                "files": [file_lineage(path) for path in source.files()],
                **counts[name],
                "weight": source.weight,
            }
            for name, source in self.sources.items()
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Per source: records trained on and held out, rows rejected as unreadable, records dropped because nothing would be trained."""
        kept, held = Counter(self.train_records.sources), Counter(self.held_out_records.sources)
        rejected = Counter(reject.source for reject in self.rejects)
        conversations = [*self.train_conversations, *self.held_out_conversations]
        gone = self.train_records.dropped.keys() | self.held_out_records.dropped.keys()
        dropped = Counter(c.source for c in conversations if c.record_id in gone)
        return {
            name: {
                "train": kept[source.name],
                "held_out": held[source.name],
                "rejected": rejected[source.name],
                "dropped": dropped[source.name],
            }
            for name, source in self.sources.items()
        }


def _all_bad(source: Source, rejects: list[Reject]) -> str:
    if not rejects:
        return f"{source.name}: the source holds no row; check data.{source.name}.path."
    first = rejects[0]
    return (
        f"{source.name}: all {len(rejects)} rows were rejected, so there is nothing to train on. "
        f"The first: {first.file}, line {first.line}: {first.reason}."
    )
