"""One number for every token: what a reward or a value head reads off the last hidden states."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ScalarHead(nn.Linear):
    """[B, T, H] -> [B, T] float32, without bias, in float32 whatever the precision around it.

    It stands beside the model, not in it: the same backbone may carry several, and exports of the model know nothing of them.

    Args:
        hidden_size: H.
        zero: start at 0 everywhere, as a value head may; else from N(0, 1 / (H + 1)), so that scores begin at about unit size
            (Stiennon et al. 2020, arXiv 2009.01325, appendix B.1).
    """

    def __init__(self, hidden_size: int, *, zero: bool = False) -> None:
        super().__init__(hidden_size, 1, bias=False)
        with torch.no_grad():
            if zero:
                self.weight.zero_()
            else:
                self.weight.normal_(0.0, 1.0 / math.sqrt(hidden_size + 1))

    def forward(self, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            return super().forward(hidden.to(self.weight.dtype)).squeeze(-1)
