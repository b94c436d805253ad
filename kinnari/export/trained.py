"""Exports after sharded training: only trained tensors are gathered, and the model is put together again on the CPU."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.models.load import load_model
from kinnari.models.spec import ModelSpec
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config


def rebuild_from_state(
    spec: ModelSpec,
    tuning: Tuning,
    trainable_state: Mapping[str, Tensor],
    *,
    base_dtype: torch.dtype,
    compute_dtype: torch.dtype,
    seed: int,
    partly_frozen: bool = False,
) -> PreTrainedModel | PeftModel:
    """The trained model on the CPU in eval mode: base loaded afresh, trained tensors put in.

    Args:
        trainable_state: full (unsharded) tensors under the names `named_parameters` gives them in the tuned model.
        base_dtype: dtype the base was trained in; the dequantised weights depend on it.
        compute_dtype: dtype of the products with a 4-bit base.
        seed: seed of a toy's weights.
        partly_frozen: the run trained less than its tuning names; what the state lacks is as it was at the beginning.

    Raises:
        ConfigError: the names or shapes of `trainable_state` are not those of the trained parameters.
    """
    base = load_model(spec, dtype=base_dtype, quantization=quantization_config(tuning, compute_dtype, sharded=False), seed=seed)
    # the weights come from the state; checkpointing and the folder the adapter once started from play no part
    model = apply_tuning(base, replace(tuning, gradient_checkpointing=False), spec)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    odd = sorted(trainable_state.keys() - trained.keys() if partly_frozen else trained.keys() ^ trainable_state.keys())
    if odd:
        raise ConfigError(
            f"The trained state does not belong to model {spec.name} with tuning {tuning.name}: {len(odd)} names are "
            f"on one side only, such as {odd[0]}. Use the model and tuning settings of the run that wrote it."
        )
    with torch.no_grad():
        for name, tensor in trainable_state.items():
            if trained[name].shape != tensor.shape:
                raise ConfigError(f"{name} has shape {tuple(tensor.shape)}, not {tuple(trained[name].shape)}.")
            trained[name].copy_(tensor)
    return model.eval()
