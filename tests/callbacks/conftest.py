"""A tiny run to hang callbacks on: a Llama of two layers over bytes, ten conversations, a few steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from datamodules import InstructionDataModule
from datamodules.sources.source import Source
from kinnari.models.toy import byte_tokenizer
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.text.conversation import Conversation, Message, Reject
from kinnari.text.template import Template
from lightning_modules import CausalLMSFT

TEMPLATE = Template(
    name="toy",
    system="{content}\n",
    user="Q: {content}\n",
    user_with_context=None,
    assistant_start="A: ",
    after_eos="\n",
    default_system=None,
    bos=True,
)
PAIRS = [("Hello", "Hi!"), ("สวัสดี", "สวัสดีครับ"), ("안녕", "안녕하세요"), ("你好", "你好!"), ("こんにちは", "はい")] + [
    (f"Say {word}", word) for word in ("one", "two", "three", "four", "five", "six", "seven")
]


@dataclass(frozen=True, kw_only=True)
class ToySource(Source):
    """Question and answer pairs held in memory."""

    name: str = "toy"
    licence: str = "MIT"

    def read(self) -> Iterator[Conversation | Reject]:
        for i, (question, answer) in enumerate(PAIRS):
            messages = (Message("user", question), Message("assistant", answer))
            yield Conversation(messages=messages, record_id=f"toy:{i}", source="toy", language="en", licence="MIT")

    def files(self) -> list[Path]:
        return []


def toy_llama(tied: bool = False) -> PreTrainedModel:
    torch.manual_seed(3)
    tokenizer = byte_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, tie_word_embeddings=tied, **sizes, **ids)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def toy_data(rank: int = 0, world_size: int = 1, max_length: int = 128) -> InstructionDataModule:
    return InstructionDataModule(
        {"toy": ToySource()},
        byte_tokenizer(),
        TEMPLATE,
        global_size=4,
        micro_size=2,
        packing="none",
        max_length=max_length,
        held_out_fraction=0.3,
        rank=rank,
        world_size=world_size,
    )


def toy_module(model: PreTrainedModel, lr: float = 1e-2) -> CausalLMSFT:
    settings = FineTuningSettings(
        optimizer=partial(torch.optim.AdamW, lr=lr),
        scheduler=lambda optimizer, total_steps: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
        total_steps=4,
        block_classes=("LlamaDecoderLayer",),
    )
    return CausalLMSFT(model, settings, packing="position_ids")


def toy_lora() -> PreTrainedModel:
    return get_peft_model(toy_llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))


Fit = Callable[..., pl.Trainer]


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """`fit(*callbacks, model=..., steps=4, **trainer_options)` trains the toy and returns the trainer."""

    def run(*callbacks: pl.Callback, model: PreTrainedModel | None = None, steps: int = 4, lr: float = 1e-2, **options: Any) -> pl.Trainer:
        defaults: dict[str, Any] = {"logger": False, "num_sanity_val_steps": 0, "val_check_interval": 2, "enable_checkpointing": False}
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=steps,
            max_epochs=-1,
            check_val_every_n_epoch=None,
            log_every_n_steps=1,
            callbacks=list(callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            **{**defaults, **options},
        )
        trainer.fit(toy_module(toy_lora() if model is None else model, lr), datamodule=toy_data())
        return trainer

    return run
