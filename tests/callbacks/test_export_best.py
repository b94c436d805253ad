"""The folder beside the best checkpoint loads with plain peft and transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from peft import PeftModel
from pytorch_lightning.callbacks import EarlyStopping
from transformers import AutoModelForCausalLM, AutoTokenizer

from callbacks import ExportBest
from tests.callbacks.conftest import Fit, toy_llama, toy_lora

IDS = torch.tensor([[1, 40, 41, 42, 43]])


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_adapter_of_the_best_step_loads_with_plain_peft(fit: Fit, tmp_path: Path) -> None:
    model = toy_lora()
    fit(ExportBest(tmp_path / "best"), model=model, val_check_interval=4)
    loaded = PeftModel.from_pretrained(toy_llama(), tmp_path / "best")
    assert torch.equal(logits(loaded), logits(model))
    assert not torch.equal(logits(loaded), logits(toy_llama()))
    assert AutoTokenizer.from_pretrained(tmp_path / "best").eos_token_id == 2
    assert {path.name for path in tmp_path.glob("best*")} == {"best"}


@pytest.mark.parametrize("tied", [False, True])
def test_full_tuning_leaves_a_whole_model(fit: Fit, tmp_path: Path, tied: bool) -> None:
    model = toy_llama(tied)
    model.config.use_cache = False
    fit(ExportBest(tmp_path / "best"), model=model, val_check_interval=4)
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "best", output_loading_info=True)
    assert not info["missing_keys"]
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.config.use_cache is True
    assert model.config.use_cache is False


class Losses(pl.Callback):
    """val/loss as told, one a validation."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def on_validation_end(self, trainer, pl_module) -> None:
        trainer.callback_metrics["val/loss"] = torch.tensor(self.values.pop(0))


class Exports(ExportBest):
    """Remembers the steps at which it exported."""

    steps: list[int]

    def on_validation_end(self, trainer, pl_module) -> None:
        before = self.best
        super().on_validation_end(trainer, pl_module)
        if self.best != before:
            self.steps = [*vars(self).get("steps", []), trainer.global_step]


def test_only_improvements_are_exported(fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Losses(3.0, 2.0, float("nan"), 2.5, 1.0)
    monkeypatch.setattr(pl.Trainer, "callback_metrics", {})
    exports = Exports(tmp_path / "best")
    fit(metrics, exports, steps=5, val_check_interval=1)
    assert exports.steps == [1, 2, 5]
    again = ExportBest(tmp_path / "best")
    again.load_state_dict(exports.state_dict())
    assert again.best == 1.0


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode='lowest'"):
        ExportBest(tmp_path, mode="lowest")


def test_early_stopping_ends_a_run_that_no_longer_improves(fit: Fit) -> None:
    trainer = fit(EarlyStopping("val/loss", patience=1), steps=10, lr=0.0, val_check_interval=1)
    assert trainer.global_step == 2
