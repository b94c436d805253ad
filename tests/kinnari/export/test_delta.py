"""Deltas published, looked into, and recovered byte for byte."""

from __future__ import annotations

import copy
import filecmp
import json
import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from kinnari.errors import ConfigError
from kinnari.export.delta import publish_delta, published_name
from kinnari.export.delta_manifest import Manifest
from kinnari.export.delta_recovery import recover_delta
from kinnari.models.toy import byte_tokenizer

TINY = {"vocab_size": 262, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "tie_word_embeddings": False}  # fmt: skip


FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(scope="module")
def base_model():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**TINY))


@pytest.fixture(scope="module")
def base(base_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "tiny-llama"
    base_model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tuned(base_model, tmp_path_factory):
    """Attention trained, the rest as it was; in shards, with tokenizer and template."""
    return save_tuned(base_model, tmp_path_factory.mktemp("runs") / "tuned")


def save_tuned(base_model, folder, **how):
    model = copy.deepcopy(base_model)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "self_attn" in name:
                parameter += 1e-3 * torch.randn_like(parameter)
    model.save_pretrained(folder, max_shard_size="20KB", **how)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    return folder


def same_folders(a, b):
    names = sorted(path.name for path in a.iterdir())
    assert names == sorted(path.name for path in b.iterdir())
    different = [name for name in names if not filecmp.cmp(a / name, b / name, shallow=False)]
    assert not different, different


def put(folder, **tensors):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors")
    return folder


def round_trip(tmp_path, tuned, base, **how):
    report = publish_delta(tuned, base, tmp_path / "delta", **how)
    recover_delta(tmp_path / "delta", base, tmp_path / "recovered")
    same_folders(tuned, tmp_path / "recovered")
    return report


def test_a_recovered_folder_is_the_tuned_one_byte_for_byte_and_loads(tuned, base, tmp_path):
    report = round_trip(tmp_path, tuned, base, shard_size="3KB")
    assert (report.changed, report.unchanged, report.whole) == (8, 2 * 5 + 3, ())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "recovered")
    ids = AutoTokenizer.from_pretrained(tmp_path / "recovered")("สวัสดี", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(model(ids).logits, AutoModelForCausalLM.from_pretrained(tuned)(ids).logits)


def test_a_delta_holds_what_changed_and_what_is_no_weight(tuned, base, tmp_path):
    report = publish_delta(tuned, base, tmp_path / "delta", "3KB")
    shards = sorted((tmp_path / "delta").glob("*.safetensors"))
    stored = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    assert len(shards) > 1 and all(name.count("self_attn") for name in stored)
    assert all(tensor.dtype == torch.int32 for tensor in stored.values())
    names = {path.name for path in (tmp_path / "delta").iterdir()} - {shard.name for shard in shards}
    beside = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert names == beside | {"kinnari_delta.json"}
    assert report.size_bytes == sum(shard.stat().st_size for shard in shards) < report.tuned_bytes


def test_no_shard_but_one_of_a_single_tensor_is_over_its_size(tuned, base, tmp_path):
    publish_delta(tuned, base, tmp_path / "delta", "1500")
    for shard in (tmp_path / "delta").glob("*.safetensors"):
        tensors = load_file(shard)
        assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= 1500


def test_a_model_that_did_not_change_has_an_empty_delta(base, tmp_path):
    report = round_trip(tmp_path, base, base)
    assert (report.changed, report.size_bytes) == (0, 0)


@pytest.mark.parametrize("base_dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tuned_dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_base_and_tuned_may_differ_in_dtype(base_dtype, tuned_dtype, tmp_path):
    torch.manual_seed(0)
    weight = torch.randn(50, 40) * torch.logspace(-9, 4, 40)
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-40, 3e38])
    base = put(tmp_path / "base", w=weight.to(base_dtype), odd=odd.to(base_dtype))
    changed = weight + 0.1 * torch.randn(50, 40)
    tuned = put(tmp_path / "tuned", w=changed.to(tuned_dtype), odd=odd.flip(0).to(tuned_dtype))
    assert round_trip(tmp_path, tuned, base).whole == ()


