"""What was asked to be held in few bits is held so, or refused."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.falcon import modeling_falcon

from kinnari.errors import ConfigError
from kinnari.models.load import load_model
from kinnari.models.quantisable import check_quantised
from kinnari.models.quantized import is_quantized_parameter
from kinnari.strategies.tuning import Tuning, quantization_config
from tests.kinnari.models.specs import toy_spec

FALCON = {"model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def quantization(name):
    return quantization_config(Tuning(name=name), torch.float32, sharded=False)


@pytest.mark.parametrize("name", ["qlora", "lora_int8"])
def test_falcons_own_linear_layers_are_quantised_too(name, tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path))
    own = modeling_falcon.FalconLinear
    spec = toy_spec(toy=FALCON, lora_targets=["query_key_value"], block_classes=["FalconDecoderLayer"], packing="mask4d")

    model = load_model(spec, dtype=torch.float32, quantization=quantization(name))

    # query_key_value, dense, dense_h_to_4h and dense_4h_to_h of both layers
    assert sum(is_quantized_parameter(parameter) for parameter in model.parameters()) == 8
    assert modeling_falcon.FalconLinear is own
    assert type(load_model(spec, dtype=torch.float32).transformer.h[0].self_attention.dense) is own


def test_a_model_that_stayed_in_full_precision_is_refused():
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", n_embd=8, n_layer=1, n_head=2, vocab_size=16))
    check_quantised(model, None)
    with pytest.raises(ConfigError, match="gpt2 model could be held in few bits"):
        check_quantised(model, quantization("qlora"))
