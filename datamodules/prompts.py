"""Prompts for rollouts: the questions of any mix of instruction sources, a fresh share of them in every iteration."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from datamodules.instruction import InstructionDataModule
from kinnari.errors import ConfigError
from kinnari.generation.sampler import chat_prompts
from kinnari.text.conversation import Message
from kinnari.text.prompts import Prompt, PromptShare
from kinnari.text.steps import StepSampler

log = logging.getLogger(__name__)


class PromptDataModule(InstructionDataModule):
    """The conversations of an `InstructionDataModule` without their last answers.

    Args:
        prompts_per_iteration: over all ranks.
        iterations: of the whole run, which is one epoch.
        longest_prompt: prompts of more tokens are left out; None for no limit.
        held_out_prompts: most prompts that are answered in validation.
        query_tokens: (least, most): each question is cut after a number of tokens drawn for it, as WangChanGLM's were; None leaves them.
        and those of `InstructionDataModule`.

    Raises:
        ConfigError: query_tokens is no range.
    """

    def __init__(
        self,
        *arguments: Any,
        prompts_per_iteration: int = 64,
        iterations: int = 1,
        longest_prompt: int | None = None,
        held_out_prompts: int = 64,
        query_tokens: Sequence[int] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, **keywords)
        if query_tokens is not None and not (len(query_tokens) == 2 and 1 <= query_tokens[0] <= query_tokens[1]):
            raise ConfigError(f"query_tokens={list(query_tokens)} must be [least, most] with 1 <= least <= most, or None.")
        self.query_tokens = query_tokens
        self.prompts_per_iteration, self.iterations = prompts_per_iteration, iterations
        self.longest_prompt, self.held_out_prompts = longest_prompt, held_out_prompts
        self.module: Any = None
        self.prompts: list[Prompt] = []
        self.held_out_asked: list[Prompt] = []
        self.counted: Counter[str] = Counter()
        self._shortest: int | None = None

    def setup(self, stage: str | None = None) -> None:
        """Prepare the conversations, and their prompts; a question that is asked several times is kept once."""
        if self.prompts:
            return
        super().setup(stage)
        self.prompts = self._prompts(self.train_conversations)
        self.held_out_asked = self._prompts(self.held_out_conversations)[: self.held_out_prompts]
        if not self.prompts:
            raise ConfigError(self._why_no_prompt())
        if self.prompts_per_iteration % self.world_size:
            raise ConfigError(
                f"The {self.prompts_per_iteration} prompts of an iteration (ppo.num_rollouts / ppo.answers_per_prompt) must be a multiple "
                f"of the {self.world_size} ranks."
            )
        if not self.held_out_asked and self.rank == 0:
            log.warning("no prompt is held out: nothing is measured before and after")

    def prompt_counts(self) -> dict[str, int]:
        """Prompts to train on and held out, and what was left out of either: asked twice, too long, without a question."""
        return {"train": len(self.prompts), "held_out": len(self.held_out_asked), **self.counted}

    def follow(self, module: Any) -> None:
        """Begin where `module.iteration` says, which a resumed module reads from its checkpoint."""
        self.module = module

    def train_dataloader(self) -> DataLoader[Any]:
        """One item is this rank's prompts of one iteration, from that of the module on."""
        items = PromptDataset(self.prompts, self.prompts_per_iteration, self.seed, self.rank, self.world_size)
        return DataLoader(items, batch_size=None, sampler=StepSampler(self.iterations, self.module.iteration if self.module else 0))

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The held-out prompts of this rank as one item; ranks with one less answer their first twice."""
        if not self.held_out_asked:
            return []
        mine = self.held_out_asked[self.rank :: self.world_size]
        return DataLoader([PromptShare(mine or self.held_out_asked[:1])], batch_size=None)  # type: ignore[arg-type]

    def _why_no_prompt(self) -> str:
        names = ", ".join(self.sources)
        if self.counted["too_long"]:
            shortest = "" if self._shortest is None else f" (the shortest has {self._shortest})"
            return (
                f"No prompt of {names} has at most {self.longest_prompt} tokens{shortest}, which is what answers leave of "
                "model.max_length. Raise it, or lower ppo.response_length."
            )
        return f"{names} asks nothing: PPO answers questions, and these are texts without one. Use a source of instructions or dialogues."

    def _prompts(self, conversations: Any) -> list[Prompt]:
        asking = [c for c in conversations if any(f"{m.content}{m.context}".strip() for m in c.prompt())]
        first = {tuple(c.prompt()): c for c in reversed(asking)}
        asked = list(reversed(first.values()))
        questions = self._cut([tuple(c.prompt()) for c in asked])
        ids = chat_prompts(self.tokenizer, self.template, questions, seq2seq=self.seq2seq)
        prompts = [Prompt(q, list(i), c.record_id, c.reference()) for q, c, i in zip(questions, asked, ids, strict=True)]
        kept = [p for p in prompts if self.longest_prompt is None or len(p.token_ids) <= self.longest_prompt]
        if len(kept) < len(prompts) and self.rank == 0:
            log.warning(
                "%d of %d prompts have more than %s tokens and are left out", len(prompts) - len(kept), len(prompts), self.longest_prompt
            )
        if prompts and not kept:
            self._shortest = min(len(p.token_ids) for p in prompts)
        found = {"without_question": len(conversations) - len(asking), "asked_again": len(asking) - len(asked),
                 "too_long": len(prompts) - len(kept)}  # fmt: skip
        self.counted.update(found)
        return kept

    def _cut(self, questions: list[tuple[Message, ...]]) -> list[tuple[Message, ...]]:
        """Each last turn cut at a length drawn for it; text and tokens of a prompt stay the same, so rewards see what was asked."""
        if self.query_tokens is None:
            return questions
        least, most = self.query_tokens
        lengths = np.random.default_rng([self.seed, least, most]).integers(least, most + 1, size=len(questions)).tolist()
        return [
            (*turns[:-1], dataclasses.replace(turns[-1], content=first_tokens(self.tokenizer, turns[-1].content, n)))
            for turns, n in zip(questions, lengths, strict=True)
        ]


def first_tokens(tokenizer: PreTrainedTokenizerBase, text: str, count: int) -> str:
    """The beginning of a text that its first `count` tokens stand for, without half a character at the end; one character at least."""
    if not tokenizer.is_fast:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return text if len(ids) <= count else str(tokenizer.decode(ids[:count])).rstrip("\ufffd").rstrip() or text[:1]
    ends = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    if len(ends) <= count:
        return text
    end, following = ends[count - 1][1], ends[count][0]
    # a character of several tokens ends where each of them does, and goes with the last alone
    return text[: min(end, following)].rstrip() or text[:1]


class PromptDataset(Dataset[PromptShare]):
    """Item i: the prompts of iteration i for one rank, out of an endless stream that shuffles all prompts again and again."""

    def __init__(self, prompts: list[Prompt], per_iteration: int, seed: int, rank: int, world_size: int) -> None:
        self.prompts, self.per_iteration, self.seed = prompts, per_iteration, seed
        self.rank, self.world_size = rank, world_size

    def __getitem__(self, iteration: int) -> PromptShare:
        start = iteration * self.per_iteration
        places = [self._at(i) for i in range(start, start + self.per_iteration)]
        return PromptShare([self.prompts[place] for place in places[self.rank :: self.world_size]])

    def _at(self, i: int) -> int:
        epoch, place = divmod(i, len(self.prompts))
        return int(np.random.default_rng([self.seed, epoch]).permutation(len(self.prompts))[place])
