"""Learning-rate schedules as pure functions: optimizer step -> factor on the peak learning rate.

Every function takes `step` (0 for the first optimizer step), `total_steps` and `warmup_steps`, and returns a float >=
0. Warmup is linear, step / warmup_steps, so the first step of a warmed-up run has learning rate 0: that is the
arithmetic of the recipes people publish with Hugging Face's trainer, and ours gives the same numbers (tested against
it).
"""

import math

_NO_STEPS = "a schedule needs at least one step: set trainer.max_steps or an epoch with data"


def resolve_warmup(total_steps: int, *, warmup_ratio: float | None = None, warmup_steps: int | None = None) -> int:
    """Warmup in optimizer steps, from a share of the run (rounded up) or a number; neither means none.

    Raises:
        ValueError: both are given, a ratio outside [0, 1], or more warmup than there are steps.
    """
    if warmup_ratio is not None and warmup_steps is not None:
        raise ValueError(f"warmup_ratio={warmup_ratio} and warmup_steps={warmup_steps}: give one of them and null for the other")
    if warmup_ratio is not None:
        if not 0.0 <= warmup_ratio <= 1.0:
            raise ValueError(f"warmup_ratio={warmup_ratio}: it is a share of the run, 0 to 1; for a number of steps use warmup_steps")
        return math.ceil(warmup_ratio * total_steps)
    steps = warmup_steps or 0
    if not 0 <= steps <= total_steps:
        raise ValueError(f"warmup_steps={steps} of total_steps={total_steps}: warmup must end within the run; lower warmup_steps")
    return steps


def constant(step: int, *, total_steps: int, warmup_steps: int = 0) -> float:
    """1 after the warmup."""
    _check(step, total_steps)
    return _warmup(step, warmup_steps) if step < warmup_steps else 1.0


def linear(step: int, *, total_steps: int, warmup_steps: int = 0, floor: float = 0.0) -> float:
    """A straight line from 1 at the end of the warmup to `floor` at `total_steps`."""
    _check(step, total_steps)
    if step < warmup_steps:
        return _warmup(step, warmup_steps)
    return floor + (1.0 - floor) * (1.0 - _progress(step, total_steps, warmup_steps))


def cosine(step: int, *, total_steps: int, warmup_steps: int = 0, floor: float = 0.0) -> float:
    """Half a cosine from 1 at the end of the warmup to `floor` at `total_steps`, and `floor` after it.

    Source: SGDR, arXiv:1608.03983, equation 5, one period; floor = eta_min / eta_max.
    """
    _check(step, total_steps)
    if step < warmup_steps:
        return _warmup(step, warmup_steps)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * _progress(step, total_steps, warmup_steps)))


def warmup_decay(step: int, *, total_steps: int, warmup_steps: int = 0, warmup_type: str = "log", floor: float = 0.0) -> float:
    """DeepSpeed's WarmupDecayLR: warmup by the logarithm of the step (or linearly), then a straight line down.

        log:     log(step + 1) / log(W),     linear: step / W,     W = max(2, warmup_steps)
        after:   (total_steps - step) / (total_steps - W)

    The factor is floor + (1 - floor) * that, floor = warmup_min_lr / warmup_max_lr. DeepSpeed's own engine runs one
    step behind: it starts its scheduler at -1, so its first *two* steps have the lowest rate.

    Source: microsoft/DeepSpeed v0.19.8, deepspeed/runtime/lr_schedules.py, WarmupLR and WarmupDecayLR._get_gamma.

    Raises:
        ValueError: another warmup_type (DeepSpeed falls back to log).
    """
    _check(step, total_steps)
    if warmup_type not in ("log", "linear"):
        raise ValueError(f"warmup_type={warmup_type!r}: log or linear")
    width = max(2, warmup_steps)
    if warmup_steps > 0 and step < width:
        gamma = math.log(step + 1) / math.log(width) if warmup_type == "log" else step / width
    else:  # without warmup the line starts at step 0; DeepSpeed cannot express that
        start = width if warmup_steps > 0 else 0
        gamma = max(0.0, (total_steps - step) / max(1, total_steps - start))
    return floor + (1.0 - floor) * gamma


def one_cycle(step: int, *, total_steps: int, warmup_steps: int = 0, div_factor: float = 25.0, final_div_factor: float = 1e4) -> float:
    """Half a cosine up from 1 / div_factor to 1 over the warmup, then one down to 1 / (div_factor * final_div_factor).

    The learning rate of torch's OneCycleLR with two phases, pct_start = warmup_steps / total_steps and the momentum
    left alone; the peak is at step warmup_steps - 1 and the lowest rate at total_steps - 1.

    Source: "Super-Convergence", arXiv:1708.07120, section 3; torch.optim.lr_scheduler.OneCycleLR.
    """
    _check(step, total_steps)
    low, lowest = 1.0 / div_factor, 1.0 / (div_factor * final_div_factor)
    peak, end = max(0, warmup_steps - 1), total_steps - 1
    if step < peak:
        return _anneal(low, 1.0, step / peak)
    return _anneal(1.0, lowest, min(1.0, (step - peak) / max(1, end - peak)))


def inverse_sqrt(step: int, *, total_steps: int, warmup_steps: int = 0, timescale: int | None = None) -> float:
    """1 / sqrt of the step: sqrt(timescale / (step - warmup_steps + timescale)) after the warmup.

    timescale None is warmup_steps, or 10,000 without warmup. `total_steps` changes nothing: a run can be prolonged.

    Source: "Attention Is All You Need", arXiv:1706.03762, equation 3; Hugging Face's get_inverse_sqrt_schedule.
    """
    _check(step, total_steps)
    if step < warmup_steps:
        return _warmup(step, warmup_steps)
    scale = timescale or warmup_steps or 10_000
    return math.sqrt(scale / (step - warmup_steps + scale))


def _warmup(step: int, warmup_steps: int) -> float:
    return step / warmup_steps


def _progress(step: int, total_steps: int, warmup_steps: int) -> float:
    """Share of the decay that is over, 0 to 1."""
    return min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))


def _check(step: int, total_steps: int) -> None:
    if step < 0 or total_steps < 1:
        raise ValueError(f"step={step} of total_steps={total_steps}: {_NO_STEPS}")
