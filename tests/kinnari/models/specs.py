"""Specs of toy models, shared by the tests of models and tuning."""

from kinnari.models.spec import ModelSpec

LLAMA_TOY = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip
T5_TOY = {"model_type": "t5", "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
          "decoder_start_token_id": 0}  # fmt: skip


def toy_spec(**changes) -> ModelSpec:
    fields = {
        "name": "toy", "architecture": "causal", "path": None, "package": None, "toy": LLAMA_TOY,
        "lora_targets": ["q_proj", "v_proj", "down_proj"], "block_classes": ["LlamaDecoderLayer"], "max_length": 64,
        "dtype": "auto", "attention": "auto", "packing": "position_ids", "pad_token": None, "licence": "MIT",
        "notice": None,
    }  # fmt: skip
    return ModelSpec(**{**fields, **changes})


def t5_spec(**changes) -> ModelSpec:
    fields = {"architecture": "seq2seq", "toy": T5_TOY, "lora_targets": ["q", "v", "wo"], "block_classes": ["T5Block"],
              "packing": "none"}  # fmt: skip
    return toy_spec(**{**fields, **changes})
