"""The data side of preference learning: ranked answers of any mix of sources, split by prompt, as pairs.

    source -> RankedAnswers -> cleaned -> prompts for training | prompts held out -> chosen and rejected conversations

The sides are told apart by prompts, not by pairs: no prompt, and none that is nearly the same, is on both.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import pytorch_lightning as pl
from transformers import PreTrainedTokenizerBase

from datamodules.sources.ranked import RankedSource
from kinnari.cleaning.step import RowStep
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message, Reject, normalise_question
from kinnari.text.lineage import file_lineage
from kinnari.text.pairs import PairTable
from kinnari.text.progress import progress_line
from kinnari.text.ranked import RankedAnswers
from kinnari.text.split import join_questions, split_groups
from kinnari.text.template import Renderer
from kinnari.text.tokens import SegmentEncoder

log = logging.getLogger(__name__)
PAIRS_AT_A_TIME = 1024


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
        seed: of the split, and of `limit` where a source has no `limit_seed`.
        rank: of this process; only rank 0 shows progress and logs.

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
        seed: int = 42,
        rank: int = 0,
    ) -> None:
        super().__init__()
        self.sources, self.tokenizer, self.template = dict(sources), tokenizer, template
        self.construction, self.most_pairs, self.max_length = construction, most_pairs, max_length
        self.held_out_fraction, self.held_out_most, self.near_duplicates = held_out_fraction, held_out_most, near_duplicates
        self.seed, self.rank = seed, rank
        self.rejects: list[Reject] = []
        self.train_pairs = PairTable([])
        self.held_out_pairs = PairTable([])
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
        self.train_pairs, self.held_out_pairs = (self._pairs([prompts[i] for i in side]) for side in (split.train, split.held_out))
        if len(self.train_pairs) == 0:
            raise ConfigError(f"No pair of {', '.join(self.sources)} is left for training. {self._why_nothing()}")
        self._ready = True

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
                elif len(PairTable([result])) == 0:
                    reason = "no two different answers of different score"
                    rejects.append(Reject(source=source.name, file=result.record_id, line=0, reason=reason, step="pairs"))
                else:
                    mine.append(result)
                advance(number)
        return mine, rejects

    def _pairs(self, prompts: list[RankedAnswers]) -> PairTable:
        table = PairTable(prompts, self.construction, self.most_pairs)
        if self.max_length is None:
            return table
        assert self.tokenizer is not None and self.template is not None
        encoder, template = SegmentEncoder(self.tokenizer), self.template
        long: dict[int, int] = {}
        with progress_line("measuring pairs", len(table), show=self.rank == 0) as advance:
            for start in range(0, len(table), PAIRS_AT_A_TIME):
                some = table[start : start + PAIRS_AT_A_TIME]
                rendered = [template.render(side.messages) for pair in some for side in (pair.chosen, pair.rejected)]
                lengths = np.diff(encoder.encode_rows(rendered).offsets).reshape(-1, 2).max(axis=1)
                long |= {start + i: int(lengths[i]) for i in np.flatnonzero(lengths > self.max_length).tolist()}
                advance(start + len(some))
        for i, length in long.items():
            pair = table[i].chosen
            reason = f"{length} tokens, more than max_length={self.max_length}"
            self.rejects.append(Reject(source=pair.source, file=pair.record_id, line=0, reason=reason, step="max_length"))
        return table.without(long)

    def _why_nothing(self) -> str:
        reasons = Counter(reject.reason for reject in self.rejects if reject.step == "max_length").most_common(1)
        if reasons:
            return f"The longest ones: {reasons[0][0]}. Raise max_length."
        return "Hold out less (held_out_fraction), or read more prompts."


def prompt_keys(ranked: RankedAnswers) -> list[str]:
    """What a prompt must not share with one of the other side: its first question, and the whole prompt.

    Not every turn of it, as of instructions: "Yes please" in the middle of two dialogues does not make them one. The first question
    does, being that of every longer or shorter cut of a dialogue. Where there is no prompt, no answer must be shared.
    """
    turns = [f"{m.content}\n{m.context}" for m in ranked.prompt if m.role != "system"]
    if not turns:
        return [normalise_question(answer.answer) for answer in ranked.answers]
    return [normalise_question(turns[0]), normalise_question("\n".join(turns))]


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
