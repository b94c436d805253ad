"""Toy models in pairs of equal weights (eager, SDPA), and attention written from its equations in float64."""

import copy
import math

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from kinnari.models.attention import install_attention

SHAPES = {
    "xglm": {"vocab_size": 97, "d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 64,
             "dropout": 0.0, "attention_dropout": 0.0},
    "bloom": {"vocab_size": 97, "hidden_size": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 3},
    # ALiBi's slopes have another rule where heads are no power of two
    "bloom, 6 heads": {"vocab_size": 97, "hidden_size": 48, "n_layer": 2, "n_head": 6, "pad_token_id": 3},
}  # fmt: skip


def eager_toy(name: str, **changes) -> PreTrainedModel:
    """A model in eval mode whose attention is far from uniform (the usual init is so small that a wrong mask could hide)."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(name.split(",")[0], **{**SHAPES[name], **changes})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        parameter.data.mul_(4 if parameter.dim() > 1 else 1)
    return model


def pair(name: str, **changes) -> tuple[PreTrainedModel, PreTrainedModel]:
    eager = eager_toy(name, **changes)
    sdpa = copy.deepcopy(eager)
    install_attention(eager, "eager")
    install_attention(sdpa, "sdpa")
    return eager, sdpa


def padded_batch(side: str, length: int = 12) -> tuple[Tensor, Tensor | None, Tensor]:
    """ids [3, length], their attention mask (None without padding), and which places are tokens [3, length] bool."""
    ids = torch.randint(4, 97, (3, length), generator=torch.Generator().manual_seed(1))
    tokens = torch.ones(3, length, dtype=torch.bool)
    if side == "none":
        return ids, None, tokens
    if side == "holes":
        tokens[0, 2], tokens[1, 5:8] = False, False
        return ids, tokens.long(), tokens
    for row, absent in enumerate((0, 3, length - 2)):
        tokens[row, slice(0, absent) if side == "left" else slice(length - absent, length)] = False
    return torch.where(tokens, ids, 3), tokens.long(), tokens


def gradients(model: PreTrainedModel, places: Tensor, **inputs) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits at `places`, and the gradient of a loss over them for every parameter."""
    model.zero_grad()
    logits = model(use_cache=False, **inputs).logits[places]
    logits.float().square().mean().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


def largest_gap(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left)


def slow_attention(query: Tensor, key: Tensor, value: Tensor, slopes: list[float], sees) -> Tensor:
    """One softmax per row, head and query over the keys it sees: Vaswani et al. 2017, equation 1; ALiBi section 3 of arXiv 2108.12409.

    Args:
        query: [B, H, T, D] float64, as are `key` and `value`.
        slopes: one per head; zeros without ALiBi.
        sees: (row, query, key) -> bool.
    """
    out = torch.zeros_like(query)
    for b in range(query.shape[0]):
        for h in range(query.shape[1]):
            for i in range(query.shape[2]):
                seen = [j for j in range(key.shape[2]) if sees(b, i, j)]
                scores = [
                    sum(float(q) * float(k) for q, k in zip(query[b, h, i], key[b, h, j], strict=True)) / math.sqrt(query.shape[-1])
                    + slopes[h] * (j - i)
                    for j in seen
                ]
                highest = max(scores, default=0.0)
                weights = [math.exp(score - highest) for score in scores]
                for j, weight in zip(seen, weights, strict=True):
                    out[b, h, i] += weight / sum(weights) * value[b, h, j]
    return out


def paper_slopes(heads: int) -> list[float]:
    """2^(-8/n), 2^(-16/n), ... for n heads; between powers of two, those of the power below, then every other one of the power above."""

    def geometric(n: int) -> list[float]:
        return [2.0 ** (-8.0 * (i + 1) / n) for i in range(n)]

    below = 2 ** (heads.bit_length() - 1)
    return geometric(below) + geometric(2 * below)[::2][: heads - below]
