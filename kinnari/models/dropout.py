"""Training without dropout: for methods that compare a model with itself, a random mask would be the largest difference."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


def train_without_dropout(model: nn.Module) -> None:
    """Eval mode everywhere but in blocks that compute their activations again in the backward, which ask for training mode to do so.

    Dropout of transformers is not always a module: attention takes a probability while its module is in training mode, the blocks of
    XGLM and OPT call the function with a probability of their own, those of Falcon with one of the config. In a block left in training
    mode these become 0; the model's own config, which is saved with it, stays.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing:
            module.training = True  # of itself alone: `train()` would reach what is inside
            _forget_dropout(module)
            if "config" in vars(module):
                own: Any = copy.copy(module.config)
                _forget_dropout(own)
                module.config = own


def _forget_dropout(holder: Any) -> None:
    for name, value in list(vars(holder).items()):
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop") or name == "layerdrop"):
            setattr(holder, name, 0.0)
