"""What a reward model reads off a conversation, and what it learns by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from kinnari.errors import ConfigError, need_number, need_truth
from kinnari.functional.labels import IGNORED
from kinnari.functional.pooling import at_first_token, at_last_token, mean_over_tokens
from kinnari.functional.reward_losses import divergence_losses, pairwise_losses
from kinnari.models.spec import Architecture
from kinnari.text.batches import Batch

Pooling = Literal["last", "mean", "divergence", "first"]
_POOLS = {"last": at_last_token, "divergence": at_last_token, "mean": mean_over_tokens, "first": at_first_token}


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """How a backbone becomes a reward model.

    Args:
        freeze_fraction: share of the blocks, from the bottom, that is not trained; at least one block is.
        train_embeddings: whether the embeddings are, as in sunzeyeah/RLHF; frozen with everything below, the bottom keeps no activations.
        pooling: what a conversation's score is: that of its `last` real token, the `mean` over all of them, or, trained token by token
            from where the two answers part, again that of the last (`divergence`); of an encoder also that of its `first` token, where
            classifiers read it. An encoder's tokens have all read both sides of themselves, so that `divergence` there asks every token
            from the first difference on to tell what the last one tells. Of an encoder-decoder the tokens are those of the answer.
        margin: how much more the chosen answer must score before the loss rests.
        centering: weight of (chosen + rejected)^2, which keeps scores around 0; 0 for none.
        input: what is scored: the whole `conversation`, or the `answer` alone.
        share_prompts: compute what the two rows of a pair begin with once, where the family can and it pays: the same scores.
        checkpoint_frozen: frozen blocks below trained embeddings keep their inputs alone and run again in the backward.
    """

    freeze_fraction: float = 0.7
    train_embeddings: bool = True
    pooling: Pooling = "last"
    margin: float = 0.0
    centering: float = 0.0
    input: Literal["conversation", "answer"] = "conversation"
    share_prompts: bool = True
    checkpoint_frozen: bool = False

    def __post_init__(self) -> None:
        need_number("reward.freeze_fraction", self.freeze_fraction, least=0, below=1, why="the top is always trained")
        need_number("reward.margin", self.margin, why="0 for none")
        need_number("reward.centering", self.centering, least=0, why="0 turns it off")
        for name in ("train_embeddings", "share_prompts", "checkpoint_frozen"):
            need_truth(f"reward.{name}", getattr(self, name))
        if self.pooling not in get_args(Pooling):
            raise ConfigError(f"reward.pooling={self.pooling} is unknown; choose one of {', '.join(get_args(Pooling))}.")
        if self.input not in ("conversation", "answer"):
            raise ConfigError(f"reward.input={self.input} is unknown; choose conversation or answer.")


def check_pooling(settings: RewardSettings, architecture: Architecture) -> None:
    """Raises ConfigError for a token that has read nothing of the answer."""
    if settings.pooling == "first" and architecture != "encoder":
        raise ConfigError(
            "reward.pooling=first reads the first token, which has read the whole conversation in an encoder alone; in a decoder it has "
            "read itself. Use reward.pooling=last, or an encoder such as model=xlm_roberta_base."
        )


class ReadRows(NamedTuple):
    """What the forward is given of a batch, and the tokens whose hidden states are scored.

    Attributes:
        inputs: arguments of the model's forward.
        ids: [B, T] int64: the rows, or what the decoder of an encoder-decoder reads: its start token, the answer and its EOS.
        mask: [B, T], nonzero where a score counts; not at the start token.
    """

    inputs: dict[str, Tensor]
    ids: Tensor
    mask: Tensor


def read_rows(batch: Batch, config: PreTrainedConfig) -> ReadRows:
    """The batch as a model of `config` reads it: in one row, or the prompt by the encoder and the answer by the decoder.

    The decoder is given the EOS too, unlike in training to write: the score at it knows that the answer ends there.
    """
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    if not config.is_encoder_decoder:
        return ReadRows(inputs, inputs["input_ids"], inputs["attention_mask"])
    labels = batch["labels"]
    start = torch.full_like(labels[:, :1], config.decoder_start_token_id)
    ids = torch.cat([start, labels.masked_fill(labels == IGNORED, int(config.pad_token_id or 0))], dim=1)
    answer = (labels != IGNORED).long()
    read = torch.cat([torch.ones_like(start), answer], dim=1)
    mask = torch.cat([torch.zeros_like(start), answer], dim=1)
    return ReadRows(inputs | {"decoder_input_ids": ids, "decoder_attention_mask": read}, ids, mask)


def pooled(settings: RewardSettings, scores: Tensor, mask: Tensor) -> Tensor:
    """Scores [B, T] of tokens -> [B], one for each conversation."""
    return _POOLS[settings.pooling](scores, mask)


def pair_losses(settings: RewardSettings, scores: Tensor, rewards: Tensor, rows: ReadRows) -> Tensor:
    """Losses [P] in nats of pairs whose rows are neighbours.

    Args:
        scores: [2P, T], of every token.
        rewards: [2P], of every conversation.
    """
    chosen, rejected = rewards[0::2], rewards[1::2]
    if settings.pooling != "divergence":
        return pairwise_losses(chosen, rejected, margin=settings.margin, centering=settings.centering)
    ids, mask = rows.ids, rows.mask
    return divergence_losses(scores[0::2], scores[1::2], ids[0::2], ids[1::2], mask[0::2], mask[1::2],
                             margin=settings.margin, centering=settings.centering)  # fmt: skip
