"""PEFT's LoRA layers with the update computed by `kinnari.functional.lora`: same parameters, names, files and mathematics."""

from typing import Any

from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from kinnari.functional.lora import lora_update
from kinnari.models.half_precision import WideLinear


class FusedLoraLinear(Linear):
    """A PEFT LoRA layer on a plain `nn.Linear`; what the fused update does not know (merged, several adapters) goes PEFT's way."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        active = self.active_adapters
        plain = len(active) == 1 and active[0] in self.lora_A and not (args or kwargs)
        if not plain or self.disable_adapters or self.merged or self.lora_variant:
            return super().forward(x, *args, **kwargs)
        name = active[0]
        a, b, dropout = self.lora_A[name], self.lora_B[name], self.lora_dropout[name]
        if b.bias is not None:
            return super().forward(x)
        probability = dropout.p if isinstance(dropout, nn.Dropout) and self.training else 0.0
        return lora_update(self.base_layer(x), x, a.weight, b.weight, self.scaling[name], probability)


def fuse_lora(model: nn.Module) -> int:
    """Make every plain LoRA layer of `model` a `FusedLoraLinear`, DoRA and its like left out; returns how many.

    The fused forward reads the adapters' weights without calling their modules, so a strategy must not hang the gathering of
    sharded weights on those calls (ZeRO-3 does; FSDP2 gathers whole blocks).
    """
    layers = [m for m in model.modules() if type(m) is Linear and type(m.base_layer) in (nn.Linear, WideLinear) and not m.lora_variant]
    for layer in layers:
        layer.__class__ = FusedLoraLinear  # the parameters, hooks and names stay where they are
    return len(layers)
