"""PanGu-alpha's logits for one row without padding, written down from the equations: one token, one head at a time, no transformers."""

import math

import torch
from torch import Tensor


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + eps) * weight + bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(queries: list[Tensor], keys: list[Tensor], values: list[Tensor], heads: int) -> list[Tensor]:
    """Each of T vectors [H] looks at itself and at those before it."""
    width = queries[0].numel() // heads
    out = []
    for t, query in enumerate(queries):
        parts = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = torch.stack([query[part] @ keys[j][part] / math.sqrt(width) for j in range(t + 1)])
            shares = torch.exp(scores - scores.max())
            shares = shares / shares.sum()
            parts.append(sum(shares[j] * values[j][part] for j in range(t + 1)))
        out.append(torch.cat(parts))
    return out


def pangu_logits(weights: dict[str, Tensor], ids: list[int], layers: int, heads: int) -> Tensor:
    """[T, V] float64."""

    def linear(name: str, x: Tensor) -> Tensor:
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    embedding = weights["transformer.wte.weight"]
    x = [embedding[token] + weights["transformer.wpe.weight"][t] for t, token in enumerate(ids)]
    for layer in range(layers):
        at = f"transformer.h.{layer}"
        last = layer == layers - 1
        if last:
            x = [norm("transformer.ln_f", v) for v in x]
        seen = [norm(f"{at}.ln_1", v) for v in x]
        asking = [weights["transformer.wqe.weight"][t] for t in range(len(ids))] if last else seen
        queries = [linear(f"{at}.attn.q_proj", v) for v in asking]
        keys = [linear(f"{at}.attn.k_proj", v) for v in seen]
        values = [linear(f"{at}.attn.v_proj", v) for v in seen]
        x = [v + linear(f"{at}.attn.c_proj", a) for v, a in zip(x, attention(queries, keys, values, heads), strict=True)]
        x = [v + linear(f"{at}.mlp.c_proj", gelu(linear(f"{at}.mlp.c_fc", norm(f"{at}.ln_2", v)))) for v in x]
    return torch.stack([embedding @ v for v in x])
