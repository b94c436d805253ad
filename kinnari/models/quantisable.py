"""Linear layers that bitsandbytes would pass over, made ones it takes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.models.quantized import is_quantized_parameter


@contextmanager
def quantisable_layers(config: PreTrainedConfig, quantization: BitsAndBytesConfig | None) -> Iterator[None]:
    """Falcon is built with plain `nn.Linear` layers while its quantised weights are loaded.

    transformers 5.23 replaces layers of exactly that class, and Falcon's are a subclass that computes the same product in two steps: its
    "4-bit" model would be held in full precision, with a warning that names another library.
    """
    if quantization is None or config.model_type != "falcon":
        yield
        return
    from transformers.models.falcon import modeling_falcon

    own = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = nn.Linear  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = own  # type: ignore[misc]


def check_quantised(model: PreTrainedModel, quantization: BitsAndBytesConfig | None) -> None:
    """Raises ConfigError where few-bit weights were asked for and none came, which transformers only warns about."""
    if quantization is None or any(is_quantized_parameter(parameter) for parameter in model.parameters()):
        return
    raise ConfigError(
        f"No layer of this {model.config.model_type} model could be held in few bits: bitsandbytes quantises torch's own linear layers, "
        "and this architecture has none outside its head. Use strategy=lora."
    )
