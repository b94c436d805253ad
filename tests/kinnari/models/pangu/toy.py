"""A toy PanGu-alpha: sizes, random weights, and a SentencePiece model with the public ids of the special tokens."""

from __future__ import annotations

import io
import json
import string
from pathlib import Path

import sentencepiece
import torch

from kinnari.models.pangu import PanguConfig, PanguForCausalLM
from kinnari.models.pangu.tokenization import word_segmenter
from kinnari.models.spec import ModelSpec

SIZES = {"vocab_size": 200, "max_position_embeddings": 32, "hidden_size": 16, "num_layers": 3, "num_heads": 2}
TEXTS = [
    "鹅是什么动物？鹅是鸟纲雁形目鸭科的一种家禽。",
    "上联：春风得意马蹄疾。下联：秋水长天雁字横。",
    "问题：怎样学习中文？回答：多听、多说、多读、多写。",
    "Hello world, 你好 世界 123\n第二行 the end.",
    "今天天气很好，我们一起去公园散步吧！\n\n好的，下午三点见。",
]


def toy_model(attention: str = "sdpa", dtype: torch.dtype = torch.float64, spread: float = 0.3, **changes) -> PanguForCausalLM:
    """Random weights far larger than the initial ones, biases and LayerNorms too, so that no mistake hides in small numbers."""
    config = PanguConfig(**{**SIZES, **changes})
    config._attn_implementation = attention
    model = PanguForCausalLM(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = (torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * spread).to(dtype)
    return model


def vocabulary(folder: Path, specials: str = "control_symbols") -> Path:
    """vocab.model with <s> 1, </s> 2, <sep> 5, <pad> 6 and <eot> 9, as the public one has them.

    Args:
        specials: whether SentencePiece knows them as control_symbols or as user_defined_symbols.
    """
    words = [" ".join(w.replace(" ", "▂").replace("\n", "▃") for w in word_segmenter().cut(text)) for text in TEXTS]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 5),
        model_writer=model,
        vocab_size=190,
        required_chars=string.printable.strip(),
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
        **{specials: ["<3>", "<4>", "<sep>", "<pad>", "<7>", "<8>", "<eot>"]},
    )
    path = folder / "vocab.model"
    path.write_bytes(model.getvalue())
    return path


def public_folder(folder: Path, model: PanguForCausalLM) -> Path:
    """A checkpoint as the public ones are laid out: their config.json, stray mask buffers, the head's weight a second time."""
    from safetensors.torch import save_file

    config = {
        "activation_function": "gelu", "architectures": ["GPTPanguForCausalLM"], "attn_pdrop": 0.1, "embd_pdrop": 0.1,
        "initializer_range": 0.02, "intermediate_size": None, "layer_norm_epsilon": 1e-05, "model_type": "pangu", "resid_pdrop": 0.1,
        "scale_attn_weights": True, "summary_type": "cls_index", "summary_use_proj": True, "torch_dtype": "float32",
        "tokenizer_class": "GPTPanguTokenizer", "pad_token_id": 6, **SIZES,
        "auto_map": {"AutoConfig": "configuration_gptpangu.GPTPanguConfig",
                     "AutoTokenizer": ["tokenization_gptpangu.GPTPanguTokenizer", None],
                     "AutoModelForCausalLM": "modeling_gptpangu.GPTPanguForCausalLM"},
    }  # fmt: skip
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in range(SIZES["num_layers"]):
        weights[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 32, 32, dtype=torch.uint8).tril()
        weights[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    vocabulary(folder)
    return folder


def pangu_spec(folder: Path, **changes) -> ModelSpec:
    fields = {
        "name": "pangu_toy", "architecture": "causal", "path": str(folder), "package": None, "toy": None,
        "lora_targets": ["q_proj", "k_proj", "v_proj", "c_proj", "c_fc"], "block_classes": ["PanguBlock"], "max_length": 32,
        "dtype": "auto", "attention": "auto", "packing": "position_ids", "pad_token": None, "licence": "MIT", "notice": None,
    }  # fmt: skip
    return ModelSpec(**{**fields, **changes})