@given(st.binary(min_size=24, max_size=24), st.binary(min_size=24, max_size=24), st.sampled_from(FLOATS), st.sampled_from(FLOATS))
@settings(max_examples=60, deadline=None)
def test_any_bits_in_any_dtypes_come_back(tmp_path_factory, first, second, base_dtype, tuned_dtype):
    folder = tmp_path_factory.mktemp("any")
    count = min(24 // torch.finfo(dtype).bits * 8 for dtype in (base_dtype, tuned_dtype))
    base = put(folder / "base", w=torch.frombuffer(bytearray(first), dtype=base_dtype)[:count].clone())
    tuned = put(folder / "tuned", w=torch.frombuffer(bytearray(second), dtype=tuned_dtype)[:count].clone())
    round_trip(folder, tuned, base)


def test_a_grown_vocabulary_is_stored_as_steps_from_the_base_and_from_zero(tmp_path):
    rows = torch.randn(4, 8)
    base = put(tmp_path / "base", **{"model.embed_tokens.weight": rows})
    tuned = put(tmp_path / "tuned", **{"model.embed_tokens.weight": torch.cat([rows, torch.ones(2, 8)])})
    assert round_trip(tmp_path, tuned, base).changed == 1
    stored = load_file(tmp_path / "delta" / "delta-00001.safetensors")["model.embed_tokens.weight"]
    assert stored[:4].eq(0).all()
    assert torch.equal(stored[4:].view(torch.float32), torch.ones(2, 8))


def test_a_head_untied_in_tuning_is_a_difference_from_the_embedding(tmp_path):
    rows = torch.randn(4, 8)
    base = put(tmp_path / "base", **{"model.embed_tokens.weight": rows})
    tuned = put(tmp_path / "tuned", **{"model.embed_tokens.weight": rows, "lm_head.weight": rows + 1e-4})
    report = round_trip(tmp_path, tuned, base)
    assert (report.changed, report.unchanged, report.whole) == (1, 1, ())


def test_tensors_without_a_counterpart_are_stored_whole_and_named(tmp_path, caplog):
    base = put(tmp_path / "base", w=torch.randn(20, 20), n=torch.ones(3), gone=torch.ones(2))
    tuned = put(tmp_path / "tuned", w=torch.randn(20, 20), n=torch.ones(4, 1), score=torch.ones(2, dtype=torch.int32))
    with caplog.at_level(logging.WARNING):
        report = round_trip(tmp_path, tuned, base)
    assert sorted(report.whole) == ["n", "score"]
    assert "n, score" in caplog.text


def test_a_base_with_other_names_is_refused_since_the_delta_would_be_the_model(tmp_path, tuned):
    other = put(tmp_path / "other", **{"transformer.w": torch.randn(4, 4)})
    with pytest.raises(ConfigError, match=r"is not the base of .*21 of 21 tensors.*whole"):
        publish_delta(tuned, other, tmp_path / "delta")
    assert not (tmp_path / "delta").exists()


def test_other_weights_beside_the_models_are_not_published(base_model, base, tmp_path, caplog):
    tuned = save_tuned(base_model, tmp_path / "tuned")
    (tmp_path / "checkpoints").mkdir()
    (tuned / "checkpoints").mkdir()
    (tuned / "pytorch_model.bin").write_bytes(b"x")
    (tuned / "consolidated.safetensors").write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        publish_delta(tuned, base, tmp_path / "delta")
    assert not {"pytorch_model.bin", "checkpoints", "consolidated.safetensors"} & {path.name for path in (tmp_path / "delta").iterdir()}
    assert "checkpoints, consolidated.safetensors, pytorch_model.bin" in caplog.text


def test_the_manifest_names_the_base_and_no_folder_of_this_machine(tuned, base, tmp_path):
    publish_delta(tuned, base, tmp_path / "delta")
    text = (tmp_path / "delta" / "kinnari_delta.json").read_text("utf-8")
    assert json.loads(text)["base"] == "tiny-llama"
    assert str(base.parent) not in text and str(tuned.parent) not in text
    publish_delta(tuned, base, tmp_path / "delta", base_name="org/tiny", revision="abc")
    manifest = Manifest.read(tmp_path / "delta")
    assert (manifest.base, manifest.revision) == ("org/tiny", "abc")


def test_a_folder_of_the_hubs_cache_is_known_by_its_id_and_revision(tmp_path):
    revision = "0123456789abcdef0123456789abcdef01234567"
    assert published_name(tmp_path / "models--org--a--b" / "snapshots" / revision) == ("org/a--b", revision)
    assert published_name(tmp_path / "snapshots" / revision) == (revision, None)


def test_a_converted_gguf_file_is_known_by_the_files_name(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path))
    assert published_name(tmp_path / "SmolLM2.Q4_1-b179c9523d0e6a0f-2") == ("SmolLM2.Q4_1.gguf", None)
    assert published_name(tmp_path / "shrunk-llama-b179c9523d0e6a0f") == ("shrunk-llama-b179c9523d0e6a0f", None), "a toy"


def test_neither_base_nor_tuned_is_written_over(tuned, base, tmp_path):
    for target in (tuned, base, base / "delta"):
        with pytest.raises(ConfigError, match="which is read"):
            publish_delta(tuned, base, target)
    assert (tuned / "model.safetensors.index.json").is_file() and (base / "model.safetensors").is_file()


def test_a_shard_size_that_is_none_leaves_nothing_behind(tuned, base, tmp_path):
    with pytest.raises(ConfigError, match="Shard size 'big'"):
        publish_delta(tuned, base, tmp_path / "delta", "big")
    assert list(tmp_path.iterdir()) == []
