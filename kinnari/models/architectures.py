"""The three kinds of architecture: which a config describes, and the class of transformers that loads it."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
)

from kinnari.models.spec import Architecture

AUTO_CLASSES: dict[Architecture, Any] = {"causal": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM, "encoder": AutoModel}


def kind_of(config: PreTrainedConfig) -> Architecture:
    """`ModelSpec.architecture` of what a config describes.

    An encoder is what transformers can train on masked words; such a family turned into a decoder (`is_decoder`) is a decoder.
    """
    if config.is_encoder_decoder:
        return "seq2seq"
    return "encoder" if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False) else "causal"


def without_pooling(model_class: Any) -> dict[str, bool]:
    """Arguments that leave out the pooling layer of a class that has one.

    Pre-training on masked words does not train it: read from such a checkpoint it would be random numbers.
    """
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(model_class.__init__).parameters else {}
