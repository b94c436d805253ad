"""How near generated answers come to the references, as validation metrics: ROUGE and chrF."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from callbacks.answers import HeldOutQuestions, answer_together, as_settings
from kinnari.generation.chrf import chrf
from kinnari.generation.rouge import rouge
from kinnari.generation.settings import GenerationSettings

log = logging.getLogger(__name__)


class GenerationMetrics(pl.Callback):
    """Logs val/rouge1, val/rouge2, val/rougeL, val/rougeLsum and val/chrf of answers to held-out questions.

    ROUGE is the mean over the questions, in [0, 1]; chrF that of the corpus, in [0, 100]. Both rise with better answers: give
    `mode=max` where one is monitored. Each rank answers its share, and the scores are those of one process. The validation before
    the first step is left out.

    Args:
        generation: how to answer; a mapping holds the fields of `GenerationSettings`.
        every_n_validations: generate in every n-th validation only; what monitors a metric keeps the latest value between them.
        count: questions, drawn once from the held-out conversations.
        seed: of the draw.
        chrf_word_order: 0 is chrF, 2 is chrF++.
    """

    def __init__(
        self,
        generation: GenerationSettings | Mapping[str, Any],
        every_n_validations: int = 1,
        count: int = 32,
        seed: int = 42,
        chrf_word_order: int = 0,
    ) -> None:
        chrf([""], [""], chrf_word_order)  # a wrong order is told now, not after the first epoch
        self.settings = as_settings(generation)
        self.every_n_validations, self.count, self.seed, self.chrf_word_order = every_n_validations, count, seed, chrf_word_order
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
        if not questions.prompts:
            return
        log.info("answering %d held-out questions for ROUGE and chrF", len(questions.prompts))
        answers = [answer.text for answer in answer_together(trainer, pl_module, questions)]
        pl_module.log_dict(self.scores(answers, questions.references()), batch_size=1)

    def scores(self, answers: list[str], references: list[str]) -> dict[str, float]:
        """The metrics by the names they are logged under."""
        means = {f"val/{name}": sum(values) / len(values) for name, values in rouge(answers, references).items()}
        return means | {"val/chrf": chrf(answers, references, self.chrf_word_order)}

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]
