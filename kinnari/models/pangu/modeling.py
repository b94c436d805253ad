"""PanGu-alpha: a GPT-2-like decoder whose last block asks with the position instead of the hidden state.

    x = wte[ids] + wpe[positions]
    x = x + Attention(LN1 x);  x = x + MLP(LN2 x)        every block but the last
    x = ln_f(x)                                          before the last block, not after it
    q = q_proj(wqe[positions]),  k, v from LN1 x         the query layer; residuals as in the other blocks
    logits = x wteᵀ                                      no LayerNorm in between, no bias

Source: PanGu-alpha, arXiv 2104.12369; key names of the public checkpoints (transformer.h.N.attn.q_proj and so on). Padding is masked
whatever the dtype of the mask and on either side; the public modelling file lets 0/1 masks of int64 through as scores.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from kinnari.models.causal_head import CausalHead
from kinnari.models.pangu.configuration import PanguConfig


def eager_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, dropout: float = 0.0, **_: Any
) -> tuple[Tensor, Tensor]:
    """Plain attention: query [B, N, Q, D], key and value [B, N, K, D], additive mask [B or 1, 1, Q, K] -> [B, Q, N, D], [B, N, Q, K].

    The softmax is computed in float32 at least, the mask added there: in float16 it would overflow to rows of -inf.
    """
    scores = torch.matmul(query, key.transpose(-1, -2)) * scaling
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is not None:
        scores = scores + mask
    weights = nn.functional.dropout(scores.softmax(-1).to(value.dtype), p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2), weights


def _into_residual(projection: Any) -> nn.Linear:
    """Marks a projection that adds to the residual stream, for its initial weights.

    The mark is on the layer, since transformers 5.23 calls `_init_weights` of models that are not its own only on modules with
    parameters directly in them.
    """
    projection.into_residual = True
    return projection


class PanguAttention(nn.Module):
    """Causal self-attention with four projections, all with bias."""

    is_causal = True

    def __init__(self, config: PanguConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.head_dim = config.hidden_size // config.num_heads
        self.scaling = self.head_dim**-0.5
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.c_proj = _into_residual(nn.Linear(config.hidden_size, config.hidden_size))
        self.attn_dropout = nn.Dropout(config.attn_pdrop)  # a module, so that who turns all dropout off finds it
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(
        self, hidden_states: Tensor, query_input: Tensor, attention_mask: Tensor | None, past_key_values: Cache | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """hidden_states [B, T, H] make keys and values, query_input [B, T, H] the queries -> [B, T, H], weights or None."""
        query, key, value = (
            projection(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection, x in ((self.q_proj, query_input), (self.k_proj, hidden_states), (self.v_proj, hidden_states))
        )
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        dropout = self.attn_dropout.p if self.training else 0.0
        out, weights = attention(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return self.resid_dropout(self.c_proj(out.flatten(-2))), weights


class PanguMLP(nn.Module):
    def __init__(self, config: PanguConfig) -> None:
        super().__init__()
        width = config.intermediate_size or 4 * config.hidden_size
        self.c_fc = nn.Linear(config.hidden_size, width)
        self.c_proj = _into_residual(nn.Linear(width, config.hidden_size))
        self.act = ACT2FN[config.activation_function]
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.act(self.c_fc(hidden_states))))


class PanguBlock(GradientCheckpointingLayer):
    """One block; given a query input it is the query layer."""

    def __init__(self, config: PanguConfig, layer_idx: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attn = PanguAttention(config, layer_idx)
        self.ln_2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = PanguMLP(config)

    def forward(
        self,
        hidden_states: Tensor,
        query_input: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[B, T, H] -> [B, T, H]. Queries come from LN1 of the hidden states, or from query_input [B, T, H] as it is."""
        normed = self.ln_1(hidden_states)
        attended, _ = self.attn(normed, normed if query_input is None else query_input, attention_mask, past_key_values, **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.ln_2(hidden_states))


class PanguPreTrainedModel(PreTrainedModel):
    config: PanguConfig
    config_class = PanguConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _no_split_modules = ["PanguBlock"]  # noqa: RUF012  the base class reads plain lists and dicts here and below
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _can_record_outputs = {  # noqa: RUF012
        "hidden_states": PanguBlock,
        "attentions": OutputRecorder(PanguAttention, layer_name=".attn", index=1),
    }
    # causal masks that the public checkpoints carry along
    _keys_to_ignore_on_load_unexpected = [r"\.attn\.(masked_)?bias$"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        super()._init_weights(module)
        if vars(module).get("into_residual"):
            # two residual paths a block: the sum over the depth keeps its variance (GPT-2)
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range / math.sqrt(2 * self.config.num_layers))


