"""Answers of the model in training to held-out questions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl

from kinnari.generation.sampler import Answer, answer_end, chat_prompts, generate, longest_prompt
from kinnari.generation.settings import GenerationSettings
from kinnari.strategies.microbatches import gather_objects, gradient_rules
from kinnari.text.conversation import Conversation


def as_settings(generation: GenerationSettings | Mapping[str, Any]) -> GenerationSettings:
    """The settings, or those of a file of `conf/generation/`."""
    return generation if isinstance(generation, GenerationSettings) else GenerationSettings(**generation)


class HeldOutQuestions:
    """Some held-out conversations and their prompts, the same ones in every run with the same seed and data.

    Args:
        trainer: its datamodule is an `InstructionDataModule`, set up.
        count: how many, at most; those whose prompt leaves no room for an answer are passed over.
    """

    def __init__(self, trainer: pl.Trainer, pl_module: pl.LightningModule, count: int, seed: int, settings: GenerationSettings) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        candidates = list(data.held_out_conversations)
        random.Random(seed).shuffle(candidates)
        prompts = chat_prompts(data.tokenizer, data.template, [c.prompt() for c in candidates], seq2seq=data.seq2seq)
        model: Any = pl_module.model
        most = longest_prompt(model, settings)
        chosen = [(c, p) for c, p in zip(candidates, prompts, strict=True) if most is None or len(p) <= most][:count]
        self.conversations: list[Conversation] = [c for c, _ in chosen]
        self.prompts: list[list[int]] = [p for _, p in chosen]
        self.tokenizer, self.settings = data.tokenizer, settings
        self.stop_id = answer_end(data.tokenizer, data.template, seq2seq=data.seq2seq)

    def references(self) -> list[str]:
        """The answers that the data has, in the order of the prompts."""
        return [conversation.reference() for conversation in self.conversations]


def needs_all_ranks(trainer: pl.Trainer) -> bool:
    """Whether a forward gathers parameters, so that all ranks must generate together (FSDP2, ZeRO; ZeRO-2 does no harm)."""
    return gradient_rules(trainer.strategy).averages_gradients


def answer(
    trainer: pl.Trainer, pl_module: pl.LightningModule, questions: HeldOutQuestions, prompts: Sequence[Sequence[int]]
) -> list[Answer]:
    """Greedy or seeded answers, computed in the precision of training."""
    model: Any = pl_module.model
    with trainer.strategy.precision_plugin.forward_context():
        synced = needs_all_ranks(trainer)
        return generate(model, questions.tokenizer, prompts, questions.settings, synced=synced, stop_id=questions.stop_id)


def answer_together(trainer: pl.Trainer, pl_module: pl.LightningModule, questions: HeldOutQuestions) -> list[Answer]:
    """Answers to all questions in their order, on every rank; each rank generates its share."""
    ranks = trainer.world_size
    mine = list(range(trainer.global_rank, len(questions.prompts), ranks))
    most = -(-len(questions.prompts) // ranks)
    # Where all ranks must generate together, a rank with a question less answers one of them again and does not count it.
    asked = mine + [0] * (most - len(mine))
    said = answer(trainer, pl_module, questions, [questions.prompts[i] for i in asked])[: len(mine)]
    shares = gather_objects(said)
    return [shares[i % ranks][i // ranks] for i in range(len(questions.prompts))]
