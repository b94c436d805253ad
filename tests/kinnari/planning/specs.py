"""Model files, hardware and requests that tests of planning share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kinnari.models.spec import ModelSpec
from kinnari.planning.request import Hardware, Parallel, PlanRequest, RowTokens
from kinnari.strategies.tuning import Tuning
from kinnari.tasks.build import model_spec
from kinnari.tasks.compose import compose

V100 = Hardware(name="v100x1", accelerator="gpu", device="Tesla V100-SXM2-32GB", memory_gib=32, peak_tflops=125, bandwidth_gb_s=900)
A100 = Hardware(name="a100", accelerator="gpu", device="NVIDIA A100-SXM4-80GB", memory_gib=80, peak_tflops=312, bandwidth_gb_s=2039,
                flash_attention=True)  # fmt: skip


def spec_of(name: str, **changes: Any) -> ModelSpec:
    return replace(model_spec(compose([f"model={name}"])), **changes)


def request(model: str | ModelSpec = "tiny_causal", **changes: Any) -> PlanRequest:
    settings: dict[str, Any] = {
        "spec": spec_of(model) if isinstance(model, str) else model,
        "tuning": Tuning(name="full"),
        "parallel": Parallel("single"),
        "hardware": Hardware(),
        "rows": RowTokens(width=64),
        "micro_size": 2,
        "global_size": 2,
    }
    return PlanRequest(**(settings | changes))
