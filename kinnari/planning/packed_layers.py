"""Linear layers of bitsandbytes on the meta device: the bytes that a quantised base holds, without quantising anything.

4 bits     N / 2 bytes, a scale for each 64 numbers: float32, or with double quantisation one byte, a float32 for each 256 of those and
           two tables of 16 and 256 float32 (QLoRA, arXiv:2305.14314, section 3: 4.5 or 4.127 bits a number)
8 bits     N bytes and a float32 for each row (LLM.int8(), arXiv:2208.07339)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig, PreTrainedModel

from kinnari.strategies.tuning import Tuning

BLOCK = 64
BLOCKS_OF_SCALES = 256


def quantise(model: PreTrainedModel, tuning: Tuning, config: BitsAndBytesConfig, compute: torch.dtype, storage: torch.dtype) -> None:
    """Replace the linear layers that transformers would, in place; run it under `torch.device("meta")`."""
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import HfQuantizer

    config.llm_int8_threshold = 0.0  # columns of outliers are few and known only from values
    kept = HfQuantizer.get_modules_to_not_convert(model, None, list(model._keep_in_fp32_modules or []))
    replace_with_bnb_linear(model, kept, config)
    for layer in model.modules():
        if type(layer).__name__ == "Linear4bit":
            _pack(layer, tuning, compute, storage)
        elif type(layer).__name__ == "Linear8bitLt":
            _halve(layer)
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = config.load_in_4bit, config.load_in_8bit  # type: ignore[assignment]
    model.is_quantized = True  # type: ignore[assignment]


def _pack(layer: Any, tuning: Tuning, compute: torch.dtype, storage: torch.dtype) -> None:
    from bitsandbytes.functional import QuantState
    from bitsandbytes.nn import Params4bit

    rows, columns = layer.out_features, layer.in_features
    numbers = rows * columns
    blocks = -(-numbers // BLOCK)
    state: Any = {"shape": torch.Size((rows, columns)), "dtype": compute, "blocksize": BLOCK, "quant_type": tuning.quant_type,
                  "code": torch.empty(16, dtype=torch.float32)}  # fmt: skip
    if tuning.double_quant:
        scales = QuantState(absmax=torch.empty(-(-blocks // BLOCKS_OF_SCALES)), blocksize=BLOCKS_OF_SCALES,
                            code=torch.empty(256), dtype=torch.float32)  # fmt: skip
        state |= {"absmax": torch.empty(blocks, dtype=torch.uint8), "offset": torch.empty(()), "state2": scales}
    else:
        state |= {"absmax": torch.empty(blocks)}
    packed = torch.empty((-(-numbers // (2 * storage.itemsize)), 1), dtype=storage)
    layer.weight = Params4bit(packed, quant_state=QuantState(**state), blocksize=BLOCK, compress_statistics=tuning.double_quant,
                              quant_type=tuning.quant_type, quant_storage=storage, bnb_quantized=True, module=layer)  # fmt: skip
    layer.compute_dtype, layer.compute_type_is_set = compute, True
    layer.quant_state = layer.weight.quant_state


def _halve(layer: Any) -> None:
    from bitsandbytes.nn import Int8Params

    packed = torch.empty((layer.out_features, layer.in_features), dtype=torch.int8)
    layer.weight = Int8Params(packed, requires_grad=False, has_fp16_weights=False)
    layer.state.CB, layer.state.SCB = packed, torch.empty(layer.out_features)


def scales_of(state: Any) -> list[Tensor]:
    """What a 4-bit weight holds beside its packed numbers, of its `quant_state`."""
    inner = [state.state2.absmax, state.state2.code, state.offset] if state.nested else []
    return [state.absmax, state.code, *inner]
