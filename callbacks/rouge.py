"""ROUGE-L of generated answers as a validation metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch

from callbacks.answers import HeldOutQuestions, answer, as_settings
from kinnari.generation.rouge import rouge_l
from kinnari.generation.settings import GenerationSettings
from kinnari.strategies.microbatches import sum_over_ranks


class RougeL(pl.Callback):
    """Logs val/rougeL: mean ROUGE-L of answers to held-out questions, each rank answering its share.

    Args:
        generation: how to answer; a mapping holds the fields of `GenerationSettings`.
        every_n_validations: generate in every n-th validation only.
        count: questions, drawn once from the held-out conversations.
        seed: of the draw.
    """

    def __init__(
        self,
        generation: GenerationSettings | Mapping[str, Any],
        every_n_validations: int = 1,
        count: int = 32,
        seed: int = 42,
    ) -> None:
        self.settings = as_settings(generation)
        self.every_n_validations, self.count, self.seed = every_n_validations, count, seed
        self.validations = 0
        self._questions: HeldOutQuestions | None = None

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.validations += 1
        if self.validations % self.every_n_validations:
            return
        if self._questions is None:
            self._questions = HeldOutQuestions(trainer, pl_module, self.count, self.seed, self.settings)
        questions = self._questions
        if questions.prompts:
            pl_module.log("val/rougeL", self._mean(trainer, pl_module, questions), batch_size=1)

    def _mean(self, trainer: pl.Trainer, pl_module: pl.LightningModule, questions: HeldOutQuestions) -> float:
        mine = list(range(trainer.global_rank, len(questions.prompts), trainer.world_size))
        most = -(-len(questions.prompts) // trainer.world_size)
        # Where all ranks must generate together, a rank with a question less answers one of them again and does not count it.
        asked = mine + [0] * (most - len(mine))
        answers = answer(trainer, pl_module, questions, [questions.prompts[i] for i in asked])[: len(mine)]
        scores = rouge_l([a.text for a in answers], [questions.conversations[i].reference() for i in mine])
        total, count = sum_over_ranks(trainer.strategy, torch.tensor([sum(scores), len(scores)], dtype=torch.float64)).tolist()
        return total / count

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]
