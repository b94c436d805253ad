"""XGLM's attention on SDPA; transformers 5.23 has `XGLMAttention` with eager attention alone."""

from typing import Any

from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.models.xglm.modeling_xglm import XGLMAttention

from kinnari.models.attention.kernel import attend


class SdpaXGLMAttention(XGLMAttention):
    """The same layer, which never has the weights as a matrix: `output_attentions` finds none, as with SDPA everywhere."""

    def forward(  # type: ignore[override]  # the superclass names every argument that any model's call may carry
        self,
        hidden_states: Tensor,
        key_value_states: Tensor | None = None,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """[B, Q, hidden] and a mask [B, 1, Q, K] (bool or additive; None is causal) -> [B, Q, hidden]."""
        batch, length, _ = hidden_states.shape
        query, key, value = (
            projection(hidden_states).view(batch, length, -1, self.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)  # type: ignore[arg-type]  # annotated as bool
        dropout = self.dropout if self.training and self.dropout else 0.0
        context = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        return self.out_proj(context.reshape(batch, length, -1)), None


def install_sdpa(model: PreTrainedModel) -> None:
    """Every attention layer becomes a `SdpaXGLMAttention`."""
    for module in model.modules():
        if type(module) is XGLMAttention:
            module.__class__ = SdpaXGLMAttention


def keep_eager(model: PreTrainedModel) -> None:
    """Nothing to do: eager attention takes the masks of packed rows as it is."""
