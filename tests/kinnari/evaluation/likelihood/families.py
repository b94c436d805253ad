"""Tiny models of every family, their byte tokenizer, and one-by-one scoring with plain forwards to compare with."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import kinnari.models.glm
import kinnari.models.pangu  # noqa: F401  makes the family known
from kinnari.evaluation.question import Candidate, Question
from kinnari.models.attention import attention_to_load, install_attention
from kinnari.models.toy import byte_tokenizer

POSITIONS = 400
COMMON = {"vocab_size": 262, "max_position_embeddings": POSITIONS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**COMMON, **WIDTH, "intermediate_size": 64, "num_key_value_heads": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    # windows shorter than the texts below, of some layers and of all
    "qwen2": {**LLAMA, "use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    "gemma3_text": {**LLAMA, "head_dim": 8, "sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {**LLAMA, "sliding_window": 24},
    "gpt2": {"vocab_size": 262, "n_positions": POSITIONS, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2},
    "gpt_neox": {**COMMON, **WIDTH, "intermediate_size": 64},
    "xglm": {**COMMON, "d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4},
    "opt": {**COMMON, **WIDTH, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "falcon": {**COMMON, **WIDTH, "alibi": False, "multi_query": True, "parallel_attn": True, "new_decoder_architecture": False},
    "bloom": {"vocab_size": 262, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "pangu": {**COMMON, "hidden_size": 32, "num_layers": 3, "num_heads": 4},
}  # fmt: skip
TOKENIZER = byte_tokenizer()


@cache
def tiny(family: str, attention: str = "sdpa") -> PreTrainedModel:
    """Weights large enough that a token in the wrong place shows."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention_to_load(config, attention)).eval()
    install_attention(model, attention)
    for parameter in model.parameters():
        parameter.data.mul_(4 if parameter.dim() > 1 else 1)
    return model


def questions() -> list[Question]:
    """Labels at the end, in the middle and at the beginning; one of them begins another; with and without a common header."""
    texts = [
        ("Which topic? The match ended in a draw. Topic: ", ""),
        ("This is about ", ": two banks merge."),
        ("Q", " said the judge, and left."),
    ]
    labels = ("sport", "sports", "news", "art", "a", "体育")
    return [
        Question(
            id=f"{len(header)}-{i}",
            header=header,
            candidates=tuple(Candidate(before, label, after) for label in labels),
            gold=0,
            premise="Topic: ",
        )
        for header in ("", "The bank fails. Topic: news\nThe team wins. Topic: sport\n")
        for i, (before, after) in enumerate(texts)
    ]  # fmt: skip


def plain_logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    """[T, V] float64, row t after tokens 0 .. t."""
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)


@cache
def slowly_once(family: str, number: int) -> list[dict[str, float]]:
    """`slowly` of one of `questions()`; attention kernels share weights, so one of them is enough."""
    return slowly(tiny(family), questions()[number])


def slowly(model: Any, question: Question) -> list[dict[str, float]]:
    """Each candidate by a forward of its own; with a byte tokenizer parts tokenised apart are the tokens of the whole."""

    def ids(text: str) -> list[int]:
        return list(TOKENIZER(text)["input_ids"])

    found = []
    for candidate in question.candidates:
        text, begin = ids(question.header + candidate.text), len(ids(question.header + candidate.before))
        end = begin + len(ids(candidate.label))
        logprobs = plain_logprobs(model, text)
        behind = [0.0] + [float(logprobs[t - 1, text[t]]) for t in range(1, len(text))]
        alone = ids(question.premise + candidate.label)
        logprobs_alone = plain_logprobs(model, alone)
        found.append(
            {
                "sequence": sum(behind),
                "label": sum(behind[begin:end]),
                "continuation": sum(behind[begin:]),
                "unconditional": sum(float(logprobs_alone[t - 1, alone[t]]) for t in range(len(ids(question.premise)), len(alone))),
                "legacy": sum(float(logprobs[t, text[t]]) for t in range(len(text))) / len(text),
            }
        )
    return found
