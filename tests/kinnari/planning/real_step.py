"""A few real optimizer steps on the CPU under the trainer, and the most bytes of live tensors: what plans are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from kinnari.models.load import load_model
from kinnari.models.reward import RewardSettings
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import byte_tokenizer
from kinnari.planning.live_bytes import LiveBytes
from kinnari.planning.request import GIB, Freezing, Hardware, Parallel, PlanRequest, RowTokens
from kinnari.rollouts.settings import PPOSettings
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.strategies.optimizers import build_optimizer
from kinnari.strategies.parallel import build_strategy
from kinnari.strategies.precision import COMPUTE_DTYPES, weight_dtype
from kinnari.strategies.throughput import forget_peak_memory, peak_memory_gib
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from kinnari.tasks.build import model_spec
from kinnari.tasks.compose import compose
from kinnari.text.prompts import Prompt, PromptShare
from lightning_modules import CausalLMSFT, RewardModel, Seq2SeqSFT
from lightning_modules.ppo import PPOModule

STEPS, RANKS = 2, 2
BUCKET_NUMBERS, AHEAD_NUMBERS = 400_000, 200_000
PADDED = 3
TOYS: dict[str, dict[str, Any]] = {
    "tiny_causal": {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 5, "vocab_size": 1000},
    "tiny_seq2seq": {"d_model": 128, "d_ff": 256, "num_layers": 4, "num_decoder_layers": 3, "vocab_size": 1000},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the grid."""

    model: str = "tiny_causal"
    shapes: tuple[tuple[str, Any], ...] = ()
    tuning: str = "full"
    checkpointing: bool = False
    precision: str = "32-true"
    rows: int = 2
    width: int = 128
    accumulated: int = 1
    parallel: str = "single"
    packed: bool = False
    common: int = 0
    chunked: bool = True
    optimizer: str = "adamw"
    task: str = "sft"
    freezing: Freezing = field(default_factory=Freezing)
    ppo: PPOSettings = field(default_factory=lambda: PPOSettings(num_rollouts=4, epochs=1, response_length=24))

    @property
    def _pairs(self) -> tuple[int, ...] | None:
        """Tokens of each pair, its beginning once; the last row is padded (`_batch`)."""
        pair = 2 * self.width - self.common
        return (*[pair] * (self.rows - 1), pair - PADDED) if self.common else None

    @property
    def ranks(self) -> int:
        return 1 if self.parallel == "single" else RANKS

    @property
    def spec(self) -> ModelSpec:
        spec = model_spec(compose([f"model={self.model}"]))
        return replace(spec, toy=dict(spec.toy or {}) | TOYS[self.model] | dict(self.shapes))

    @property
    def request(self) -> PlanRequest:
        return PlanRequest(
            spec=self.spec,
            tuning=Tuning(name=self.tuning, r=4, gradient_checkpointing=self.checkpointing),
            parallel=Parallel(self.parallel),
            hardware=Hardware(devices=self.ranks),
            rows=RowTokens(width=self.width, packed=self.packed, target_width=self.width // 2, pairs=self._pairs),
            precision=self.precision,
            micro_size=self.rows,
            global_size=self.rows * self.accumulated * self.ranks,
            optimizer=self.optimizer,
            chunked_loss=self.chunked,
            task=self.task,  # type: ignore[arg-type]
            freezing=self.freezing,
            ppo=self.ppo,
        )


def measured_bytes(case: Case) -> int:
    """Highest bytes of live tensors over `STEPS` optimizer steps of the real module; under sharding in a process of each rank."""
    module = _module(case, case.request)
    live = LiveBytes()
    live.hold(module, lambda name: "weights")
    with live:
        _fit(case, module, _Steps(live))
    return live.peaks[_Steps.PART].total()


def resident_bytes(case: Case) -> float:
    """Most resident memory of this process in the steps, above what it held before the model was made.

    A step of small tensors goes before, so that libraries are loaded and their threads have started.
    """
    small = replace(case, shapes=(), rows=case.accumulated, width=16, common=0)
    _fit(small, _module(small, small.request), pl.Callback())
    forget_peak_memory()
    before = psutil.Process().memory_info().rss
    _fit(case, _module(case, case.request), _FromTheFirstStep())
    return peak_memory_gib(torch.device("cpu")) * GIB - before


def _fit(case: Case, module: pl.LightningModule, callback: pl.Callback) -> None:
    strategy = build_strategy(
        case.parallel, accelerator="cpu", devices=case.ranks, precision=case.precision, gradient_clip=1.0, timeout_s=60
    )
    if case.parallel.startswith("deepspeed"):  # its own would be far larger than these models
        sizes = {"reduce_bucket_size": BUCKET_NUMBERS, "stage3_max_live_parameters": AHEAD_NUMBERS}
        strategy.config["zero_optimization"] |= sizes  # type: ignore[attr-defined]
    trainer = pl.Trainer(
        strategy=strategy,
        accelerator="cpu",
        devices=case.ranks,
        max_steps=STEPS * _optimizer_steps(case),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[callback],
    )
    trainer.fit(module, DataLoader([_item(case) for _ in range(STEPS)], batch_size=None))


class _FromTheFirstStep(pl.Callback):
    """What loading took is forgotten."""

    def on_train_start(self, *_: Any) -> None:
        forget_peak_memory()


class _Steps(pl.Callback):
    """Parts what is live in steps from what is when a model is made and sharded."""

    PART = "step"

    def __init__(self, live: LiveBytes) -> None:
        self.live = live

    def on_train_batch_start(self, *_: Any) -> None:
        self.live.enter(self.PART, "activations")

    def on_train_batch_end(self, *_: Any) -> None:
        self.live.enter("after", "activations")


def measured_on_ranks(names: Sequence[str]) -> dict[str, int]:
    """Cases of `SHARDED_GRID` in this rank's process, one after the other."""
    return {name: measured_bytes(SHARDED_GRID[name]) for name in names}


def _optimizer_steps(case: Case) -> int:
    return case.ppo.epochs * (case.ppo.num_rollouts // (case.rows * case.accumulated)) if case.task == "ppo" else 1


def _module(case: Case, request: PlanRequest) -> pl.LightningModule:
    spec, tuning = request.spec, request.tuning
    compute = COMPUTE_DTYPES[case.precision]
    quantization = quantization_config(tuning, compute, sharded=case.parallel in ("fsdp", "deepspeed_zero3"))
    weights = weight_dtype(spec.dtype, tuning.name, case.precision)
    model = apply_tuning(load_model(spec, dtype=weights, quantization=quantization), tuning, spec)

    def optimizer(groups: Any) -> torch.optim.Optimizer:
        return build_optimizer(groups, name=case.optimizer, lr=1e-4)

    settings = FineTuningSettings(
        optimizer=optimizer, total_steps=10, chunked_loss=case.chunked, block_classes=spec.block_classes, precision=case.precision
    )
    if case.task == "ppo":
        return PPOModule(model, byte_tokenizer(), lambda rollouts: [0.5] * len(rollouts), case.ppo, settings,
                         global_size=request.global_size, micro_size=case.rows, packing=spec.packing)  # fmt: skip
    if case.task == "reward":
        freezing = case.freezing
        reward = RewardSettings(freeze_fraction=freezing.fraction, train_embeddings=freezing.train_embeddings,
                                checkpoint_frozen=freezing.checkpoint_frozen, share_prompts=case.common > 0)  # fmt: skip
        return RewardModel(model, settings, reward, packing=spec.packing)
    return Seq2SeqSFT(model, settings) if spec.architecture == "seq2seq" else CausalLMSFT(model, settings, packing=spec.packing)


def _item(case: Case) -> Any:
    drawn = torch.Generator().manual_seed(0)
    if case.task == "ppo":
        prompts = case.ppo.num_rollouts // case.ppo.answers_per_prompt
        ids = torch.randint(10, 250, (prompts, case.width), generator=drawn).tolist()
        # of unequal lengths, as prompts are: rows without any padding would need no mask
        return PromptShare([Prompt((), row[2 * i :], f"r:{i}", "") for i, row in enumerate(ids)])
    return [_batch(case, drawn) for _ in range(case.accumulated)]


def _batch(case: Case, drawn: torch.Generator) -> dict[str, Any]:
    rows = case.rows * (2 if case.task == "reward" else 1)
    ids = torch.randint(10, 250, (rows, case.width), generator=drawn)
    mask = torch.ones_like(ids)
    if case.common:
        ids[1::2, : case.common] = ids[::2, : case.common]
    mask[-1, -PADDED:] = 0  # padded, as rows of unequal records are
    seq2seq = case.spec.architecture == "seq2seq"
    labels = ids[:, : case.width // 2].clone() if seq2seq else ids.clone()
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "labels": labels, "step_tokens": labels.numel(),
                             "record_ids": [str(i) for i in range(rows)]}  # fmt: skip
    if case.task == "reward":
        batch |= {"step_tokens": rows // 2, "rows_together": 2}
    if case.packed:
        half = case.width // 2
        batch["position_ids"] = torch.arange(half).repeat(2).expand(rows, -1)
        batch["segment_ids"] = torch.arange(2).repeat_interleave(half).expand(rows, -1)
    return batch


LARGER = (("vocab_size", 2000),)
VOCABULARY = (("vocab_size", 8000),)
SEPARATE = PPOSettings(num_rollouts=4, epochs=1, response_length=24, critic="separate")
SHARED = PPOSettings(num_rollouts=4, answers_per_prompt=2, epochs=1, response_length=24)
GRID = {
    "full": Case(),
    "full long": Case(rows=4, width=256),
    "full accumulated": Case(accumulated=2),
    "full recomputed": Case(checkpointing=True, rows=4, width=256),
    "full bf16": Case(precision="bf16-mixed"),
    "full bf16 accumulated": Case(precision="bf16-mixed", accumulated=3),
    "full bf16 recomputed": Case(rows=4, width=256, precision="bf16-mixed", checkpointing=True),
    "full bf16-true": Case(precision="bf16-true"),
    "full vocabulary": Case(shapes=VOCABULARY),
    "full vocabulary, whole logits": Case(shapes=VOCABULARY, chunked=False),
    "lora": Case(tuning="lora", rows=4, width=256),
    "lora bf16": Case(tuning="lora", precision="bf16-mixed", rows=4, width=256),
    "lora recomputed": Case(tuning="lora", checkpointing=True, rows=4, width=256),
    "qlora": Case(tuning="qlora", rows=4),
    "qlora recomputed": Case(tuning="qlora", rows=4, precision="bf16-mixed", checkpointing=True),
    "int8": Case(tuning="lora_int8", rows=4),
    "packed": Case(packed=True, rows=4, width=256),
    "seq2seq": Case(model="tiny_seq2seq", rows=4),
    "seq2seq bf16": Case(model="tiny_seq2seq", rows=4, precision="bf16-mixed"),
    "seq2seq lora": Case(model="tiny_seq2seq", tuning="lora", rows=4),
    "8-bit optimizer": Case(optimizer="adamw_8bit"),
    "adafactor": Case(optimizer="adafactor"),
    "lion": Case(optimizer="lion"),
    "reward": Case(task="reward"),
    "reward, prompts shared": Case(task="reward", common=96),
    "reward, prompts shared in bf16": Case(task="reward", common=64, rows=4, precision="bf16-mixed"),
    "reward, embeddings frozen": Case(task="reward", freezing=Freezing(train_embeddings=False)),
    "reward, frozen blocks recomputed": Case(task="reward", freezing=Freezing(checkpoint_frozen=True), rows=4),
    "reward lora": Case(task="reward", tuning="lora"),
    "ppo": Case(task="ppo", tuning="lora"),
    "ppo full": Case(task="ppo"),
    "ppo, prompts shared": Case(task="ppo", tuning="lora", rows=4, ppo=SHARED),
    "ppo full, prompts shared": Case(task="ppo", rows=4, ppo=SHARED),
    "ppo, separate critic": Case(task="ppo", tuning="lora", ppo=SEPARATE),
    "ppo full, separate critic": Case(task="ppo", ppo=SEPARATE),
}
"""What the docs' table shows; every one is planned and run."""

LARGE = {"shapes": (("hidden_size", 384), ("intermediate_size", 1024), ("num_hidden_layers", 6), ("vocab_size", 8000)),
         "rows": 4, "width": 384}  # fmt: skip
LARGE_SEQ2SEQ = {"model": "tiny_seq2seq", "shapes": (("d_model", 384), ("d_ff", 1024), ("vocab_size", 8000)), "rows": 4, "width": 384}
RESIDENT_GRID = {
    "full": Case(**LARGE),
    "full recomputed": Case(**LARGE, checkpointing=True),
    "full, whole logits": Case(**LARGE, chunked=False),
    "full accumulated": Case(**LARGE, accumulated=2),
    "full bf16-true": Case(**LARGE, precision="bf16-true"),
    "lora": Case(**LARGE, tuning="lora"),
    "lora bf16": Case(**LARGE, tuning="lora", precision="bf16-mixed"),
    "qlora": Case(**LARGE, tuning="qlora"),
    "packed": Case(**LARGE, packed=True),
    "reward": Case(**LARGE, task="reward"),
    "reward, prompts shared": Case(**LARGE, task="reward", common=192),
    "seq2seq": Case(**LARGE_SEQ2SEQ),
    "ppo": Case(**LARGE, task="ppo", tuning="lora"),
    "ppo full": Case(**LARGE, task="ppo"),
}
"""Large enough for the memory of a process to say something."""
_SHORT = {"rows": 1, "width": 16, "shapes": (("hidden_size", 256), ("intermediate_size", 640), ("vocab_size", 2000))}
SHARDED_GRID = {
    f"{parallel} {tuning} {precision}{name}": Case(parallel=parallel, tuning=tuning, precision=precision, **sizes)
    for parallel in ("ddp", "fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")
    for tuning in ("full", "lora", "qlora")
    for precision, name, sizes in (
        ("32-true", "", {"shapes": LARGER}),
        ("bf16-mixed", " accumulated", {"shapes": LARGER, "accumulated": 2}),
        ("bf16-mixed", " short", _SHORT),
    )
}
"""The same on two ranks; in short ones parameters are most of it."""
