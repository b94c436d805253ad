"""ROUGE and chrF of generated answers, alone and as what a checkpoint and early stopping look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from callbacks import GenerationMetrics
from callbacks.answers import HeldOutQuestions
from kinnari.errors import ConfigError
from kinnari.generation.sampler import Answer
from tests.callbacks.conftest import Fit

LENGTH = {"max_new_tokens": 3}
NAMES = ("val/rouge1", "val/rouge2", "val/rougeL", "val/rougeLsum", "val/chrf")


class Says(GenerationMetrics):
    """Instead of generating, the n-th validation answers what `said(reference, n)` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, said) -> None:
        super().__init__(LENGTH)

        def generate(model, tokenizer, prompts, settings, **options) -> list[Answer]:
            asked = [tokenizer.decode(prompt) for prompt in prompts]
            references = [next(c.reference() for c in self.conversations if c.question.strip() in text) for text in asked]
            return [Answer(said(reference, self.validations), [], True) for reference in references]

        monkeypatch.setattr("callbacks.answers.generate", generate)

    def setup(self, trainer, pl_module, stage) -> None:
        self.conversations = trainer.datamodule.held_out_conversations


def test_perfect_answers_score_full_marks_in_every_script(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = fit(Says(monkeypatch, lambda reference, n: reference)).callback_metrics
    assert float(metrics["val/rouge1"]) == float(metrics["val/rougeL"]) == float(metrics["val/rougeLsum"]) == pytest.approx(1.0)
    assert float(metrics["val/chrf"]) == pytest.approx(100.0)


def test_silence_scores_nothing(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = fit(Says(monkeypatch, lambda reference, n: "")).callback_metrics
    assert [float(metrics[name]) for name in NAMES] == [0.0] * 5


def test_rouge_is_a_mean_over_questions_and_chrf_one_of_the_corpus() -> None:
    scores = GenerationMetrics(LENGTH).scores(["ab", "x"], ["ab", "abcdefgh"])
    # rouge1: one of two answers is right. chrF: letters 2 of 3 said and 2 of 10 wanted, pairs 1 of 1 and 1 of 8:
    # P = (2/3 + 1/1) / 2, R = (2/10 + 1/8) / 2, and F2 = 5 P R / (4 P + R)
    precision, recall = (2 / 3 + 1) / 2, (0.2 + 0.125) / 2
    assert scores["val/rouge1"] == 0.5
    assert scores["val/chrf"] == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))


def test_generated_answers_are_scored_in_every_nth_validation(fit: Fit) -> None:
    callback = GenerationMetrics(LENGTH, every_n_validations=2, count=2)
    metrics = fit(callback).callback_metrics
    assert callback.validations == 2
    assert all(0 <= metrics[name] <= 100 for name in NAMES)
    assert "val/chrf" not in fit(GenerationMetrics(LENGTH, every_n_validations=3)).callback_metrics


@pytest.mark.parametrize("metric", ["val/rougeL", "val/chrf"])
def test_the_checkpoint_with_the_best_answers_is_kept_and_worse_ones_stop_the_run(
    metric: str, fit: Fit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Right in the second validation (step 2 of 4), one character short after it."""
    spoken = Says(monkeypatch, lambda reference, n: reference if n == 2 else reference[:-1])
    best = ModelCheckpoint(tmp_path, filename="{step}", monitor=metric, mode="max")
    stopping = EarlyStopping(metric, mode="max", patience=1, strict=True)
    trainer = fit(spoken, stopping, best, val_check_interval=1, enable_checkpointing=True)
    assert Path(best.best_model_path).name == "step=2.ckpt"
    assert trainer.global_step == 3


def test_questions_depend_on_the_seed_alone(fit: Fit) -> None:
    def asked(seed: int) -> list[str]:
        callback = GenerationMetrics(LENGTH, count=2, seed=seed)
        fit(callback, steps=2)
        assert isinstance(callback._questions, HeldOutQuestions)
        return [conversation.record_id for conversation in callback._questions.conversations]

    assert asked(1) == asked(1)
    assert len({tuple(asked(seed)) for seed in range(5)}) > 1
    assert len(asked(1)) == 2


def test_where_no_question_leaves_room_for_an_answer_there_are_no_metrics(fit: Fit) -> None:
    assert "val/chrf" not in fit(GenerationMetrics({"max_new_tokens": 255}), steps=2).callback_metrics


def test_an_unknown_chrf_is_refused() -> None:
    with pytest.raises(ConfigError, match="chrF"):
        GenerationMetrics(LENGTH, chrf_word_order=1)
