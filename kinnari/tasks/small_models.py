"""Which models need no estimate before they are trained; imports nothing slow, for the process that only starts ranks."""

from __future__ import annotations

from omegaconf import DictConfig

TRAINED_BYTES, FROZEN_BYTES = 18, 5  # of a parameter: float32 weight, gradient, two moments and a 16-bit copy; float32 and adapters
SMALL = 0.2  # of the memory, below which nothing is estimated
GIB = 2**30


def is_small(cfg: DictConfig, memory_gib: float | None) -> bool:
    """Whether a model's whole training state takes less than a fifth of a device, by the number of parameters its file states.

    Args:
        memory_gib: of one device; None where that is not known: then all are small, as nothing could be said.
    """
    model = cfg.model
    if memory_gib is None or model.toy is not None or model.shrunk:
        return True
    state = TRAINED_BYTES if cfg.strategy.tuning.name == "full" else FROZEN_BYTES
    return model.parameters is not None and model.parameters * state / GIB < SMALL * memory_gib
