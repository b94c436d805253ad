"""The language-model head of the families that transformers lacks: backbone, one linear layer, and the loss of labels moved inside."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple


class CausalHead:
    """The forward of a causal language model; stands before the family's PreTrainedModel among the bases of a class.

    The class has a backbone under its `base_model_prefix`, and `lm_head`.
    """

    base_model: Any
    config: Any
    loss_function: Any
    lm_head: nn.Linear

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, V], position t predicts token t + 1; with labels the mean loss too. Other arguments: those of the backbone.

        Args:
            labels: [B, T] int64 on the tokens themselves, -100 where not trained; they are moved inside, as for every causal model, so
                they may be the input_ids.
            logits_to_keep: logits of so many last positions only, or of these indices; 0 for all.
        """
        outputs = self.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None if labels is None else self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
