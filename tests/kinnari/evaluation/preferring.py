"""Models that say the same whatever stands before: some bytes are likely, all others are not. What they score can be worked by hand."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from kinnari.models.toy import byte_tokenizer

TOKENIZER = byte_tokenizer()
STRENGTH = 12.0  # nats by which a preferred byte is likelier than another
_CAUSAL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
           "max_position_embeddings": 512, "tie_word_embeddings": False}  # fmt: skip
_SEQ2SEQ = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False, "decoder_start_token_id": 0}  # fmt: skip
_IDS = {"vocab_size": len(TOKENIZER), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def preferring(text: str, *, seq2seq: bool = False, strength: float = STRENGTH) -> PreTrainedModel:
    """A model whose log-probability of every byte of `text` is `likely(text)`, and of every other token `unlikely(text)`."""
    auto: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    config = AutoConfig.for_model("t5", **_SEQ2SEQ, **_IDS) if seq2seq else AutoConfig.for_model("llama", **_CAUSAL, **_IDS)
    model = auto.from_config(config).eval()
    if seq2seq:  # T5 ties its head whatever the config says (transformers 5.23)
        model.set_output_embeddings(torch.nn.Linear(config.d_model, config.vocab_size, bias=False))
    for name, parameter in model.named_parameters():
        torch.nn.init.constant_(parameter, float("norm" in name))
    torch.nn.init.ones_(model.get_input_embeddings().weight)  # so every state is a row of ones
    head = model.get_output_embeddings().weight.data
    head.zero_()
    head[sorted(bytes_of(text))] = strength / head.shape[1]
    return model


def bytes_of(text: str) -> set[int]:
    """Token ids of its bytes."""
    return set(TOKENIZER(text)["input_ids"])


def likely(text: str, strength: float = STRENGTH) -> float:
    """Log-probability of one of its bytes, in nats."""
    count = len(bytes_of(text))
    return strength - math.log(count * math.exp(strength) + len(TOKENIZER) - count)


def unlikely(text: str, strength: float = STRENGTH) -> float:
    """Log-probability of any other token."""
    return likely(text, strength) - strength
