"""Checkpoints damaged at random, or made by an enemy: a ConfigError or the very same model, and nothing is executed.

`FUZZ=1000 pytest tests/kinnari/models/test_malformed_checkpoints.py` looks longer.
"""

import json
import os
import pickle
import random
import shutil
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from kinnari.errors import ConfigError
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.source import model_source
from tests.kinnari.models.specs import toy_spec

SMALL = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "max_position_embeddings": 64}  # fmt: skip
TEXT = "ต้มยำ 된장 tea"


class Evil:
    """Unpickled by plain pickle, it makes a file."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(kind -> folder of the same model, its weights)"""
    root = tmp_path_factory.mktemp("malformed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(root / "cache"))
        single = shutil.copytree(model_source(toy_spec(toy=SMALL)), root / "single")
    (single / "kinnari_manifest.json").unlink()
    state = load_file(single / "model.safetensors")
    sharded = shutil.copytree(single, root / "sharded")
    (sharded / "model.safetensors").unlink()
    names = sorted(state)
    halves = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, keys in halves.items():
        save_file({key: state[key] for key in keys}, sharded / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: file for file, keys in halves.items() for key in keys}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    pickled = shutil.copytree(single, root / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save(state, pickled / "pytorch_model.bin")
    return {"single": single, "sharded": sharded, "pickled": pickled}, state


# --- one mutation each: (folder, random, path of the trace that execution would leave) ------------------------------------------


def _weights(folder, rng):
    return rng.choice(sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]))


def _settings(folder, rng):
    return rng.choice(sorted(folder.glob("*.json")))


def truncate_weights(folder, rng, trace):
    file = _weights(folder, rng)
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def flip_bytes_of_weights(folder, rng, trace):
    file = _weights(folder, rng)
    data = bytearray(file.read_bytes())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(min(len(data), 2048))] = rng.randrange(256)
    file.write_bytes(bytes(data))


def huge_header(folder, rng, trace):
    file = _weights(folder, rng)
    file.write_bytes(struct.pack("<Q", rng.choice([2**63, 2**40, 10**8, 3])) + file.read_bytes()[8:])


def drop_or_swap_or_add_tensors(folder, rng, trace):
    file = _weights(folder, rng)
    load, save = (
        (load_file, lambda t, f: save_file(t, f, metadata={"format": "pt"})) if file.suffix == ".safetensors" else (torch.load, torch.save)
    )
    state = dict(load(file))
    key = rng.choice(sorted(state))
    match rng.randrange(4):
        case 0:
            del state[key]
        case 1:
            state[key] = torch.zeros([n + 1 for n in state[key].shape])
        case 2:
            state[key.replace("layers.1", "layers.7")] = state[key].clone()
        case 3:
            state[key] = torch.full_like(state[key], rng.choice([float("nan"), float("inf")]))
    save(state, file)


def pickle_in_place_of_weights(folder, rng, trace):
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        file.unlink()
    payload = rng.choice([Evil(trace), {"model.norm.weight": Evil(trace)}, [Evil(trace)]])
    if rng.random() < 0.5:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, folder / "pytorch_model.bin")


def rewrite_settings(folder, rng, trace):
    file = _settings(folder, rng)
    garbage = ["", "{", "[]", "null", "3", '"x"', "{}", "[" * 5000, '{"a":' * 3000, "1" * 6000, "\ud800".encode("utf-16", "surrogatepass")]
    value = rng.choice(garbage)
    file.write_bytes(value if isinstance(value, bytes) else value.encode())


def change_one_setting(folder, rng, trace):
    file = _settings(folder, rng)
    content = json.loads(file.read_text())
    node = content
    while True:
        inner = [v for v in (node.values() if isinstance(node, dict) else node) if isinstance(v, (dict, list)) and v]
        if not inner or rng.random() < 0.4:
            break
        node = rng.choice(inner)
    key = rng.choice(sorted(node)) if isinstance(node, dict) else rng.randrange(len(node))
    value = rng.choice([None, -1, 0, 3, 1.5, "x", [], {}, True, "../../etc/passwd", [1, "a"], {"a": None}])
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = value
    file.write_text(json.dumps(content))


def remove_a_file(folder, rng, trace):
    rng.choice(sorted(folder.iterdir())).unlink()


def flip_bytes_of_settings(folder, rng, trace):
    file = _settings(folder, rng)
    data = bytearray(file.read_bytes())
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    file.write_bytes(bytes(data))


MUTATIONS = [truncate_weights, flip_bytes_of_weights, huge_header, drop_or_swap_or_add_tensors, pickle_in_place_of_weights,
             rewrite_settings, change_one_setting, remove_a_file, flip_bytes_of_settings]  # fmt: skip


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
@settings(max_examples=int(os.environ.get("FUZZ", "20")), deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["single", "sharded", "pickled"]))
def test_a_damaged_checkpoint_is_told_or_is_the_same_model(mutate, tmp_path_factory, whole, seed, kind):
    folders, state = whole
    root = tmp_path_factory.mktemp("mutated")
    folder, trace = shutil.copytree(folders[kind], root / "model"), root / "trace"
    mutate(folder, random.Random(seed), trace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(root / "cache"))
        loaded = _model_or_paragraph(toy_spec(toy=None, path=str(folder)))
    if isinstance(loaded, str):
        assert loaded and "\n\n" not in loaded and "Traceback" not in loaded
    else:
        _same_or_legal(*loaded, state, mutate)
    assert not trace.exists(), "something of the checkpoint was executed"
    shutil.rmtree(root)


def _model_or_paragraph(spec):
    """(model, tokenizer), or the text of the ConfigError; any other exception goes on."""
    try:
        return load_model(spec, dtype=torch.float32), load_tokenizer(spec)
    except ConfigError as error:
        return str(error)


def _same_or_legal(model, tokenizer, state, mutate):
    if mutate is flip_bytes_of_weights:  # a flipped bit of a number is a number: names, shapes and finiteness are what can be checked
        assert {key: tensor.shape for key, tensor in model.state_dict().items()} == {key: t.shape for key, t in state.items()}
        return
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert tokenizer(TEXT)["input_ids"] is not None
