"""What transformers made of a checkpoint: every weight there, none left over that matters, all of them numbers."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.models.architectures import kind_of
from kinnari.models.quantized import is_quantized_parameter

log = logging.getLogger(__name__)


def check_complete(model: PreTrainedModel, source: str, info: Mapping[str, Any]) -> None:
    """Raises ConfigError for weights that are absent, of another shape, or left over in the stack of blocks.

    transformers only warns: absent weights become random numbers, and those left over (more blocks than config.json says, biases
    the model was not told of) are forgotten, which is another model than the checkpoint's.

    Args:
        info: what `from_pretrained(output_loading_info=True)` returns beside the model.
    """
    absent = sorted(info["missing_keys"])
    misfits = sorted(str(key) for key in info["mismatched_keys"])
    kind = kind_of(model.config)
    if absent or misfits:
        raise ConfigError(
            f"{source} is no complete {kind} model: {len(absent)} weights are missing and {len(misfits)} have another shape, such as "
            f"{', '.join((absent + misfits)[:3])}. They would be random numbers. Take the whole checkpoint, with its "
            "language-model head."
        )
    extra = sorted(info["unexpected_keys"])
    lost = [key for key in extra if _belongs_to_blocks(model, key)]
    if lost:
        raise ConfigError(
            f"{source} holds {len(lost)} weights that its config.json has no place for, such as {', '.join(lost[:3])}: it describes "
            "another model (fewer blocks, or blocks of another kind). Use the config.json that came with the weights."
        )
    if extra:
        log.warning("%s holds %d weights that this model does not use, such as %s.", source, len(extra), ", ".join(extra[:3]))


def _belongs_to_blocks(model: nn.Module, key: str) -> bool:
    """Whether `key` names a weight or bias within the repeated blocks; saved masks and tables of positions do not count."""
    stack = re.match(r"(.*?)\.\d+\.", key)
    if stack is None or not key.endswith((".weight", ".bias")) or re.search(r"\.(attn|attention|self_attention)\.(masked_)?bias$", key):
        return False
    stacks = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    return any(name == stack[1] or name.endswith(f".{stack[1]}") or stack[1].endswith(f".{name}") for name in stacks)


def check_finite(model: PreTrainedModel, source: str) -> None:
    """Raises ConfigError where a floating-point weight holds NaN or infinity: every loss would be NaN.

    Reads each weight once, two passes without a copy.
    """
    for name, parameter in model.named_parameters():
        # packed 4-bit numbers may be kept in a floating-point dtype, where their bits mean nothing
        if is_quantized_parameter(parameter) or not parameter.is_floating_point() or parameter.is_meta or parameter.numel() == 0:
            continue
        with torch.no_grad():
            smallest, largest = parameter.aminmax()
        if not (torch.isfinite(smallest) and torch.isfinite(largest)):
            raise ConfigError(
                f"{name} of {source} holds NaN or infinite numbers in {str(parameter.dtype).removeprefix('torch.')}: every loss would be "
                "NaN. If the checkpoint is bfloat16 and loaded as float16, its range was left: set model.dtype=float32 or bfloat16. "
                "Otherwise the file is damaged; copy or download it again."
            )