class PanguModel(PanguPreTrainedModel):
    """The backbone: last_hidden_state is what the head, a value head or a reward head reads; it is not layer-normed."""

    def __init__(self, config: PanguConfig) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.wpe = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.wqe = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList([PanguBlock(config, i) for i in range(config.num_layers)])
        self.ln_f = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.wte

    def set_input_embeddings(self, value: Any) -> None:
        self.wte = value

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states [B, T, H] of the last block.

        Args:
            input_ids: [B, T] int64; or inputs_embeds [B, T, H].
            attention_mask: [B, past + T], nonzero where a token is, of any dtype; or a full mask [B or 1, 1, T, past + T], boolean (or
                integer) where True sees, or floating to be added to the scores.
            position_ids: [B or 1, T] int64; None counts the tokens that the mask shows. Restarting numbers without mask and cache pack
                several records in a row.
            past_key_values: cache of the tokens before.

        Raises:
            ValueError: not exactly one of input_ids and inputs_embeds, or a position beyond the embedding.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.wte(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        if position_ids is None:
            position_ids = token_positions(attention_mask, past, inputs_embeds)
        self._check_positions(position_ids, past + inputs_embeds.shape[1])
        position_ids = position_ids.expand(inputs_embeds.shape[0], -1)
        mask = self._attention_mask(attention_mask, inputs_embeds, past_key_values, position_ids)
        hidden_states = self.drop(inputs_embeds + self.wpe(position_ids))
        for block in self.h[:-1]:
            hidden_states = block(hidden_states, None, mask, past_key_values=past_key_values, **kwargs)
        query_input = self.wqe(position_ids)
        hidden_states = self.h[-1](self.ln_f(hidden_states), query_input, mask, past_key_values=past_key_values, **kwargs)
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values if use_cache else None)

    def _check_positions(self, position_ids: Tensor, length: int) -> None:
        """Only rows longer than the embedding can go beyond it, so that short ones need no look at the numbers, a wait on a GPU.

        Tensors without numbers, on which a run is planned, are not looked at either.
        """
        rows = self.config.max_position_embeddings
        if length > rows and not isinstance(position_ids, FakeTensor) and int(position_ids.max()) >= rows:
            raise ValueError(
                f"{int(position_ids.max()) + 1} tokens are more than the {rows} positions of this model: cut or split the text"
            )

    def _attention_mask(self, mask: Tensor | None, inputs_embeds: Tensor, past_key_values: Cache | None, position_ids: Tensor) -> Any:
        """What the attention function wants: None, [B, 1, T, past + T] boolean for SDPA, or the same additive for eager."""
        if mask is None or mask.dim() != 4:
            return create_causal_mask(
                config=self.config,
                inputs_embeds=inputs_embeds,
                attention_mask=None if mask is None else mask != 0,
                past_key_values=past_key_values,
                position_ids=position_ids,
            )
        if mask.is_floating_point():
            return mask
        seen = mask != 0
        if self.config._attn_implementation != "eager":
            return seen
        lowest = torch.finfo(inputs_embeds.dtype).min
        return torch.zeros(mask.shape, dtype=inputs_embeds.dtype, device=mask.device).masked_fill(~seen, lowest)


def token_positions(attention_mask: Tensor | None, past: int, inputs_embeds: Tensor) -> Tensor:
    """Positions [B or 1, T] int64 of the tokens after `past` others: counted over the real tokens, 0 on padding before them."""
    length = inputs_embeds.shape[1]
    if attention_mask is None or attention_mask.dim() != 2:
        return torch.arange(past, past + length, device=inputs_embeds.device)[None]
    counted = (attention_mask != 0).long().cumsum(-1) - 1
    return counted.clamp(min=0)[:, -length:]


class PanguForCausalLM(CausalHead, PanguPreTrainedModel, GenerationMixin):
    """The backbone and a head without bias, which is the token embedding itself."""

    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012

    def __init__(self, config: PanguConfig) -> None:
        super().__init__(config)
        self.transformer = PanguModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
