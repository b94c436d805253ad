"""A module of the meta device made one of fake tensors: they know a device and can be computed with, and hold nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from kinnari.planning.packed_layers import scales_of


def make_fake(whole: nn.Module, mode: FakeTensorMode) -> None:
    """Every parameter, buffer and scale on the meta device becomes a fake one on the CPU; what is tied stays tied."""
    made: dict[int, Any] = {}

    def fake(tensor: Any) -> Any:
        if tensor is None or isinstance(tensor, FakeTensor):
            return tensor
        if id(tensor) not in made:
            plain = tensor.detach().as_subclass(Tensor)
            made[id(tensor)] = (FakeTensor(mode, plain if plain.is_meta else plain.to("meta"), torch.device("cpu")), tensor)
        return made[id(tensor)][0]

    parameters: dict[int, nn.Parameter] = {}
    for module in whole.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in parameters:
                    parameters[id(parameter)] = _fake_parameter(parameter, fake)
                module._parameters[name] = parameters[id(parameter)]
        for name, buffer in module._buffers.items():
            module._buffers[name] = fake(buffer)
        if _is_from_bitsandbytes(module, "Linear8bitLt"):
            layer = cast("Any", module)
            layer.state.CB, layer.state.SCB = layer.weight.detach(), fake(layer.state.SCB)
        if _is_from_bitsandbytes(module, "Linear4bit"):
            module.quant_state = module.weight.quant_state  # type: ignore[union-attr]


def _fake_parameter(parameter: nn.Parameter, fake: Any) -> nn.Parameter:
    """A plain parameter with what bitsandbytes hung on it: its own class cannot wrap a fake tensor."""
    made = nn.Parameter(fake(parameter), requires_grad=parameter.requires_grad)
    kind = type(parameter).__name__
    if kind == "Params4bit":
        state: Any = parameter.quant_state  # type: ignore[attr-defined]
        state.absmax, state.code = fake(state.absmax), fake(state.code)
        if state.nested:
            state.offset, state.state2.absmax, state.state2.code = (
                fake(part) for part in (state.offset, state.state2.absmax, state.state2.code)
            )
        made.quant_state = state  # type: ignore[attr-defined]
    elif kind == "Int8Params":
        made.CB = made.SCB = None  # type: ignore[attr-defined]
    return made


def _is_from_bitsandbytes(module: nn.Module, name: str) -> bool:
    # PEFT's layers around them have the same names
    return type(module).__name__ == name and type(module).__module__.startswith("bitsandbytes")


def scales_in(whole: nn.Module) -> Iterator[Tensor]:
    for module in whole.modules():
        if _is_from_bitsandbytes(module, "Linear8bitLt"):
            yield cast("Any", module).state.SCB
        elif _is_from_bitsandbytes(module, "Linear4bit"):
            yield from scales_of(cast("Any", module).weight.quant_state)
