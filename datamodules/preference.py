"""The data side of preference learning: ranked answers of any mix of sources, split by prompt, as pairs.

    source -> RankedAnswers -> cleaned -> prompts for training | prompts held out -> chosen and rejected conversations

The sides are told apart by prompts, not by pairs: no prompt, and none that is nearly the same, is on both.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from datamodules.sources.ranked import RankedSource
from kinnari.cleaning.step import RowStep
from kinnari.errors import ConfigError
from kinnari.preparation.rejects import reject_line
from kinnari.text.batches import Batch
from kinnari.text.conversation import Conversation, Message, Reject, normalise_question
from kinnari.text.lineage import file_lineage
from kinnari.text.pair_batches import PairRecords, PairStepDataset, encode_pairs
from kinnari.text.pairs import PairTable
from kinnari.text.plan import BatchPlan
from kinnari.text.progress import progress_line
from kinnari.text.ranked import RankedAnswers
from kinnari.text.split import join_questions, split_groups, why_nothing_held_out
from kinnari.text.steps import StepSampler
from kinnari.text.template import Renderer
from kinnari.text.tokens import BROKEN_TEXT, SegmentEncoder

log = logging.getLogger(__name__)


class PreferenceDataModule(pl.LightningDataModule):
    """Preference pairs of one or more sources.

    Args:
        sources: option name -> source of ranked answers.
        tokenizer, template: of the model that is trained; they count the tokens for `max_length`.
        construction: `adjacent` or `all` pairs of a prompt's answers, see `kinnari.text.pairs`.
        most_pairs: at most so many pairs of a prompt; None for all.
        max_length: pairs one of whose conversations has more tokens are left out; None keeps all.
        held_out_fraction, held_out_most: prompts to hold out; without a fraction `held_out_most` of them, where groups allow.
        near_duplicates: prompts at least this alike count as one when the sides are told apart; None: only equal ones.
        answers_alone: rows hold the answers without their prompts.
        seq2seq: prompts and answers are rows of their own, each of at most max_length tokens.
        global_size: pairs per optimizer step over all ranks; micro_size: pairs per forward on one rank.
        seed: of the split, of the order of training, and of `limit` where a source has no `limit_seed`.
        world_size, rank: data-parallel ranks; only rank 0 shows progress and logs.
        num_workers: processes that build batches.
        folder: receives `rejects.jsonl` and `lineage.json`; None writes nothing (notebooks).

    Attributes, after `setup`:
        train_pairs, held_out_pairs: the pairs as text.
        train_records, held_out_records: the same pairs as tokens, by the same numbers; None without a tokenizer.
        plan: which pairs each step trains on; None without a tokenizer.

    Raises:
        ConfigError: in `setup`, if a source is not one of ranked answers, or if no pair is left.
    """

    def __init__(
        self,
        sources: Mapping[str, RankedSource],
        tokenizer: PreTrainedTokenizerBase | None = None,
        template: Renderer | None = None,
        *,
        construction: str = "adjacent",
        most_pairs: int | None = None,
        max_length: int | None = None,
        held_out_fraction: float | None = 0.05,
        held_out_most: int = 1000,
        near_duplicates: float | None = 0.8,
        answers_alone: bool = False,
        seq2seq: bool = False,
        global_size: int = 16,
        micro_size: int = 4,
        seed: int = 42,
        world_size: int = 1,
        rank: int = 0,
        num_workers: int = 0,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.sources, self.tokenizer, self.template = dict(sources), tokenizer, template
        self.construction, self.most_pairs, self.max_length = construction, most_pairs, max_length
        self.held_out_fraction, self.held_out_most, self.near_duplicates = held_out_fraction, held_out_most, near_duplicates
        self.seed, self.rank = seed, rank
        self.rejects: list[Reject] = []
        self.train_pairs = PairTable([])
        self.held_out_pairs = PairTable([])
        self.train_records: PairRecords | None = None
        self.held_out_records: PairRecords | None = None
        self.global_size, self.micro_size, self.answers_alone = global_size, micro_size, answers_alone
        self.world_size, self.num_workers, self.folder, self.seq2seq = world_size, num_workers, folder, seq2seq
        self.plan: BatchPlan | None = None
        self._ready = False
        if max_length is not None and (tokenizer is None or template is None):
            raise ConfigError(f"max_length={max_length} counts tokens, so it needs tokenizer= and template=; give both, or None.")

    def setup(self, stage: str | None = None) -> None:
        """Read, clean, split and pair once; later calls find the work done."""
        if self._ready:
            return
        prompts = self._read()
        groups = join_questions([prompt_keys(ranked) for ranked in prompts], self.near_duplicates)
        split = split_groups(groups, self.held_out_fraction, self.held_out_most, self.seed)
        self.train_pairs, self.train_records = self._pairs([prompts[i] for i in split.train])
        self.held_out_pairs, self.held_out_records = self._pairs([prompts[i] for i in split.held_out])
        if len(self.train_pairs) == 0:
            raise ConfigError(f"No pair of {', '.join(self.sources)} is left for training. {self._why_nothing()}")
        why = why_nothing_held_out(len(prompts), self.held_out_fraction, self.held_out_most)
        if why and not len(self.held_out_pairs) and self.rank == 0:
            log.warning(why)
        if self.train_records is not None:
            self.plan = self._plan(self.train_records, self.global_size, "length_grouped")
        if self.folder is not None and self.rank == 0:
            self._write(self.folder)
        self._ready = True

    def train_dataloader(self) -> DataLoader[list[Batch]]:
        """Optimizer steps from the trainer's `global_step` on, so a resumed run goes on with the step it was to do next."""
        assert self.plan is not None and self.train_records is not None, "pairs are tokenised by the tokenizer and template of the model"
        start = self.trainer.global_step if self.trainer else 0
        steps = PairStepDataset(self.train_records, self.plan, self.rank, self.pad_id)
        return DataLoader(steps, batch_size=None, sampler=StepSampler(self.plan.steps_per_epoch, start), num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[list[Batch]] | list[DataLoader[list[Batch]]]:
        """The held-out pairs in equal numbers of micro-batches on every rank; an empty list if nothing is held out."""
        records = self.held_out_records
        if records is None or len(records) == 0:
            return []
        order = np.argsort(-records.lengths, kind="stable")
        plan = self._plan(records, self.micro_size * self.world_size, "none", order)
        return DataLoader(PairStepDataset(records, plan, self.rank, self.pad_id), batch_size=None, shuffle=False)

    @property
    def pad_id(self) -> int:
        """Fills rows."""
        assert self.tokenizer is not None
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    def _plan(self, records: PairRecords, global_size: int, packing: str, fixed_order: np.ndarray | None = None) -> BatchPlan:
        weights = {source.name: float(source.weight) for source in self.sources.values()}
        return BatchPlan(
            lengths=records.lengths,
            trained_counts=records.counts,
            weights=np.fromiter((weights[name] for name in records.sources), dtype=np.float64, count=len(records)),
            global_size=global_size,
            micro_size=self.micro_size,
            world_size=self.world_size,
            packing=packing,
            capacity=int(records.lengths.max()),
            seed=self.seed,
            fixed_order=fixed_order,
        )

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lineage.json").write_text(json.dumps(self.lineage(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        with open(folder / "rejects.jsonl", "w", encoding="utf-8") as out:
            out.writelines(map(reject_line, self.rejects))

    def counts(self) -> dict[str, dict[str, int]]:
        """Per option: prompts and pairs on both sides, and what was rejected: rows, prompts without a pair, pairs that are too long."""
        tables = {"train": self.train_pairs, "held_out": self.held_out_pairs}
        found: dict[str, dict[str, int]] = {}
        for option, source in self.sources.items():
            counts: dict[str, int] = {}
            for side, table in tables.items():
                with_pairs = [table.prompts[n].source == source.name for n in table.places[:, 0].tolist()]
                counts[f"{side}_prompts"] = sum(ranked.source == source.name for ranked in table.prompts)
                counts[f"{side}_pairs"] = sum(with_pairs)
            counts["rejected"] = sum(reject.source == source.name for reject in self.rejects)
            found[option] = counts
        return found

    def lineage(self) -> dict[str, object]:
        """What was learned from: per option licence, files with hash, and the counts."""
        counts = self.counts()
        return {
            option: {"licence": source.licence, "files": [file_lineage(path) for path in source.files()], **counts[option]}
            for option, source in self.sources.items()
        }

    def _read(self) -> list[RankedAnswers]:
        kept: list[RankedAnswers] = []
        for option, source in self.sources.items():
            if not isinstance(source, RankedSource):
                raise ConfigError(
                    f"data={option} has one answer to a prompt and no preference between answers. "
                    "Use a source of ranked answers, such as hh_rlhf_pairs, preference_pairs or scored_answers."
                )
            mine, rejects = self._read_source(source)
            if not mine:
                first = f" The first reason: {rejects[0].file}, line {rejects[0].line}: {rejects[0].reason}." if rejects else ""
                raise ConfigError(f"{option}: no prompt of {len(rejects)} has two answers to compare; check data.{option}.{first}")
            if self.rank == 0 and rejects:
                log.warning("%s: %d prompts kept, %d rows or prompts rejected", option, len(mine), len(rejects))
            kept += drawn(mine, source, self.seed)
            self.rejects += rejects
        return kept

    def _read_source(self, source: RankedSource) -> tuple[list[RankedAnswers], list[Reject]]:
        mine: list[RankedAnswers] = []
        rejects: list[Reject] = []
        with progress_line(f"reading {source.name}", None, show=self.rank == 0) as advance:
            for number, item in enumerate(source.read_ranked(), start=1):
                result = item if isinstance(item, Reject) else cleaned(item, source)
                if isinstance(result, Reject):
                    rejects.append(result)
                elif not readable(result) or len(PairTable([result])) == 0:
                    reason = "no two different answers of different score" if readable(result) else BROKEN_TEXT
                    rejects.append(Reject(source=source.name, file=result.record_id, line=0, reason=reason, step="pairs"))
                else:
                    mine.append(result)
                advance(number)
        return mine, rejects

    def _pairs(self, prompts: list[RankedAnswers]) -> tuple[PairTable, PairRecords | None]:
        """The pairs, and their tokens where there is a tokenizer; without those that are too long."""
        table = PairTable(prompts, self.construction, self.most_pairs)
        if self.tokenizer is None or self.template is None:
            return table, None
        encoder = SegmentEncoder(self.tokenizer)
        records = encode_pairs(table, encoder, self.template, answers_alone=self.answers_alone, seq2seq=self.seq2seq,
                               show=self.rank == 0)  # fmt: skip
        most = self.max_length
        long = [] if most is None else np.flatnonzero(records.widths > most).tolist()
        for i in long:
            pair = table[i].chosen
            reason = f"{int(records.widths[i])} tokens, more than max_length={most}"
            self.rejects.append(Reject(source=pair.source, file=pair.record_id, line=0, reason=reason, step="max_length"))
        return (table.without(long), records.without(long)) if long else (table, records)

    def _why_nothing(self) -> str:
        reasons = Counter(reject.reason for reject in self.rejects if reject.step == "max_length").most_common(1)
        if reasons:
            return f"The longest ones: {reasons[0][0]}. Raise max_length."
        return "Hold out less (held_out.fraction, held_out.most), or read more prompts."


def prompt_keys(ranked: RankedAnswers) -> list[str]:
    """What a prompt must not share with one of the other side: its first question, and the whole prompt.

    Not every turn of it, as of instructions: "Yes please" in the middle of two dialogues does not make them one. The first question
    does, being that of every longer or shorter cut of a dialogue. Where there is no prompt, no answer must be shared.
    """
    turns = [f"{m.content}\n{m.context}" for m in ranked.prompt if m.role != "system"]
    if not turns:
        return [normalise_question(answer.answer) for answer in ranked.answers]
    return [normalise_question(turns[0]), normalise_question("\n".join(turns))]


def readable(ranked: RankedAnswers) -> bool:
    """Whether every text of it can be encoded."""
    texts = [f"{m.content}{m.context}" for m in ranked.prompt] + [answer.answer for answer in ranked.answers]
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def drawn(prompts: list[RankedAnswers], source: RankedSource, seed: int) -> list[RankedAnswers]:
    """At most `source.limit` prompts, in their order."""
    if source.limit is None or source.limit >= len(prompts):
        return prompts
    generator = np.random.RandomState(source.limit_seed if source.limit_seed is not None else seed)
    return [prompts[i] for i in sorted(generator.choice(len(prompts), size=source.limit, replace=False).tolist())]


def cleaned(ranked: RankedAnswers, source: RankedSource) -> RankedAnswers | Reject:
    """The prompt after the source's own cleaning steps, each answer having gone through them with it.

    An answer that a step takes out is left out, and the prompt is rejected with the reason of the best one when none remains.

    Raises:
        ConfigError: if a step compares records with one another.
    """
    current: RankedAnswers | Reject = ranked
    for name, step in source.steps.items():
        if not isinstance(step, RowStep):
            raise ConfigError(
                f"data.{source.name}.steps.{name} compares records with one another, which is not defined for ranked answers. "
                "Leave it out; near-duplicate prompts are kept on one side by near_duplicates."
            )
        if isinstance(current, RankedAnswers):
            current = _after_step(current, name, step)
    return current


def _after_step(ranked: RankedAnswers, name: str, step: RowStep) -> RankedAnswers | Reject:
    common = {key: value for key, value in vars(ranked).items() if key not in ("prompt", "answers")}
    results = [
        (answer, step(Conversation(messages=(*ranked.prompt, Message("assistant", answer.answer)), **common))) for answer in ranked.answers
    ]
    kept = [(a, result) for a, result in results if isinstance(result, Conversation) and result.messages[-1].role == "assistant"]
    if not kept:
        reason = next((result for _, result in results if isinstance(result, str)), "no answer is left")
        return Reject(source=ranked.source, file=ranked.record_id, line=0, reason=reason, row=asdict(ranked), step=name)
    # A step that looks at the whole may change a prompt for one answer and not for another; that of the best answer counts.
    answers = tuple(replace(answer, answer=result.messages[-1].content) for answer, result in kept)
    return replace(ranked, prompt=kept[0][1].messages[:-1], answers=answers)
