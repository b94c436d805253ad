"""The public config.json is told from transformers' own `glm`, and converted."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, GlmConfig

from kinnari.errors import ConfigError
from kinnari.models.glm import GLMConfig
from tests.kinnari.models.glm.toys import toy_config

PUBLIC = {"model_type": "glm", "architectures": ["GLMModel"], "block_position_encoding": True, "num_layers": 48, "hidden_size": 4096,
          "num_attention_heads": 64, "spell_func": "lstm", "checkpoint_activations": False, "torch_dtype": "float16"}  # fmt: skip


def read(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return AutoConfig.from_pretrained(tmp_path)


def test_the_public_config_is_converted_and_loses_what_only_its_remote_code_read(tmp_path):
    config = read(tmp_path, PUBLIC)

    assert type(config) is GLMConfig
    assert (config.num_layers, config.hidden_size, config.num_attention_heads, config.vocab_size) == (48, 4096, 64, 50048)
    assert (config.sop_token_id, config.eop_token_id, config.eos_token_id, tuple(config.mask_token_ids)) == (
        50006,
        50007,
        50000,
        (50003, 50009, 50008),
    )
    assert not {"spell_func", "checkpoint_activations", "auto_map"} & set(config.to_dict())
    assert str(config.dtype) == "torch.float16"


def test_a_public_config_is_known_by_its_class_too(tmp_path):
    assert type(read(tmp_path, {"model_type": "glm", "architectures": ["GLMForConditionalGeneration"]})) is GLMConfig


def test_the_later_architecture_of_the_same_name_stays_what_it_was(tmp_path):
    config = read(tmp_path, GlmConfig(hidden_size=64, num_hidden_layers=3).to_dict())

    assert type(config) is GlmConfig and config.hidden_size == 64
    assert type(AutoConfig.for_model("glm", num_hidden_layers=3)) is GlmConfig
    assert type(AutoConfig.for_model("glm", block_position_encoding=True, num_layers=3)) is GLMConfig


def test_a_saved_config_has_a_model_type_of_its_own_and_reads_back(tmp_path):
    config = toy_config()
    config.save_pretrained(tmp_path)

    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["model_type"] == "glm_chinese"
    assert AutoConfig.from_pretrained(tmp_path).to_dict() | {"_name_or_path": ""} == config.to_dict()


@pytest.mark.parametrize("changes", [{"relative_encoding": True}, {"block_position_encoding": False}])
def test_variants_of_another_architecture_are_refused(tmp_path, changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        read(tmp_path, PUBLIC | changes)


@pytest.mark.parametrize("changes", [{"num_attention_heads": 3}, {"hidden_size": 0}, {"num_layers": -1}, {"num_layers": "many"}])
def test_impossible_sizes_are_refused(changes):
    with pytest.raises((ConfigError, StrictDataclassError), match=next(iter(changes))):
        toy_config(**changes)
