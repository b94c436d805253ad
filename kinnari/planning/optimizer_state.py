"""Bytes that an optimizer of `kinnari.strategies.optimizers` keeps for one parameter, and for how long."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCK = 256
"""Numbers that share a scale in the 8-bit optimizers (bitsandbytes 0.50)."""
SMALL = 4096
"""Parameters with fewer numbers keep 32 bits there."""


def optimizer_state(name: str, shape: Sequence[int], itemsize: int = 4) -> int:
    """State of one trained parameter in bytes.

    torch's own optimizers (adamw, adafactor) keep it in the dtype of the parameter, bitsandbytes in 32 or 8 bits whatever that is.

    Args:
        itemsize: bytes of a number of the parameter that the optimizer is given.

    Sources: 8-bit optimizers, arXiv:2110.02861; Adafactor, arXiv:1804.04235; Lion, arXiv:2302.06675.

    Raises:
        KeyError: an unknown name.
    """
    numbers = math.prod(shape)
    if name.endswith("8bit") and numbers >= SMALL:
        blocks = -(-numbers // BLOCK)
        return 2 * numbers + 2 * 4 * blocks
    if name == "adafactor" and len(shape) > 1:
        return itemsize * (numbers // shape[-1] + numbers // shape[-2])
    own = {"adamw": 2 * itemsize, "adafactor": itemsize}
    return (own | {"paged_adamw": 8, "adamw_8bit": 8, "paged_adamw_8bit": 8, "lion": 4})[name] * numbers


def is_paged(name: str) -> bool:
    """Whether the state lies in memory that the device shares with the host and moves there when room is short (CUDA alone)."""
    return name.startswith("paged")


def temporary_bytes(name: str, largest: float) -> float:
    """What a step of the optimizer holds beside its state.

    Fused AdamW and bitsandbytes work in place. Adafactor (torch 2.13) makes the square of the gradient and the update of one parameter.

    Args:
        largest: numbers of the largest trained parameter.
    """
    return 2 * 4 * largest if name == "adafactor" else 0.0
