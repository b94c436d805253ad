"""Loading: eval mode, the dtype asked for, whole weights or an error a user can act on."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BitsAndBytesConfig

from kinnari.errors import ConfigError
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.source import model_source
from kinnari.models.toy import byte_tokenizer
from tests.kinnari.models.specs import t5_spec, toy_spec

IDS = torch.tensor([[6, 70, 71, 200, 33, 9]])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(model_source(toy_spec()), tmp_path / "folder")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_arrive_in_eval_mode_and_in_the_dtype_asked_for(dtype, folder):
    spec = toy_spec(toy=None, path=str(folder))
    load_model(spec, dtype=dtype).save_pretrained(folder)  # the checkpoint itself is now of that dtype
    for wanted in (dtype, torch.float32):
        model = load_model(spec, dtype=wanted)
        assert {parameter.dtype for parameter in model.parameters()} == {wanted}
        assert not model.training and not model.config.use_cache
        assert model.config._attn_implementation == "sdpa"


def test_a_toy_is_a_folder_that_plain_transformers_loads(folder):
    model = load_model(toy_spec(), dtype=torch.float32)
    assert model.name_or_path == model_source(toy_spec())
    assert model_source(toy_spec(), seed=1) != model_source(toy_spec(), seed=0)
    assert AutoTokenizer.from_pretrained(model.name_or_path)("ก")["input_ids"] == byte_tokenizer()("ก")["input_ids"]


def test_families_without_sdpa_get_eager():
    codegen = {"model_type": "codegen", "n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 4}
    assert load_model(toy_spec(toy=codegen), dtype=torch.float32).config._attn_implementation == "eager"
    with pytest.raises(ConfigError, match=r"sdpa|scaled_dot_product"):
        load_model(toy_spec(toy=codegen, attention="sdpa"), dtype=torch.float32)


def test_an_encoder_decoder_given_as_causal_is_refused():
    path = model_source(t5_spec())
    with pytest.raises(ConfigError, match=r"model\.architecture=seq2seq"):
        load_model(toy_spec(toy=None, path=path), dtype=torch.float32)


def test_truncated_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="truncated, damaged"):
        load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32)


def test_absent_weights_are_refused_where_the_library_would_invent_them(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32)


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    with pytest.raises(ConfigError, match="mlp"):
        load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32)


def test_a_folder_that_is_not_there_or_holds_no_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_model(toy_spec(toy=None, path=str(tmp_path / "nowhere")), dtype=torch.float32)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_model(toy_spec(toy=None, path=str(tmp_path / "empty")), dtype=torch.float32)
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_tokenizer(toy_spec(toy=None, path=str(tmp_path / "empty")))


def test_a_folder_without_a_tokenizer_is_named(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="No tokenizer can be read"):
        load_tokenizer(toy_spec(toy=None, path=str(folder)))


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_left_unquantised_has_the_dtype_asked_for(bits):
    config = BitsAndBytesConfig(load_in_4bit=True) if bits == 4 else BitsAndBytesConfig(load_in_8bit=True)
    model = load_model(toy_spec(), dtype=torch.bfloat16, quantization=config)
    assert model.get_input_embeddings().weight.dtype == model.lm_head.weight.dtype == torch.bfloat16
    assert model.model.layers[0].mlp.up_proj.weight.dtype == (torch.uint8 if bits == 4 else torch.int8)


def test_weights_left_over_in_the_blocks_are_refused_and_others_told(folder, caplog):
    tensors = load_file(folder / "model.safetensors")
    spec = toy_spec(toy=None, path=str(folder))
    save_file({**tensors, "score.weight": torch.ones(1, 64)}, folder / "model.safetensors", metadata={"format": "pt"})
    load_model(spec, dtype=torch.float32)
    assert "score.weight" in caplog.text
    for extra in ("model.layers.2.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"):
        save_file({**tensors, extra: torch.ones(64)}, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ConfigError, match=extra.replace(".", r"\.")):
            load_model(spec, dtype=torch.float32)


def test_numbers_beyond_float16_are_refused_there_and_accepted_in_float32(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = 70_000.0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    spec = toy_spec(toy=None, path=str(folder))
    load_model(spec, dtype=torch.float32)
    with pytest.raises(ConfigError, match=r"model\.norm\.weight .* float16: every loss"):
        load_model(spec, dtype=torch.float16)
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"model\.norm\.weight"):
        load_model(spec, dtype=torch.float32)


def test_shards_of_several_dtypes_become_the_one_asked_for(folder):
    tensors = load_file(folder / "model.safetensors")
    first = {name: tensor.bfloat16() for name, tensor in tensors.items() if "layers.0" in name}
    rest = {name: tensor for name, tensor in tensors.items() if name not in first}
    for file, part in (("a.safetensors", first), ("b.safetensors", rest)):
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(first, "a.safetensors") | dict.fromkeys(rest, "b.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    state = load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32).state_dict()
    for name, tensor in tensors.items():
        assert torch.equal(state[name], first[name].float() if name in first else tensor)


def test_evaluating_a_4bit_model_changes_no_bit_of_it():
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = load_model(toy_spec(), dtype=torch.float32, quantization=config)
    layer = model.model.layers[0].mlp.up_proj
    bits, scales = layer.weight.data.clone(), layer.weight.quant_state.absmax.clone()
    with torch.no_grad():
        model(IDS)
    assert torch.equal(layer.weight.data, bits) and torch.equal(layer.weight.quant_state.absmax, scales)
    model.train()
    embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
    model(inputs_embeds=embedded).logits.sum().backward()
    assert embedded.grad.abs().sum() > 0
