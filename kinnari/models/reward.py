"""What a reward model reads off a conversation, and what it learns by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from kinnari.errors import ConfigError
from kinnari.functional.pooling import at_last_token, mean_over_tokens
from kinnari.functional.reward_losses import divergence_losses, pairwise_losses
from kinnari.text.batches import Batch

Pooling = Literal["last", "mean", "divergence"]


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """How a backbone becomes a reward model.

    Args:
        freeze_fraction: share of the blocks, from the bottom, that is not trained; at least one block is.
        train_embeddings: whether the embeddings are, as in sunzeyeah/RLHF; frozen with everything below, the bottom keeps no activations.
        pooling: what a conversation's score is: that of its `last` real token, the `mean` over all of them, or, trained token by token
            from where the two answers part, again that of the last (`divergence`).
        margin: how much more the chosen answer must score before the loss rests.
        centering: weight of (chosen + rejected)^2, which keeps scores around 0; 0 for none.
        input: what is scored: the whole `conversation`, or the `answer` alone.
    """

    freeze_fraction: float = 0.7
    train_embeddings: bool = True
    pooling: Pooling = "last"
    margin: float = 0.0
    centering: float = 0.0
    input: Literal["conversation", "answer"] = "conversation"

    def __post_init__(self) -> None:
        if not 0 <= self.freeze_fraction < 1:
            raise ConfigError(f"reward.freeze_fraction={self.freeze_fraction} must be 0 or more and below 1: the top is always trained.")
        if self.pooling not in get_args(Pooling):
            raise ConfigError(f"reward.pooling={self.pooling} is unknown; choose one of {', '.join(get_args(Pooling))}.")
        if self.input not in ("conversation", "answer"):
            raise ConfigError(f"reward.input={self.input} is unknown; choose conversation or answer.")
        if self.centering < 0:
            raise ConfigError(f"reward.centering={self.centering} must not be negative; 0 turns it off.")


def pooled(settings: RewardSettings, scores: Tensor, attention_mask: Tensor) -> Tensor:
    """Scores [B, T] of tokens -> [B], one for each conversation."""
    pool = mean_over_tokens if settings.pooling == "mean" else at_last_token
    return pool(scores, attention_mask)


def pair_losses(settings: RewardSettings, scores: Tensor, rewards: Tensor, batch: Batch) -> Tensor:
    """Losses [P] in nats of pairs whose rows are neighbours.

    Args:
        scores: [2P, T], of every token.
        rewards: [2P], of every conversation.
    """
    chosen, rejected = rewards[0::2], rewards[1::2]
    if settings.pooling != "divergence":
        return pairwise_losses(chosen, rejected, margin=settings.margin, centering=settings.centering)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    return divergence_losses(scores[0::2], scores[1::2], ids[0::2], ids[1::2], mask[0::2], mask[1::2],
                             margin=settings.margin, centering=settings.centering)  # fmt: skip
