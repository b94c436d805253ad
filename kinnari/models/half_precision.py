"""Float16 for the T5 family, whose activations do not fit into it.

    h = h + wo(gelu(wi_0(norm(h))) * wi_1(norm(h)))

T5, mT5, Flan-T5, ByT5 and umT5 were trained in bfloat16. Their residual stream `h` and what `wo` adds to it grow past 65,504, the
largest float16, in the larger checkpoints; inf - inf in the next layer is NaN. transformers 5.23 keeps the weight of `wo` in
float32 and clamps a float16 residual, which helps plain float16 alone: autocast, FSDP2 and DeepSpeed cast that weight back, and a
clamped stream is another model's.

`guard_float16` moves the few operations that overflow to float32: the product of the gate, `wo`, and the residual stream. Attention,
`wi` and the head, whose inputs are normalised, stay in float16. `wo` in float32 costs speed on cards whose float32 is slow (it is a
fifth of the products of Flan-T5 XXL), and nothing else does. bfloat16 and float32 runs are not touched, bit for bit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from torch.nn import functional as F

_FAMILIES = ("T5", "MT5", "UMT5")
_GATED = tuple(f"{family}DenseGatedActDense" for family in _FAMILIES)
_PLAIN = tuple(f"{family}DenseActDense" for family in _FAMILIES)
_STACKS = tuple(f"{family}Stack" for family in _FAMILIES)


def guard_float16(model: nn.Module) -> int:
    """Let the T5 layers of `model` compute what overflows in float32 wherever the rest runs in float16; idempotent.

    Whether it does is asked at every forward (autocast, or the dtype of the activations), so the guard may always be installed.
    Parameters, their names and saved files stay as they are.

    Args:
        model: bare or in PEFT, quantised or not; before or after sharding. Other families are left alone.

    Returns:
        Feed-forward layers guarded, 0 for another family.
    """
    guarded = 0
    for module in list(model.modules()):
        name = type(module).__name__
        if isinstance(module, _Guard):
            _widen(module.wo)  # adapters may have come since
            guarded += 1
        elif name in _GATED or name in _PLAIN:
            # parameters, hooks and names stay where they are
            module.__class__ = _guarded(type(module), name in _GATED)  # type: ignore[arg-type]
            _widen(module.wo)  # type: ignore[arg-type]
            guarded += 1
        elif name in _STACKS:
            block: Any = module.block[0]  # type: ignore[index]
            if _residual_in_float32 not in block._forward_pre_hooks.values():
                block.register_forward_pre_hook(_residual_in_float32)
    return guarded


def computes_in_float16(hidden: Tensor) -> bool:
    """Whether a linear layer of `hidden` would be computed in float16, by autocast or as it is."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device) == torch.float16
    return hidden.dtype == torch.float16


class _Guard(nn.Module):
    """Before the class of a feed-forward layer, the forward that knows of float16."""

    wi: nn.Module
    wi_0: nn.Module
    wi_1: nn.Module
    wo: nn.Module
    act: nn.Module
    dropout: nn.Module


class _GatedGuard(_Guard):
    def forward(self, hidden_states: Tensor) -> Tensor:
        if not computes_in_float16(hidden_states):
            return super().forward(hidden_states)
        # the gate in float32: gelu_new takes a cube, and either factor may be large
        gate = self.act(self.wi_0(hidden_states).float())
        return _float32_product(self.wo, self.dropout(gate * self.wi_1(hidden_states).float()))


class _PlainGuard(_Guard):
    def forward(self, hidden_states: Tensor) -> Tensor:
        if not computes_in_float16(hidden_states):
            return super().forward(hidden_states)
        return _float32_product(self.wo, self.dropout(self.act(self.wi(hidden_states).float())))


@cache
def _guarded(layer: Any, gated: bool) -> type[nn.Module]:
    return type(layer.__name__, (_GatedGuard if gated else _PlainGuard, layer), {"__module__": layer.__module__})


def _residual_in_float32(block: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the blocks add to keeps the dtype it begins with, so the first block decides for all."""
    hidden, *others = arguments
    return (hidden.float() if hidden.dtype == torch.float16 else hidden, *others)


def _float32_product(projection: nn.Module, x: Tensor) -> Tensor:
    """`projection(x)` [..., O] float32 of x [..., I] float32: a linear layer, plain or with LoRA on it (none quantises `wo`:
    transformers leaves it whole under 4 and 8 bits, and would hand a packed one its input as integers).
    """
    with torch.autocast(x.device.type, enabled=False), disable_input_dtype_casting(projection):
        return projection(x)


class WideLinear(nn.Linear):
    """A linear layer that computes a float32 input in float32, also where its own weight is float16 (FSDP2, DeepSpeed)."""

    def forward(self, input: Tensor) -> Tensor:
        narrow = input.dtype == torch.float32 and self.weight.dtype == torch.float16
        if not narrow or torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        return F.linear(input, self.weight.float(), None if self.bias is None else self.bias.float())


def _widen(projection: nn.Module) -> None:
    """Let the layer, or the layers of LoRA in its place, take float32."""
    for layer in projection.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = WideLinear
