"""Encoders (BERT, RoBERTa and their like) as backbones of reward models: every token reads the whole row, and nothing is generated."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.models.positions import LEARNED_AFTER_PAD

# by config.model_type: learned positions that count from the first column, padding on the left too
_FROM_THE_FIRST_COLUMN = {"bert", "distilbert", "electra", "albert"}


def begin_and_end(tokenizer: PreTrainedTokenizerBase) -> None:
    """BERT names its first and last token for classification alone; they begin and end rows here as BOS and EOS do elsewhere."""
    if tokenizer.bos_token is None:
        tokenizer.bos_token = tokenizer.cls_token
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token


def encoder_positions(model: PreTrainedModel, attention_mask: Tensor) -> dict[str, Tensor]:
    """`position_ids` [B, T] that count the real tokens, for families with learned positions; nothing for others.

    By itself BERT counts padding on the left as well, and RoBERTa leaves out every token with the id of the pad token, real ones too.
    """
    family = model.config.model_type
    if family not in _FROM_THE_FIRST_COLUMN | LEARNED_AFTER_PAD:
        return {}
    embeddings: Any = model.embeddings
    first = embeddings.padding_idx + 1 if family in LEARNED_AFTER_PAD else 0
    real = (attention_mask != 0).long()
    return {"position_ids": (real.cumsum(1) - 1) * real + first}
