"""A GLM of toy size, rows for it, and a tiny SentencePiece model."""

from __future__ import annotations

import json
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file

from kinnari.models.glm import GLMConfig, GLMForConditionalGeneration

MASK, SMASK, GMASK, SOP, EOP, EOT, CLS, SEP = 53, 58, 59, 56, 57, 50, 52, 51
TEXT = ["今天天气很好，我们去公园散步。", "你好吗？我很好，谢谢！", "北京是中国的首都。", "模型 回答 问题 hello world a b c d e f g"]

# [CLS] 7 8 [SEP] [MASK] <eot> <sop> 9 10 11
ROW = [CLS, 7, 8, SEP, MASK, EOT, SOP, 9, 10, 11]
SHORT = [CLS, 4, MASK, EOT, SOP, 5, 6]


def toy_config(**changes) -> GLMConfig:
    fields = {"vocab_size": 60, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "max_sequence_length": 32,
              "pad_token_id": EOT, "eos_token_id": EOT, "sop_token_id": SOP, "eop_token_id": EOP,
              "mask_token_ids": [MASK, GMASK, SMASK]}  # fmt: skip
    return GLMConfig(**{**fields, **changes})


def toy_model(seed: int = 0, **changes) -> GLMForConditionalGeneration:
    """Float64, eval mode, every weight (biases and LayerNorms too) random and large enough to matter."""
    config = toy_config(**changes)
    config._attn_implementation = changes.get("attn_implementation", "sdpa")
    model = GLMForConditionalGeneration(config).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


def padded(rows: list[list[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows)) + 2
    ids, mask = torch.full((len(rows), width), EOT), torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        span = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, span], mask[i, span] = torch.tensor(row), 1
    return ids, mask


def train_pieces(folder: Path) -> Path:
    """cog-pretrain.model with 50 pieces, so that the ten tokens have the ids 50 to 59."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "cog-pretrain.model"
    with target.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT * 5),
            model_writer=stream,
            vocab_size=50,
            model_type="unigram",
            minloglevel=2,
            character_coverage=1.0,
        )
    return target


def public_folder(folder: Path, model: GLMForConditionalGeneration) -> Path:
    """The layout of the public checkpoints: `model_type: glm`, a file of remote code, added_tokens.json, keys under `glm.`."""
    train_pieces(folder)
    config = {"model_type": "glm", "architectures": ["GLMModel"], "block_position_encoding": True, "relative_encoding": False,
              "auto_map": {"AutoConfig": "configuration_glm.GLMConfig", "AutoModel": "modeling_glm.GLMModel"},
              "num_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 60,
              "max_sequence_length": model.config.max_sequence_length, "attention_scale": 1.0,
              "output_predict": True, "parallel_output": True, "pool_token": "cls",
              "spell_func": "lstm", "spell_length": None, "torch_dtype": "float32",
              "pad_token_id": EOT, "eos_token_id": EOT, "sop_token_id": SOP, "eop_token_id": EOP,
              "mask_token_ids": [MASK, GMASK, SMASK]}  # fmt: skip
    tokenizer = {"tokenizer_class": "GLMChineseTokenizer", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
                 "cls_token": "[CLS]", "mask_token": "[MASK]", "unk_token": "[UNK]", "use_fast": False,
                 "additional_special_tokens": ["<|startofpiece|>", "<|endofpiece|>", "[gMASK]", "[sMASK]"],
                 "auto_map": {"AutoTokenizer": ["tokenization_glm.GLMChineseTokenizer", None]}}  # fmt: skip
    added = {"<|endoftext|>": EOT, "[SEP]": SEP, "[CLS]": CLS, "[MASK]": MASK, "<|startofpiece|>": SOP, "<|endofpiece|>": EOP}
    for name, content in (("config", config), ("tokenizer_config", tokenizer), ("added_tokens", added)):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    for name in ("configuration_glm", "modeling_glm", "tokenization_glm"):
        (folder / f"{name}.py").write_text("raise SystemExit('remote code ran')", encoding="utf-8")
    save_file(public_weights(model), folder / "model.safetensors")
    return folder


def public_weights(model: GLMForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Parameters under the names of the public checkpoints, spelled out here on their own."""
    layers = (
        "input_layernorm",
        "attention.query_key_value",
        "attention.dense",
        "post_attention_layernorm",
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",
    )
    names = ["word_embeddings.weight", "transformer.position_embeddings.weight", "transformer.block_position_embeddings.weight"]
    for layer in [f"transformer.layers.{i}.{name}" for i in range(model.config.num_layers) for name in layers] + [
        "transformer.final_layernorm"
    ]:
        names += [f"{layer}.weight", f"{layer}.bias"]
    state = model.glm.state_dict()
    assert sorted(state) == sorted(names)
    return {f"glm.{name}": state[name].float().clone() for name in names}
