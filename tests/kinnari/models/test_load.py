"""Loading: eval mode, the dtype asked for, whole weights or an error a user can act on."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BitsAndBytesConfig

from kinnari.errors import ConfigError
from kinnari.models.load import check_vocabulary, load_model, load_tokenizer, model_source
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
    xglm = {"model_type": "xglm", "d_model": 32, "ffn_dim": 64, "num_layers": 1, "attention_heads": 4}
    assert load_model(toy_spec(toy=xglm), dtype=torch.float32).config._attn_implementation == "eager"
    with pytest.raises(ConfigError, match=r"sdpa|scaled_dot_product"):
        load_model(toy_spec(toy=xglm, attention="sdpa"), dtype=torch.float32)


def test_an_encoder_decoder_given_as_causal_is_refused():
    path = model_source(t5_spec())
    with pytest.raises(ConfigError, match=r"model\.architecture=seq2seq"):
        load_model(toy_spec(toy=None, path=path), dtype=torch.float32)


def test_truncated_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="copy it again"):
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


def test_pickled_weights_are_refused(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="safetensors"):
        load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32)


def test_a_folder_that_is_not_there_or_holds_no_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_model(toy_spec(toy=None, path=str(tmp_path / "nowhere")), dtype=torch.float32)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_model(toy_spec(toy=None, path=str(tmp_path / "empty")), dtype=torch.float32)
    with pytest.raises(ConfigError, match="tokenizer"):
        load_tokenizer(toy_spec(toy=None, path=str(tmp_path / "empty")))


def without_pad(folder):
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["pad_token"]
    path.write_text(json.dumps(config))


def test_pad_token_is_the_tokenizers_own_then_the_specs_then_eos(folder):
    path = str(folder)
    assert load_tokenizer(toy_spec(toy=None, path=path, pad_token="<unk>")).pad_token == "<pad>"
    without_pad(folder)
    assert load_tokenizer(toy_spec(toy=None, path=path, pad_token="<unk>")).pad_token == "<unk>"
    assert load_tokenizer(toy_spec(toy=None, path=path)).pad_token == "</s>"
    with pytest.raises(ConfigError, match="size of the embedding"):
        load_tokenizer(toy_spec(toy=None, path=path, pad_token="[PAD]"))


def test_a_tokenizer_larger_than_the_embedding_is_refused():
    model = load_model(toy_spec(), dtype=torch.float32)
    check_vocabulary(model, byte_tokenizer())
    larger = byte_tokenizer()
    larger.add_tokens(["[NEW]"])
    with pytest.raises(ConfigError, match="263 tokens"):
        check_vocabulary(model, larger)


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
