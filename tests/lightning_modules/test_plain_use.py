"""The modules and the datamodule as a notebook uses them: few arguments, a plain trainer, safe defaults."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl

from datamodules import InstructionDataModule
from datamodules.sources import ChatterBot
from kinnari.errors import ConfigError
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from lightning_modules import CausalLMSFT, Seq2SeqSFT

MODULES = {"tiny_causal": CausalLMSFT, "tiny_seq2seq": Seq2SeqSFT}


def parts(model: str, **options):
    """A module with all its defaults, and a datamodule of a few short records."""
    cfg = compose([f"model={model}", "trainer.precision=32-true"])
    tuned, tokenizer = build.load_for_training(cfg)
    source = ChatterBot(subjects=["ai"], limit=40)
    options |= {"max_length": 128, "seq2seq": model == "tiny_seq2seq"}
    return MODULES[model](tuned), InstructionDataModule({"chatterbot": source}, tokenizer, build.template(cfg, tokenizer), **options)


def trainer(**options) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", **{**quiet, **options})


@pytest.mark.parametrize("model", MODULES)
def test_defaults_train_and_the_schedule_ends_with_the_trainers_steps(model):
    module, data = parts(model)
    run = trainer(max_steps=3)
    run.fit(module, data)
    assert run.global_step == 3
    assert module.lr_schedulers().get_last_lr() == [0.0], "the cosine has come down to nothing"
    assert module.tuning.last.trained_tokens > 0


def test_the_length_may_be_given_in_epochs():
    module, data = parts("tiny_causal", global_size=8)
    run = trainer(max_epochs=2)
    run.fit(module, data)
    assert run.global_step == 2 * data.plan.steps_per_epoch
    assert module.lr_schedulers().get_last_lr() == [0.0]


def test_a_run_without_an_end_is_refused():
    module, data = parts("tiny_causal")
    with pytest.raises(ConfigError, match="max_steps or max_epochs"):
        trainer(max_epochs=-1).fit(module, data)


def test_packed_rows_are_refused_by_a_module_that_was_not_told_how_to_keep_them_apart():
    module, data = parts("tiny_causal", packing="packed")
    with pytest.raises(ConfigError, match="packing"):
        trainer(max_steps=1, num_sanity_val_steps=0).fit(module, data)


def test_the_attention_of_the_model_is_asked_where_it_is_not_given():
    module, _ = parts("tiny_causal")
    assert module.attention == module.model.config._attn_implementation
    assert FineTuningSettings().total_steps is None
