"""The penalties that endpoints know beside the repetition penalty: by what was generated, however often, and by token."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import LogitsProcessor


class Penalties(LogitsProcessor):
    """Logits minus presence (once) and frequency (per occurrence) of what was generated, plus biases.

    Args:
        begin: column of `input_ids` in which answers begin; as with the endpoints, only what was generated counts.
        frequency: taken from a token's logit for each time it was generated.
        presence: taken once from the logit of each token that was generated.
        logit_bias: added to the logits of these tokens; ids outside of the vocabulary are ignored.
    """

    def __init__(self, begin: int, *, frequency: float = 0.0, presence: float = 0.0, logit_bias: Mapping[int, float] | None = None) -> None:
        self.begin, self.frequency, self.presence, self.logit_bias = begin, frequency, presence, dict(logit_bias or {})

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V]."""
        said = input_ids[:, self.begin :]
        counts = torch.zeros_like(scores).scatter_add_(1, said, torch.ones_like(said, dtype=scores.dtype))
        scores = scores - self.frequency * counts - self.presence * (counts > 0)
        for token, bias in self.logit_bias.items():
            if 0 <= token < scores.shape[1]:
                scores[:, token] += bias
        return scores
