"""val/rougeL, alone and beside early stopping."""

from __future__ import annotations

import pytest

from callbacks import RougeL
from kinnari.generation import sampler
from kinnari.generation.sampler import Answer
from tests.callbacks.conftest import Fit


def test_perfect_answers_score_one_in_every_script(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer_box: list = []

    def perfect(model, tokenizer, prompts, settings, **options) -> list[Answer]:
        asked = [tokenizer.decode(prompt) for prompt in prompts]
        conversations = trainer_box[0].datamodule.held_out_conversations
        return [next(Answer(c.reference(), [], True) for c in conversations if c.question.strip() in text) for text in asked]

    class Remember(RougeL):
        def setup(self, trainer, pl_module, stage) -> None:
            trainer_box[:] = [trainer]

    monkeypatch.setattr("callbacks.answers.generate", perfect)
    trainer = fit(Remember({"max_new_tokens": 3}))
    assert float(trainer.callback_metrics["val/rougeL"]) == pytest.approx(1.0)
    assert sampler.generate is not perfect


def test_generated_answers_are_scored_in_every_nth_validation(fit: Fit) -> None:
    rouge = RougeL({"max_new_tokens": 3}, every_n_validations=2, count=2)
    metrics = fit(rouge).callback_metrics
    assert rouge.validations == 2
    assert 0 <= metrics["val/rougeL"] <= 1
    assert "val/rougeL" not in fit(RougeL({"max_new_tokens": 3}, every_n_validations=3)).callback_metrics
