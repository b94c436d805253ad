"""The limit of learned positions, proved by running every listed family into it."""

import logging

import pytest
import torch
from transformers import AutoConfig, AutoModel, PretrainedConfig

from kinnari.errors import ConfigError
from kinnari.models.glm import GLMConfig, GLMModel
from kinnari.models.pangu import PanguConfig, PanguModel
from kinnari.models.positions import LEARNED, LEARNED_AFTER_PAD, check_max_length, learned_positions

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
GPT = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 12, "vocab_size": 20}
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 20}  # fmt: skip
OTHER = {
    "gpt2": GPT, "gpt_bigcode": GPT, "openai-gpt": GPT, "bart": BART, "mbart": BART,
    "gpt_neo": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]], "vocab_size": 20},
    "opt": {**SIZES, "ffn_dim": 16, "word_embed_proj_dim": 16},
    "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "vocab_size": 20},
    "electra": {**SIZES, "embedding_size": 16},
    "albert": {**SIZES, "embedding_size": 16},
}  # fmt: skip
COMPUTED = {
    "llama": SIZES, "bloom": {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": 20},
    "xglm": {"d_model": 16, "num_layers": 1, "attention_heads": 2, "ffn_dim": 16, "vocab_size": 20},
    "falcon": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 20},
}  # fmt: skip


def config_of(model_type: str) -> PretrainedConfig:
    if model_type == "pangu":
        return PanguConfig(vocab_size=20, hidden_size=16, num_layers=1, num_heads=2, max_position_embeddings=12)
    if model_type == "glm_chinese":
        return GLMConfig(vocab_size=20, hidden_size=16, num_layers=1, num_attention_heads=2, max_sequence_length=12)
    sizes = COMPUTED.get(model_type) or OTHER.get(model_type, SIZES)
    positions = {} if "n_positions" in sizes else {"max_position_embeddings": 12}
    return AutoConfig.for_model(model_type, pad_token_id=1, bos_token_id=0, eos_token_id=2, **sizes, **positions)


def forward(config: PretrainedConfig, length: int) -> torch.Tensor:
    own = {"pangu": PanguModel, "glm_chinese": GLMModel}
    model = own[config.model_type](config) if config.model_type in own else AutoModel.from_config(config)
    ids = torch.full((1, length), 5)
    extra = {"decoder_input_ids": ids} if config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).last_hidden_state


@pytest.mark.parametrize("model_type", sorted(LEARNED | LEARNED_AFTER_PAD))
def test_listed_families_take_rows_up_to_their_limit_and_stop_beyond(model_type):
    config = config_of(model_type)
    limit = learned_positions(config)
    assert limit == (10 if model_type in LEARNED_AFTER_PAD else 12)
    assert forward(config, limit).shape == (1, limit, 16)
    # GLM has one row more, and would count an answer apart from its context
    with pytest.raises((IndexError, ConfigError, ValueError, RuntimeError)):
        forward(config, limit + (2 if model_type == "glm_chinese" else 1))
    check_max_length(config, limit)
    with pytest.raises(ConfigError, match=rf"model.max_length={limit + 1}.*{limit} positions"):
        check_max_length(config, limit + 1)


@pytest.mark.parametrize("model_type", sorted(COMPUTED))
def test_computed_positions_have_no_limit(model_type):
    config = config_of(model_type)
    assert learned_positions(config) is None
    assert forward(config, 20).shape == (1, 20, 16)
    check_max_length(config, 20)


@pytest.mark.parametrize(("length", "warned"), [(12, False), (13, True)])
def test_rows_beyond_what_rope_was_trained_for_are_only_warned_of(length, warned, caplog):
    with caplog.at_level(logging.WARNING):
        check_max_length(config_of("llama"), length, name="data.max_length")
    assert ("data.max_length=13 exceeds the 12 positions" in caplog.text) == warned


def test_the_published_sizes():
    assert learned_positions(PanguConfig()) == learned_positions(GLMConfig()) == learned_positions(AutoConfig.for_model("gpt2")) == 1024
    assert learned_positions(AutoConfig.for_model("opt")) == 2048
    assert learned_positions(AutoConfig.for_model("xlm-roberta", max_position_embeddings=514)) == 512
