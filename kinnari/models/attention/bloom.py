"""Bloom's attention on SDPA, with ALiBi as further columns of query and key instead of a bias of size heads x T x T.

ALiBi (Press et al., arXiv 2108.12409) adds slope * (j - i) to the score of query i and key j. Softmax does not see what is added to
a whole row, so slope * j will do, and that is a product of one number per query and one per key:

    [q_i, c] @ [k_j, slope * j / (c * scaling)] * scaling  =  q_i @ k_j * scaling + slope * j

So any kernel computes it, flash kernels with `is_causal` among them, and no bias exists. In bfloat16 one number has 8 bits, too few for
neighbours beyond position 256 to differ; three columns hold the number as a sum (24 bits), and the kernel adds them in float32.
transformers' eager attention rounds the bias to bfloat16 instead: in half precision the two differ, and this one is the nearer to
float64.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, PreTrainedModel
from transformers.models.bloom.modeling_bloom import BloomAttention, BloomModel, build_alibi_tensor, dropout_add

from kinnari.models.attention.kernel import attend, visible

QUERY = 16.0  # `c` above; a power of two, that float16 (65,504 at most) may hold slope * j / (c * scaling) up to 100,000 tokens
ALIGNMENT = 8  # width of heads, in elements, that CUDA's fused kernels ask for


class SdpaBloomAttention(BloomAttention):
    """The same layer, which never has the weights as a matrix: `output_attentions` finds none, as with SDPA everywhere."""

    def forward(
        self,
        hidden_states: Tensor,
        residual: Tensor,
        alibi: Tensor,
        attention_mask: Tensor | None,
        layer_past: Cache | None = None,
        use_cache: bool = False,
        output_attentions: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """[B, Q, hidden], residual of the same shape and a mask [B, 1, Q, K] (None is causal) -> [B, Q, hidden].

        `alibi` are the keys' positions, [B, K] int64, from `key_positions`. Without a 2-D mask the model does not ask for them and
        hands over its own bias, floats: then positions count from 0.
        """
        query, key, value = self._reshape(self.query_key_value(hidden_states))
        if layer_past is not None:
            key, value = layer_past.update(key, value, self.layer_idx)  # type: ignore[arg-type]
        if alibi.is_floating_point():
            alibi = torch.arange(key.shape[2], device=key.device)[None]
        slopes = alibi_slopes(self.num_heads, key.device)
        columns = bias_columns(alibi, slopes, self.inv_norm_factor, self.head_dim, key.dtype)
        width = columns.shape[-1]
        context = attend(
            self,
            pad(query, (0, width), value=QUERY),  # columns of zeros on the key's side cancel what is too many
            torch.cat((key, columns.expand(*key.shape[:-1], width)), dim=-1),
            pad(value, (0, width)),  # flash kernels want three equal widths
            attention_mask,
            dropout=self.attention_dropout.p if self.training else 0.0,
            scaling=self.inv_norm_factor,
        )
        context = context[..., : self.head_dim].reshape(hidden_states.shape)
        return dropout_add(self.dense(context), residual, self.hidden_dropout, self.training), None


def bias_columns(positions: Tensor, slopes: Tensor, scaling: float, head_dim: int, dtype: torch.dtype) -> Tensor:
    """slope * position / (QUERY * scaling) as numbers of `dtype` whose sum it is, then zeros up to an aligned width.

    Args:
        positions: [B or 1, K] int64.
        slopes: [H] float32.
        scaling: what the kernel multiplies scores with.
        head_dim: columns of a key before these.
        dtype: that of the keys.

    Returns:
        [B or 1, H, K, W], W the least number for which head_dim + W is divisible by 8.
    """
    exact = torch.promote_types(dtype, torch.float32)
    rest = slopes[None, :, None].to(exact) * positions[:, None, :].to(exact) / (QUERY * scaling)
    parts = []
    for _ in range(1 if dtype == exact else 3):
        parts.append(rest.to(dtype))
        rest = rest - parts[-1].to(exact)
    return pad(torch.stack(parts, dim=-1), (0, -(head_dim + len(parts)) % ALIGNMENT))


@cache
def alibi_slopes(heads: int, device: torch.device) -> Tensor:
    """[heads] float32, those of transformers: its bias at position 1."""
    return build_alibi_tensor(torch.ones(1, 2, dtype=torch.int64, device=device), heads, torch.float32)[:, 0, 1]


def key_positions(attention_mask: Tensor, num_heads: int = 0, dtype: torch.dtype | None = None) -> Tensor:
    """Positions of keys, in the place of `BloomModel.build_alibi_tensor`, whose arguments these are.

    Args:
        attention_mask: [B, K], 1 for tokens; or [B, 1, Q, K], bool or additive. The position of the last Q tokens is the number of
            those before them that they see: exact for the masks of `kinnari.models.packing` and `kinnari.models.shared_prefix`, and
            of trees (`kinnari.evaluation.likelihood`). Tokens before them are cached, and count from 0.

    Returns:
        [B, K] int64.
    """
    if attention_mask.dim() == 2:
        tokens = attention_mask.long()
        return (tokens.cumsum(-1) - 1) * tokens
    queries, keys = attention_mask.shape[-2:]
    cached = torch.arange(keys - queries, device=attention_mask.device).expand(attention_mask.shape[0], -1)
    return torch.cat((cached, visible(attention_mask[:, 0]).tril(keys - queries - 1).sum(dim=-1)), dim=1)


def packed_alibi(attention_mask: Tensor, num_heads: int, dtype: torch.dtype) -> Tensor:
    """`BloomModel.build_alibi_tensor` that takes the 4-D mask of packed rows too; [B * heads, 1, K] for eager attention."""
    if attention_mask.dim() == 2:
        return build_alibi_tensor(attention_mask, num_heads, dtype)
    bias = alibi_slopes(num_heads, attention_mask.device)[None, :, None] * key_positions(attention_mask)[:, None, :]
    return bias.flatten(0, 1)[:, None].to(dtype)


def install_sdpa(model: PreTrainedModel) -> None:
    """Every attention layer becomes a `SdpaBloomAttention`, and the model hands them positions instead of a bias."""
    for module in model.modules():
        if type(module) is BloomAttention:
            module.__class__ = SdpaBloomAttention
        elif isinstance(module, BloomModel):
            module.build_alibi_tensor = key_positions  # type: ignore[method-assign]


def keep_eager(model: PreTrainedModel) -> None:
    """The layers stay; a 4-D mask becomes possible."""
    for module in model.modules():
        if isinstance(module, BloomModel):
            module.build_alibi_tensor = packed_alibi  # type: ignore[method-assign]
