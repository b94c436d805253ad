"""Scores of a trained reward model: an adapter on the policy's own backbone, or a model of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from kinnari.models.backbone import last_hidden_states
from kinnari.models.head import LossHead, base_model_of
from kinnari.models.positions import learned_positions
from kinnari.models.reward import RewardSettings, pooled, read_rows
from kinnari.models.scalar_head import ScalarHead
from kinnari.rollouts.rollout import Rollout
from kinnari.text.batches import Batch
from kinnari.text.conversation import Message
from kinnari.text.pair_batches import row_tensors
from kinnari.text.records import Tokens

log = logging.getLogger(__name__)

Encode = Callable[[Sequence[Sequence[Message]]], list[Tokens]]


@contextmanager
def adapter_in_use(model: nn.Module, name: str) -> Iterator[None]:
    """Within the block the adapter `name` computes in place of the trained one. PEFT's own switch would change what takes a gradient."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    before = [layer._active_adapter for layer in layers]
    for layer in layers:
        layer._active_adapter = [name]
    try:
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active


class ModelReward:
    """rollouts -> scores of a reward model.

    The conversation is written again from its text, so that a reward model may have another tokenizer and template than the policy.

    Args:
        model, loss_head: the backbone and what `kinnari.models.backbone.head_of` returned for it.
        head: the reward head.
        settings: how a row is pooled, and what of the conversation is scored.
        encode: conversations that end in an answer -> what is scored of them, by the reward model's own tokenizer and template.
        pad_id: of its tokenizer.
        batch_size: rows of a forward.
        adapter: name of its adapter where the backbone is the policy's; None where it has the model for itself.
        begins_critic: whether the backbone is built as the policy's and reads its tokens, so that a critic may begin with its weights.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_head: LossHead | None,
        head: ScalarHead,
        settings: RewardSettings,
        encode: Encode,
        *,
        pad_id: int,
        batch_size: int = 8,
        adapter: str | None = None,
        begins_critic: bool = False,
    ) -> None:
        self.model, self.loss_head, self.head, self.settings = model, loss_head, head, settings
        self.encode, self.pad_id, self.batch_size, self.adapter = encode, pad_id, batch_size, adapter
        self.begins_critic = begins_critic
        self.config = base_model_of(model).config
        self.seq2seq = bool(self.config.is_encoder_decoder)
        self._told = False

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return self.scores(self.encode([(*r.prompt.messages, Message("assistant", r.text)) for r in rollouts]))

    def scores(self, rows: Sequence[Tokens]) -> list[float]:
        """Scores of encoded conversations, longest first in batches; in the order given."""
        rows = self._fitting(rows)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i].input_ids))
        found: dict[int, float] = {}
        in_use = nullcontext() if self.adapter is None else adapter_in_use(self.model, self.adapter)
        with torch.no_grad(), in_use:
            for start in range(0, len(order), self.batch_size):
                members = order[start : start + self.batch_size]
                found |= dict(zip(members, self._scores([rows[i] for i in members]).tolist(), strict=True))
        return [found[i] for i in range(len(rows))]

    def _fitting(self, rows: Sequence[Tokens]) -> list[Tokens]:
        """The rows, those beyond the learned positions without what follows their first token; its tokenizer may count otherwise."""
        most = learned_positions(self.config)
        long = 0 if most is None else sum(len(row.input_ids) > most for row in rows)
        if most is None or not long:
            return list(rows)
        if not self._told:
            log.warning("%d of %d answers are longer than the %d positions of the reward model; it reads their ends", long, len(rows), most)
            self._told = True
        return [ended(row, most) for row in rows]

    def _scores(self, rows: Sequence[Tokens]) -> Tensor:
        both = [(np.asarray(row.input_ids), np.asarray(row.trained)) for row in rows]
        ids, mask, labels = (part.to(self.head.weight.device) for part in row_tensors(both, self.pad_id, seq2seq=self.seq2seq))
        batch = Batch(input_ids=ids, attention_mask=mask, labels=labels, record_ids=[], step_tokens=len(rows))
        read = read_rows(batch, self.config)
        hidden = last_hidden_states(self.model, self.loss_head, **read.inputs)
        return pooled(self.settings, self.head(hidden), read.mask).cpu()


def ended(row: Tokens, most: int) -> Tokens:
    """The first token of a row (BOS) and the last ones, `most` in all."""
    ids, trained = np.asarray(row.input_ids), np.asarray(row.trained)
    kept = np.r_[0, len(ids) - most + 1 : len(ids)] if len(ids) > most else np.arange(len(ids))
    return Tokens(ids[kept], trained[kept], cut=len(ids) > most)


def share_backbone(policy: Any, folder: Any, name: str = "reward") -> bool:
    """Load a LoRA reward adapter onto the policy's backbone; False where the policy has no adapters.

    The trained adapter stays the active one and the only one that takes gradients.
    """
    if not isinstance(policy, PeftModel):
        return False
    policy.load_adapter(str(folder), name, is_trainable=False)
    for key, parameter in policy.named_parameters():
        if f".{name}." in key:
            parameter.requires_grad_(False)
    return True
