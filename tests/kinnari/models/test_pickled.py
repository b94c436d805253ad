"""Old .bin checkpoints: converted once, the same bits, and nothing in them is executed."""

import contextlib
import io
import json
import os
import pickle
import shutil
import tarfile

import pytest
import torch
from safetensors.torch import load_file

from kinnari.errors import ConfigError
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.pickled import unpickled_tensors
from kinnari.models.source import model_source
from tests.kinnari.models.specs import toy_spec

TIED = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "tie_word_embeddings": True}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(model_source(toy_spec()), tmp_path / "folder")


def pickle_weights(folder, shards=1, **options):
    """Replaces the safetensors of `folder` by pickled files; returns the weights."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin", **options)
        return state
    places = {}
    for i in range(shards):
        file = f"pytorch_model-0000{i + 1}-of-0000{shards}.bin"
        part = {name: state[name] for name in sorted(state)[i::shards]}
        torch.save(part, folder / file, **options)
        places |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return state


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before_torch_1_6"])
def test_pickled_weights_load_bit_for_bit_and_are_converted_once(shards, zipped, folder, cache):
    state = pickle_weights(folder, shards, _use_new_zipfile_serialization=zipped)
    spec = toy_spec(toy=None, path=str(folder))
    source = model_source(spec)
    assert source.startswith(str(cache)) and not list((cache / source).glob("*.bin"))
    model = load_model(spec, dtype=torch.float32)
    assert {name: tensor.dtype for name, tensor in model.state_dict().items()} == dict.fromkeys(state, torch.float32)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    made = {file.name: file.stat().st_mtime_ns for file in (cache / source).iterdir()}
    assert model_source(spec) == source and made == {file.name: file.stat().st_mtime_ns for file in (cache / source).iterdir()}
    assert model.name_or_path == str(folder)  # what an adapter names as its base is the user's folder, not the cache
    assert load_tokenizer(spec)("ก")["input_ids"]


def test_other_weights_in_the_folder_are_converted_anew(folder):
    pickle_weights(folder)
    spec = toy_spec(toy=None, path=str(folder))
    before, source = load_model(spec, dtype=torch.float32).state_dict(), model_source(spec)
    torch.save({name: tensor + 1 for name, tensor in before.items()}, folder / "pytorch_model.bin")
    assert model_source(spec) != source
    assert torch.equal(load_model(spec, dtype=torch.float32).lm_head.weight, before["lm_head.weight"] + 1)


def test_tied_and_sliced_tensors_are_written_apart(tmp_path):
    folder = shutil.copytree(model_source(toy_spec(name="tied", toy=TIED)), tmp_path / "tied")
    state = load_file(folder / "model.safetensors")
    table = torch.cat([state["model.embed_tokens.weight"], torch.zeros(5, 16)])
    state["model.embed_tokens.weight"] = state["lm_head.weight"] = table[:-5]  # as torch saves them: one memory, two names
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    model = load_model(toy_spec(name="tied", toy=None, path=str(folder)), dtype=torch.float32)
    assert model.lm_head.weight is model.model.embed_tokens.weight and torch.equal(model.lm_head.weight, table[:-5])


class Evil:
    """Unpickled by plain pickle, it makes a folder."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("saved_by", ["torch", "torch_before_1_6", "pickle"])
def test_pickled_code_is_refused_and_not_run(saved_by, folder, tmp_path):
    pickle_weights(folder)
    trace, file = tmp_path / "trace", folder / "pytorch_model.bin"
    payload = {"model.norm.weight": torch.ones(64), "evil": Evil(trace)}
    if saved_by == "pickle":
        file.write_bytes(pickle.dumps(Evil(trace)))
    else:
        torch.save(payload, file, _use_new_zipfile_serialization=saved_by == "torch")
    with pytest.raises(ConfigError, match=r"pickled code or objects beside tensors|cannot be read") as caught:
        load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32)
    assert not trace.exists()
    assert "\n" not in str(caught.value)
    # the attack is real: what was refused would have run
    with contextlib.suppress(RuntimeError):  # torch, of the plain pickle, after it has run
        torch.load(file, weights_only=False)
    assert trace.exists()


def test_code_in_one_of_several_shards_is_refused(folder, tmp_path):
    pickle_weights(folder, shards=3)
    torch.save({"x": Evil(tmp_path / "trace")}, folder / "pytorch_model-00002-of-00003.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model-00002-of-00003\.bin holds pickled code"):
        model_source(toy_spec(toy=None, path=str(folder)))
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("payload", [[1, 2], torch.ones(3), {"step": 3, "w": torch.ones(2)}, {1: torch.ones(2)}, {}])
def test_what_is_no_state_dict_is_refused(payload, tmp_path):
    torch.save(payload, tmp_path / "x.bin")
    with pytest.raises(ConfigError, match=r"save_pretrained"):
        unpickled_tensors(tmp_path / "x.bin")


def test_the_tar_format_of_old_is_named(tmp_path):
    with tarfile.open(tmp_path / "x.bin", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps({"protocol_version": 1000, "type_sizes": {}, "little_endian": True})
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with pytest.raises(ConfigError, match=r"before 2018 \(tar\)"):
        unpickled_tensors(tmp_path / "x.bin")


def test_a_weight_that_the_index_promises_must_be_there(folder):
    pickle_weights(folder, shards=2)
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    index["weight_map"]["model.layers.9.weight"] = "pytorch_model-00001-of-00002.bin"
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"promises, such as model\.layers\.9"):
        model_source(toy_spec(toy=None, path=str(folder)))
