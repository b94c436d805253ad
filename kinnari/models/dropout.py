"""Training without dropout: for methods that compare a model with itself, a random mask would be the largest difference."""

from __future__ import annotations

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


def train_without_dropout(model: nn.Module) -> None:
    """Eval mode everywhere but in the flag by which blocks decide to compute their activations again in the backward.

    Dropout of transformers is not always a module (attention takes a probability while its module is in training mode), so turning
    modules off would leave some on.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True  # of itself alone: `train()` would reach what is inside
