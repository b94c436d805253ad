"""Every model file at toy size: its config, a batch in its own template, one run of a few optimizer steps; each made once a process.

Files of one family often differ in nothing that a toy shows. What depends on a file is keyed by what it depends on, so that Flan-T5 XL and
XXL are trained once for both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.source import model_source
from kinnari.models.spec import ModelSpec
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.strategies.optimizers import build_optimizer, build_scheduler
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import groups
from kinnari.text.batches import Batch, collate_causal, collate_seq2seq
from kinnari.text.conversation import Conversation, Message
from kinnari.text.records import TokenizedRecords, flatten
from kinnari.text.template import Renderer
from kinnari.text.tokens import SegmentEncoder, encode_conversations
from kinnari.text.truncation import Limits
from lightning_modules import CausalLMSFT, Seq2SeqSFT

MODELS = groups()["model"]
ENCODERS = ("tiny_encoder", "xlm_roberta_base", "xlm_roberta_large")
WRITERS = [name for name in MODELS if name not in ENCODERS]
TUNINGS = ("full", "lora", "qlora", "lora_int8")
STEPS = 3
TURNS = (("เมืองหลวงของไทย?", "กรุงเทพฯ"), ("한국의 수도는?", "서울입니다."), ("Why?", "Because."))


@cache
def shrunk_config(name: str) -> DictConfig:
    """What `model=NAME model.shrunk=true` composes to."""
    return compose([f"model={name}", "model.shrunk=true"])


@cache
def shrunk_spec(name: str) -> ModelSpec:
    return build.model_spec(shrunk_config(name))


@cache
def _parts(source: str, spec_name: str) -> tuple[PreTrainedTokenizerBase, Renderer]:
    cfg = shrunk_config(spec_name)
    tokenizer = load_tokenizer(shrunk_spec(spec_name))
    return tokenizer, build.template(cfg, tokenizer)


def tokenizer_and_template(name: str) -> tuple[PreTrainedTokenizerBase, Renderer]:
    return _parts(model_source(shrunk_spec(name)), name)


def records(name: str, turns: Sequence[tuple[str, str]] = TURNS) -> TokenizedRecords:
    """One record per turn, rendered with the file's own template."""
    tokenizer, template = tokenizer_and_template(name)
    rows: Any = encode_conversations(
        [conversation(question, answer) for question, answer in turns],
        SegmentEncoder(tokenizer),
        template,
        Limits(512),
        seq2seq=shrunk_spec(name).architecture == "seq2seq",
    )
    assert not [row for row in rows if isinstance(row, str)], rows
    return flatten(rows, [f"r:{i}" for i in range(len(rows))], ["s"] * len(rows), {})


def conversation(question: str, answer: str) -> Conversation:
    messages = (Message("user", question), Message("assistant", answer))
    return Conversation(messages=messages, record_id="r:0", source="s", language="", licence="MIT")


def batch(name: str, rows: Sequence[Sequence[int]] = ((0,), (1,), (2,)), packed: bool = False) -> Batch:
    tokenizer, _ = tokenizer_and_template(name)
    tokens = records(name)
    micro = tuple(tuple(row) for row in rows)
    count = sum(int(tokens[record][1].sum()) for row in micro for record in row)
    if shrunk_spec(name).architecture == "seq2seq":
        return collate_seq2seq(micro, tokens, tokenizer.pad_token_id, step_tokens=count)
    return collate_causal(micro, tokens, tokenizer.pad_token_id, packed=packed, step_tokens=count)


def tuned(name: str, how: str) -> nn.Module:
    """The toy as `strategy/tuning=HOW` trains it, with the file's own LoRA targets."""
    spec, tuning = shrunk_spec(name), Tuning(name=how, r=4)
    torch.manual_seed(0)
    model = load_model(spec, dtype=torch.float32, quantization=quantization_config(tuning, torch.float32, sharded=False))
    return apply_tuning(model, tuning, spec)


def module_around(model: nn.Module, spec: ModelSpec, lr: float = 1e-2) -> pl.LightningModule:
    """The Lightning module of the spec's architecture."""
    settings = FineTuningSettings(
        optimizer=partial(build_optimizer, name="adamw", lr=lr),
        scheduler=partial(build_scheduler, name="constant"),
        total_steps=STEPS,
        block_classes=tuple(spec.block_classes),
    )
    return Seq2SeqSFT(model, settings) if spec.architecture == "seq2seq" else CausalLMSFT(model, settings, packing=spec.packing)


@dataclass(frozen=True)
class Trained:
    """What `STEPS` optimizer steps did to a toy.

    Attributes:
        module: in eval mode.
        before, after: mean token loss in nats of the batch that was trained on.
        trainable, changed: names of parameters.
        classes: names of the classes of all modules.
    """

    module: pl.LightningModule
    before: float
    after: float
    trainable: frozenset[str]
    changed: frozenset[str]
    classes: frozenset[str]


def trained(name: str, how: str) -> Trained:
    """The toy of a file after a few steps.

    Raises:
        ConfigError: the combination is refused.
    """
    outcome = _outcome(_kind(name), how)
    if isinstance(outcome, ConfigError):
        raise outcome
    return outcome


_EXAMPLES: dict[str, str] = {}


@cache
def _kind(name: str) -> str:
    """A text that is equal for files whose toys train alike."""
    spec, template = shrunk_spec(name), build.plain(shrunk_config(name).model.template)
    plays_no_part = ("name", "path", "package", "config", "parameters", "licence", "notice", "max_length")
    fields = {field: value for field, value in vars(spec).items() if field not in plays_no_part}
    kind = json.dumps({**fields, "source": model_source(spec), "template": template}, sort_keys=True)
    _EXAMPLES.setdefault(kind, name)
    return kind


@cache
def _outcome(kind: str, how: str) -> Trained | ConfigError:
    name = _EXAMPLES[kind]
    try:
        model = tuned(name, how)
    except ConfigError as error:
        return error
    module = module_around(model, shrunk_spec(name), lr=1e-3 if how == "full" else 1e-2)
    start = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    item = batch(name)
    before = mean_loss(module, item)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_steps=STEPS, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader([[item]] * STEPS, batch_size=None))
    assert trainer.global_step == STEPS
    now = dict(model.named_parameters())
    return Trained(
        module=module,
        before=before,
        after=mean_loss(module, item),
        trainable=frozenset(key for key, parameter in now.items() if parameter.requires_grad),
        changed=frozenset(key for key in start if not same(start[key], now[key])),
        classes=frozenset(type(part).__name__ for part in model.modules()),
    )


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.detach(), b.detach())


def mean_loss(module: pl.LightningModule, item: Batch) -> float:
    """Of a batch, in eval mode."""
    module.eval()
    with torch.no_grad():
        return float(module(item)[0]) / item["step_tokens"]
