"""4- and 8-bit weights of bitsandbytes: told apart from float ones, and expanded."""

from typing import Any

from torch import Tensor, nn


def is_quantized_parameter(parameter: Tensor) -> bool:
    """Whether bitsandbytes holds this parameter in 4 or 8 bits."""
    return type(parameter).__name__ in ("Params4bit", "Int8Params")


def float_weight(layer: Any) -> Tensor:
    """[out, in] float32 weight of a layer, expanded from 4 or 8 bits where it is held so; the layer is not touched."""
    weight = layer.weight
    if not is_quantized_parameter(weight):
        return weight.detach().float()
    from bitsandbytes import functional

    if type(weight).__name__ == "Params4bit":
        return functional.dequantize_4bit(weight.data, weight.quant_state).float()
    # peft's own dequantisation moves an int8 weight and so loses its scales: the next forward fails (peft 0.21.2).
    # bitsandbytes hands the scales from the weight to the layer's state at the first forward.
    scales = weight.SCB if layer.state.SCB is None else layer.state.SCB
    return functional.int8_vectorwise_dequant(weight.data, scales.to(weight.device)).float()


def base_kind(base: nn.Module) -> str:
    kinds = {type(parameter).__name__ for parameter in base.parameters()}
    if "Params4bit" in kinds:
        return "dequantised 4-bit"
    return "dequantised 8-bit" if "Int8Params" in kinds else "float"
