"""How fast a run is and how much memory it takes: tokens per second, padding, share of the peak arithmetic.

    model FLOPs of a step   = real tokens x (2 F + 2 F + 2 T)  +  trained tokens x (2 H + 2 H + 2 H if the head is trained)
                              forward, gradients of activations, gradients of trained weights
    F body parameters (no embeddings), T those of them that are trained, H parameters of the output head

Full tuning of the body thus counts 6 F a token, LoRA about 4 F. The head works on trained positions alone, so it is counted there.
Source: PaLM, arXiv 2204.02311, appendix B, whose 6 N counts every parameter on every token. Left out: attention scores
(12 x layers x width x length a token there, 6 % of 6 N for a 135 M model at 256 tokens), norms, softmax and the optimizer, so MFU
here is a lower bound. PaLM's MFU does not count what gradient checkpointing computes again; HFU does (2 F a real token more).
"""

from __future__ import annotations

import gc
import resource
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

GIB = 2**30
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class ModelFlops:
    """Parameters by the work they cause.

    Attributes:
        body: parameters that multiply every token; no embeddings, no head.
        trained_body: those of them that receive gradients.
        head: parameters of the output head.
        trained_head: whether it receives gradients.
        checkpointed: activations are computed again in the backward pass.
    """

    body: int
    trained_body: int
    head: int
    trained_head: bool
    checkpointed: bool

    def useful(self, real_tokens: float, trained_tokens: float) -> float:
        """FLOPs that the step needs."""
        head = self.head * (6 if self.trained_head else 4)
        return real_tokens * (4 * self.body + 2 * self.trained_body) + trained_tokens * head

    def executed(self, real_tokens: float, trained_tokens: float) -> float:
        """FLOPs with those done twice under gradient checkpointing."""
        again = 2 * self.body * real_tokens if self.checkpointed else 0
        return self.useful(real_tokens, trained_tokens) + again


def model_flops(model: nn.Module, base: PreTrainedModel) -> ModelFlops:
    """Count the parameters of `model` (`base` inside PEFT, or itself) before a strategy partitions them.

    A head tied to the input embedding counts as head, and an encoder has none. Packed 4-bit parameters count as the weights they hold.
    """
    output = base.get_output_embeddings()
    head = None if output is None else output.weight
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    body = [p for p in model.parameters() if p is not head and id(p) not in embeddings]
    return ModelFlops(
        body=sum(_numel(p) for p in body),
        trained_body=sum(_numel(p) for p in body if p.requires_grad),
        head=0 if head is None else head.numel(),
        trained_head=head is not None and head.requires_grad,
        checkpointed=base.is_activation_checkpointing,
    )


def _numel(parameter: nn.Parameter) -> int:
    if type(parameter).__name__ == "Params4bit" and parameter.quant_state is not None:  # type: ignore[attr-defined]
        return parameter.quant_state.shape.numel()  # type: ignore[attr-defined]
    return parameter.numel()


@dataclass
class TokenMeter:
    """Sums over optimizer steps; `seconds` of zero gives rates of zero.

    Attributes:
        real: tokens that are no padding.
        total: tokens the model computed on, padding included.
        trained: tokens that carry loss.
        seconds: wall-clock time of the steps.
    """

    real: float = 0
    total: float = 0
    trained: float = 0
    seconds: float = 0.0

    def add(self, *, real: float, total: float, trained: float, seconds: float) -> None:
        """Count one step."""
        self.real += real
        self.total += total
        self.trained += trained
        self.seconds += seconds

    @property
    def tokens_per_second(self) -> float:
        """Real tokens per second."""
        return self._per_second(self.real)

    @property
    def trained_tokens_per_second(self) -> float:
        """Trained tokens per second."""
        return self._per_second(self.trained)

    @property
    def padding_fraction(self) -> float:
        """Share of the computed tokens that is padding, in [0, 1]."""
        return 1.0 - self.real / self.total if self.total else 0.0

    def mfu(self, flops: ModelFlops, peak_tflops: float) -> float:
        """Model FLOPs utilisation, in [0, 1]; `peak_tflops` of all devices together, 10^12 FLOP/s."""
        return self._per_second(flops.useful(self.real, self.trained)) / (peak_tflops * 1e12)

    def hfu(self, flops: ModelFlops, peak_tflops: float) -> float:
        """Hardware FLOPs utilisation: as `mfu`, recomputation counted."""
        return self._per_second(flops.executed(self.real, self.trained)) / (peak_tflops * 1e12)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _per_second(self, amount: float) -> float:
        return amount / self.seconds if self.seconds > 0 else 0.0


def peak_memory_gib(device: torch.device) -> float:
    """Highest memory use in GiB: allocated by torch on a CUDA device, resident in this process on the CPU.

    Since the process began, or since `forget_peak_memory` where the system lets it forget.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    # On Linux not ru_maxrss, which begins with what the parent process held and forgets nothing.
    lines = STATUS.read_text().splitlines() if STATUS.is_file() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / GIB  # VmHWM:   123456 kB
    return resident_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.platform) / GIB


def forget_peak_memory() -> None:
    """Free what an earlier run of this process left behind, and measure the peak from here on (trials of a sweep)."""
    gc.collect()  # a trainer, its module and its callbacks refer to each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # Linux only, and not in every container; then the peak is that of the process
        CLEAR_REFS.write_text("5")  # 5 resets VmHWM (proc(5))


def resident_bytes(maxrss: int, platform: str) -> int:
    """`ru_maxrss` in bytes: the unit is KiB on Linux and bytes on macOS (getrusage(2) of each)."""
    return maxrss if platform == "darwin" else maxrss * 1024
