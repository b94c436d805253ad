"""GLM-chinese (2022): one stack of blocks that reads a context with a blank from both sides and fills the blank from left to right.

    model = GLMForConditionalGeneration.from_pretrained(folder)
    logits = model(input_ids, attention_mask=attention_mask).logits    # logits[:, t] predict token t + 1, as for any causal model
    model.generate(**tokenizer.build_inputs_for_generation(["[CLS]...[MASK]..."]))

Positions and the mask are read from the ids (`kinnari.models.glm.inputs`), so training, reward models and generation call it as they
call every model. Parameter names are those of the public checkpoints. Source of the architecture: Du et al. 2022, "GLM: General
Language Model Pretraining with Autoregressive Blank Infilling".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from kinnari.errors import ConfigError
from kinnari.models.causal_head import CausalHead
from kinnari.models.glm.configuration import GLMConfig
from kinnari.models.glm.inputs import RowLayout, row_layout, seen_keys


def eager_attention_forward(
    module: GLMAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Attention with all its weights in memory: ([B, Q, heads, head_dim], weights [B, heads, Q, K])."""
    alpha = module.attention_scale
    scores = torch.matmul(query * (scaling / alpha), key.transpose(-1, -2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    if alpha > 1:
        scores = (scores - scores.amax(-1, keepdim=True)) * alpha
    weights = nn.functional.dropout(scores.softmax(-1).to(value.dtype), p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2), weights


class GLMAttention(nn.Module):
    """Multi-head self-attention with one matrix for query, key and value."""

    def __init__(self, config: GLMConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_scale = max(float(config.attention_scale), 1.0)
        self.is_causal = False
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.output_dropout = nn.Dropout(config.output_dropout_prob)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, past_key_values: Cache | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """[B, Q, H] and the mask [B, 1, Q, K] bool -> [B, Q, H] and, where eager, the weights."""
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (part.view(shape).transpose(1, 2) for part in self.query_key_value(hidden_states).chunk(3, dim=-1))
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attention_dropout_prob if self.training else 0.0
        attended, weights = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return self.output_dropout(self.dense(attended.reshape(*hidden_states.shape[:-1], -1))), weights


class GLMMLP(nn.Module):
    """Two matrices with the exact GELU between them."""

    def __init__(self, config: GLMConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 4 * config.hidden_size)
        self.dense_4h_to_h = nn.Linear(4 * config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.output_dropout_prob)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.dropout(self.dense_4h_to_h(nn.functional.gelu(self.dense_h_to_4h(hidden_states))))


class GLMBlock(GradientCheckpointingLayer):
    """x + Attention(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, config: GLMConfig, layer_idx: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.attention = GLMAttention(config, layer_idx)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.mlp = GLMMLP(config)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, past_key_values: Cache | None = None, **kwargs: Any) -> Tensor:
        attended, _ = self.attention(self.input_layernorm(hidden_states), attention_mask, past_key_values=past_key_values, **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class GLMTransformer(nn.Module):
    """Position tables, blocks and the last LayerNorm."""

    def __init__(self, config: GLMConfig) -> None:
        super().__init__()
        self.position_embeddings = nn.Embedding(config.max_sequence_length + 1, config.hidden_size)
        self.block_position_embeddings = nn.Embedding(config.max_sequence_length + 1, config.hidden_size)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout_prob)
        self.layers = nn.ModuleList([GLMBlock(config, i) for i in range(config.num_layers)])
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)

    def forward(
        self, embedded: Tensor, position_ids: Tensor, attention_mask: Tensor, past_key_values: Cache | None = None, **kwargs: Any
    ) -> Tensor:
        """[B, Q, H] word vectors, [B, 2, Q] positions and [B, 1, Q, K] bool -> [B, Q, H] after the last LayerNorm."""
        position, in_blank = position_ids.unbind(1)
        hidden_states = embedded + self.position_embeddings(position) + self.block_position_embeddings(in_blank)
        hidden_states = self.embedding_dropout(hidden_states)
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask, past_key_values=past_key_values, **kwargs)
        return self.final_layernorm(hidden_states)


class GLMPreTrainedModel(PreTrainedModel):
    """What all GLM-chinese models share."""

    config_class = GLMConfig
    base_model_prefix = "glm"
    supports_gradient_checkpointing = True
    _no_split_modules = ["GLMBlock"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = False
    _supports_attention_backend = False
    _can_record_outputs = {"hidden_states": GLMBlock, "attentions": GLMAttention}  # noqa: RUF012

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # in code outside of transformers, modules without parameters of their own (attention, MLP) would be passed over
        super()._initialize_weights(module)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # the two matrices that write into the residual stream start smaller, the deeper the model is
        std = self.config.initializer_range / math.sqrt(2 * self.config.num_layers)
        if isinstance(module, GLMAttention):
            init.normal_(module.dense.weight, mean=0.0, std=std)
        elif isinstance(module, GLMMLP):
            init.normal_(module.dense_4h_to_h.weight, mean=0.0, std=std)


class GLMModel(GLMPreTrainedModel):
    """The backbone: hidden states, without the head."""

    def __init__(self, config: GLMConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.transformer = GLMTransformer(config)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.word_embeddings = value  # type: ignore[assignment]  # an embedding, whatever its class

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
        """Hidden states [B, Q, H] after the last LayerNorm.

        Args:
            input_ids: [B, Q] int64; with a filled cache the new tokens alone, which must belong to the answer.
            attention_mask: [B, K], non-zero where there is a token, on whatever side the padding is; or the number of context tokens, a
                scalar or [B]; or [B, 1, Q, K], bool, 1 / 0 or additive, which then decides alone. None: no padding.
            position_ids: [B, 2, Q] int64, see `kinnari.models.glm.inputs`; None reads them from the ids. [B, Q] that restart with every
                record mark a packed row, where there is no 2-D attention_mask; with one, [B, Q] is not read: the row is one record.
            inputs_embeds: [B, Q, H] in place of input_ids, with position_ids and a 4-D attention_mask.

        Raises:
            ConfigError: a row longer than the position tables.
            ValueError: a filled cache without two-row positions; a static cache.
        """
        _check_arguments(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds)
        if use_cache and past_key_values is None and not (self.gradient_checkpointing and self.training):
            past_key_values = DynamicCache(config=self.config)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if inputs_embeds is None:
            inputs_embeds = self.word_embeddings(input_ids)
        layout = self._layout(input_ids, attention_mask, position_ids) if past == 0 and input_ids is not None else None
        if position_ids is None or position_ids.ndim != 3:
            if layout is None:
                raise ValueError("tokens that follow a filled cache need position_ids [B, 2, Q]: their blank stands in the cached part")
            position_ids = layout.positions
        self._check_positions(position_ids)
        hidden_states = self.transformer(
            inputs_embeds, position_ids, _visible(inputs_embeds, attention_mask, layout, past), past_key_values=past_key_values, **kwargs
        )
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values if use_cache else None)

    def _layout(self, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> RowLayout:
        padding = attention_mask if attention_mask is not None and attention_mask.ndim == 2 else None
        packed = position_ids if position_ids is not None and position_ids.ndim == 2 else None
        return row_layout(input_ids, self.config.blanks, padding, packed)

    def _check_positions(self, position_ids: Tensor) -> None:
        rows = self.config.max_sequence_length + 1
        if position_ids.shape[-1] > rows and int(position_ids.max()) >= rows:
            raise ConfigError(
                f"A row needs position {int(position_ids.max())}, and this GLM knows 0 to {rows - 1}; "
                f"set model.max_length={rows - 1} or lower."
            )


def _check_arguments(
    input_ids: Tensor | None, mask: Tensor | None, position_ids: Tensor | None, cache: Cache | None, embedded: Tensor | None
) -> None:
    if (input_ids is None) == (embedded is None):
        raise ValueError("give either input_ids or inputs_embeds")
    if embedded is not None and (position_ids is None or position_ids.ndim != 3 or mask is None or mask.ndim != 4):
        raise ValueError("inputs_embeds do not say where the blank is: give position_ids [B, 2, Q] and a 4-D attention_mask with them")
    if cache is not None and cache.is_compileable:
        raise ValueError("GLM needs a cache that grows with the answer; leave cache_implementation at its default")


def _visible(embedded: Tensor, mask: Tensor | None, layout: RowLayout | None, past: int) -> Tensor:
    """[B, 1, Q, K] bool, True where a query may see a key."""
    batch, length = embedded.shape[:2]
    if mask is not None and mask.ndim == 4:
        return seen_keys(mask.to(embedded.device))
    if mask is not None and mask.ndim < 2:
        if layout is None:
            raise ValueError("the number of context tokens says nothing of tokens that follow a filled cache; give a 2-D attention_mask")
        return layout.visible(mask.to(embedded.device).reshape(-1, 1).expand(batch, 1))
    if layout is not None:
        return layout.visible()
    columns = torch.arange(past + length, device=embedded.device)
    seen = (columns[None, :] <= columns[past:, None]).expand(batch, 1, -1, -1)
    if mask is None:
        return seen
    itself = columns[None, :] == columns[past:, None]
    return seen & ((mask[:, None, None, :] != 0) | itself)


class GLMForConditionalGeneration(CausalHead, GLMPreTrainedModel, GenerationMixin):
    """The language model: a backbone, and a head that is the word embedding itself.

    Context tokens see each other, so labels on them teach nothing.
    """

    _tied_weights_keys = {"lm_head.weight": "glm.word_embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: GLMConfig) -> None:
        super().__init__(config)
        self.glm = GLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self._end_answers()

    def _end_answers(self) -> None:
        """An answer ends with <|endofpiece|>; <|endoftext|>, the tokenizer's EOS, ends a text. Checkpoints do not say it."""
        own = self.generation_config
        ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id, self.config.eos_token_id]
        own.eos_token_id = sorted({self.config.eop_token_id, *(end for end in ends if isinstance(end, int))})
        own.pad_token_id = self.config.pad_token_id if own.pad_token_id is None else own.pad_token_id

    def adjust_generation_fn(self, *args: Any, **kwargs: Any) -> None:
        """As in transformers, which reads the checkpoint's generation config here and forgets ours."""
        super().adjust_generation_fn(*args, **kwargs)  # type: ignore[misc]  # its self is annotated as a protocol
        self._end_answers()

    def prepare_inputs_for_generation(  # type: ignore[override]  # tensors, as everyone passes them
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Inputs of one step: the tokens not yet cached, and their positions, read from the whole row.

        Raises:
            ValueError: an attention mask that is not 2-D, which says nothing of the tokens to come.
        """
        if attention_mask is not None and attention_mask.ndim != 2:
            raise ValueError("generate needs a 2-D attention_mask of real tokens; GLM finds context and answer by itself")
        if position_ids is None or position_ids.ndim != 3:
            position_ids = row_layout(input_ids, self.config.blanks, attention_mask).positions
        end = input_ids.shape[1]
        start = 0 if next_sequence_length is None else end - next_sequence_length
        kept = {name: value for name, value in kwargs.items() if name in ("use_cache", "logits_to_keep") and value is not None}
        return kept | {
            "input_ids": input_ids[:, start:].contiguous(),
            "position_ids": position_ids[..., start:end].contiguous(),
            "attention_mask": attention_mask,
            "past_key_values": past_key_values,
        }
