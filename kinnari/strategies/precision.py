"""What numbers are computed in, and what the weights are held in."""

from __future__ import annotations

import torch

from kinnari.errors import ConfigError

COMPUTE_DTYPES = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "bf16-true": torch.bfloat16,
    "16-mixed": torch.float16,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_precision(precision: str) -> str:
    """`auto` (the CPU profiles) is bf16-mixed where the processor multiplies bfloat16 itself, else 32-true.

    On a processor without such instructions bfloat16 is emulated, which is slower than float32.
    """
    if precision != "auto":
        return precision
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


def weight_dtype(dtype: str, tuning: str, precision: str) -> torch.dtype:
    """Dtype the weights are loaded in: what the model file says, or with `auto` float32 masters for full tuning and the
    compute dtype for a frozen base (its adapters are float32 either way).

    Raises:
        ConfigError: if full tuning would update 16-bit weights under a mixed precision, which loses small updates.
    """
    if precision not in COMPUTE_DTYPES:
        raise ConfigError(f"trainer.precision={precision} is unknown; choose one of {', '.join(COMPUTE_DTYPES)}.")
    if dtype == "auto":
        return torch.float32 if tuning == "full" and precision != "bf16-true" else COMPUTE_DTYPES[precision]
    if tuning == "full" and DTYPES[dtype] != torch.float32 and precision.endswith("mixed"):
        raise ConfigError(
            f"model.dtype={dtype} with strategy/tuning=full and trainer.precision={precision}: mixed precision updates float32 "
            "master weights. Use model.dtype=auto, or trainer.precision=bf16-true to train in bfloat16 throughout."
        )
    return DTYPES[dtype]
