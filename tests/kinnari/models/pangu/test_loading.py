"""Checkpoints of PanGu-alpha: the public layout loads whole, nothing of a foreign folder runs, broken ones say what is wrong."""

import json
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM

from kinnari.errors import ConfigError
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.pangu import GPTPanguTokenizer, PanguForCausalLM, PanguModel
from kinnari.models.pangu.tokenization import PanguTokenizer
from kinnari.models.vocabulary import check_vocabulary
from tests.kinnari.models.pangu.toy import SIZES, pangu_spec, public_folder, toy_model

IDS = torch.tensor([[1, 17, 88, 5, 33, 140, 9, 61]])


@pytest.fixture
def folder(tmp_path):
    return public_folder(tmp_path / "public", toy_model(dtype=torch.float32))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_the_public_layout_loads_without_a_missing_or_foreign_key(folder):
    for auto, kind in ((AutoModelForCausalLM, PanguForCausalLM), (AutoModel, PanguModel)):
        model, info = auto.from_pretrained(folder, trust_remote_code=False, output_loading_info=True)
        assert type(model) is kind and not info["missing_keys"] and not info["mismatched_keys"]
        assert info["unexpected_keys"] == (set() if auto is AutoModelForCausalLM else set(info["unexpected_keys"]) & {"lm_head.weight"})
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert torch.equal(logits(loaded), logits(toy_model(dtype=torch.float32)))


def drop(folder, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_checkpoint_without_the_tied_head_is_whole_too(folder):
    drop(folder, "lm_head.weight")
    model = load_model(pangu_spec(folder), dtype=torch.float32)
    assert torch.equal(logits(model), logits(toy_model(dtype=torch.float32)))
    assert model.lm_head.weight is model.transformer.wte.weight


def test_the_public_tokenizer_class_is_known_by_its_name(folder):
    tokenizer = load_tokenizer(pangu_spec(folder))
    assert type(tokenizer) is GPTPanguTokenizer and tokenizer.pad_token_id == 6
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPTPanguTokenizer"}))
    assert isinstance(load_tokenizer(pangu_spec(folder)), PanguTokenizer)


def test_kinnari_finds_the_family_by_itself_and_runs_nothing_of_the_folder(folder, tmp_path):
    for name in ("configuration_gptpangu", "modeling_gptpangu", "tokenization_gptpangu"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    code = (
        "import sys, torch\n"
        "from tests.kinnari.models.specs import toy_spec\n"
        "from kinnari.models.load import load_model, load_tokenizer\n"
        "assert 'kinnari.models.pangu' not in sys.modules\n"
        f"spec = toy_spec(toy=None, path={str(folder)!r})\n"
        "print(type(load_tokenizer(spec)).__name__, type(load_model(spec, dtype=torch.float32)).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["GPTPanguTokenizer", "PanguForCausalLM"], done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_reloaded_it_is_bit_identical(dtype, tmp_path):
    model = toy_model(dtype=dtype)
    model.save_pretrained(tmp_path / "a")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert all(torch.equal(p, loaded.state_dict()[name]) for name, p in model.state_dict().items())
    assert loaded.dtype == dtype and torch.equal(logits(model), logits(loaded.eval()))
    loaded.save_pretrained(tmp_path / "b")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    # the tied head is stored once
    names = set(load_file(tmp_path / "a" / "model.safetensors"))
    assert "lm_head.weight" not in names and len(names) == 3 * 16 + 5


def test_shards_are_one_model(tmp_path):
    model = toy_model(dtype=torch.float32)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval()), logits(model))


def test_a_toy_of_this_family_is_built_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path))
    toy = {"model_type": "pangu", **SIZES, "vocab_size": 300}
    assert type(load_model(pangu_spec(tmp_path, path=None, toy=toy), dtype=torch.float32)) is PanguForCausalLM


def test_the_embedding_takes_more_rows_and_the_head_with_it():
    model = toy_model(dtype=torch.float32)
    before = logits(model)
    model.resize_token_embeddings(208, mean_resizing=True)
    assert model.lm_head.weight.shape == (208, 16) and model.lm_head.weight is model.transformer.wte.weight
    assert torch.allclose(logits(model)[..., :200], before, atol=1e-5)


def changed(folder, **config):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))


def test_weights_of_another_shape_are_named(folder):
    changed(folder, hidden_size=32)
    with pytest.raises(ConfigError, match=r"eights.*can(not)? be read"):  # transformers fails over the two copies of the head
        load_model(pangu_spec(folder), dtype=torch.float32)
    drop(folder, "lm_head.weight")
    with pytest.raises(ConfigError, match=r"another shape, such as .*transformer"):
        load_model(pangu_spec(folder), dtype=torch.float32)


def test_absent_weights_are_named(folder):
    changed(folder, num_layers=4)
    with pytest.raises(ConfigError, match=r"16 weights are missing.*transformer\.h\.3"):
        load_model(pangu_spec(folder), dtype=torch.float32)


def test_a_missing_query_embedding_is_named(folder):
    drop(folder, "transformer.wqe.weight")
    with pytest.raises(ConfigError, match=r"1 weights are missing.*transformer\.wqe\.weight"):
        load_model(pangu_spec(folder), dtype=torch.float32)


@pytest.mark.parametrize("kept", [0, 5, 100, 5000])
def test_truncated_weights_are_refused(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=r"(?i)copy"):
        load_model(pangu_spec(folder), dtype=torch.float32)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickled_payload_is_refused_and_never_run(folder, tmp_path, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"transformer.wte.weight": Payload(tmp_path / "ran")}))
    with pytest.raises(ConfigError, match="safetensors"):
        load_model(pangu_spec(folder), dtype=torch.float32)
    assert not (tmp_path / "ran").exists()


def test_a_vocabulary_larger_than_the_embedding_is_refused(folder):
    tokenizer = load_tokenizer(pangu_spec(folder))
    model = toy_model(dtype=torch.float32, vocab_size=150)
    with pytest.raises(ConfigError, match="150 rows"):
        check_vocabulary(model, tokenizer)


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_folder_without_its_vocabulary_is_refused(folder, content):
    (folder / "vocab.model").unlink()
    if content is not None:
        (folder / "vocab.model").write_bytes(content)
    with pytest.raises(ConfigError, match=r"vocab\.model"):
        load_tokenizer(pangu_spec(folder))
