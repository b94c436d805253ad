"""Scores of a trained reward model: an adapter on the policy's own backbone, or a model of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from kinnari.models.backbone import last_hidden_states
from kinnari.models.head import LossHead
from kinnari.models.reward import RewardSettings, pooled
from kinnari.models.scalar_head import ScalarHead
from kinnari.rollouts.rollout import Rollout
from kinnari.text.batches import pad_rows
from kinnari.text.conversation import Message

Encode = Callable[[Sequence[Sequence[Message]]], list[list[int]]]


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
        model, loss_head: the backbone and what `install_loss_head` returned for it.
        head: the reward head.
        settings: how a row is pooled, and what of the conversation is scored.
        encode: conversations that end in an answer -> token ids, by the reward model's own tokenizer and template.
        pad_id: of its tokenizer.
        batch_size: rows of a forward.
        adapter: name of its adapter where the backbone is the policy's; None where it has the model for itself.
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
    ) -> None:
        self.model, self.loss_head, self.head, self.settings = model, loss_head, head, settings
        self.encode, self.pad_id, self.batch_size, self.adapter = encode, pad_id, batch_size, adapter

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        answers = [Message("assistant", r.text) for r in rollouts]
        prompts = [() if self.settings.input == "answer" else r.prompt.messages for r in rollouts]
        rows = self.encode([(*prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])
        return self.scores(rows)

    def scores(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Scores of rows of token ids, longest first in batches; in the order given."""
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        found: dict[int, float] = {}
        in_use = nullcontext() if self.adapter is None else adapter_in_use(self.model, self.adapter)
        with torch.no_grad(), in_use:
            for start in range(0, len(order), self.batch_size):
                members = order[start : start + self.batch_size]
                found |= dict(zip(members, self._scores([rows[i] for i in members]).tolist(), strict=True))
        return [found[i] for i in range(len(rows))]

    def _scores(self, rows: Sequence[Sequence[int]]) -> Tensor:
        device = self.head.weight.device
        ids, mask = (torch.from_numpy(part).to(device) for part in pad_rows(rows, self.pad_id))
        hidden = last_hidden_states(self.model, self.loss_head, input_ids=ids, attention_mask=mask)
        return pooled(self.settings, self.head(hidden), mask).cpu()


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
