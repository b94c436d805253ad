"""What recovery refuses: other bases, damaged deltas, manifests from people who mean harm."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from kinnari.errors import ConfigError
from kinnari.export.delta import publish_delta
from kinnari.export.delta_manifest import document_checksum
from kinnari.export.delta_recovery import recover_delta
from kinnari.export.weight_files import file_checksum

NAME = "kinnari_delta.json"


def put(folder, **tensors):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with base, tuned and delta: a, c changed, b unchanged, d new."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    base = {"a": torch.randn(6, 4), "b": torch.randn(8), "c": torch.randn(3, 3, dtype=torch.bfloat16)}
    put(folder / "base", **base)
    put(folder / "tuned", a=base["a"] + 0.5, b=base["b"], c=base["c"] * 2, d=torch.ones(2))
    publish_delta(folder / "tuned", folder / "base", folder / "delta", "80", base_name="org/base", revision="r1")
    return folder


@pytest.fixture
def folder(published, tmp_path):
    shutil.copytree(published, tmp_path / "f")
    return tmp_path / "f"


def recover(folder, base="base"):
    return recover_delta(folder / "delta", folder / base, folder / "recovered")


def rewrite(folder, change):
    """Edit the manifest as somebody would who means it: its own checksum is right."""
    path = folder / "delta" / NAME
    document = json.loads(path.read_text())
    change(document)
    document["sha256"] = document_checksum(document)
    path.write_text(json.dumps(document))


def test_recovery_reports_every_file_and_tensor(folder):
    report = recover(folder)
    assert report.verified_tensors == 4
    assert report.files == {name: (folder / "tuned" / name).stat().st_size for name in ("config.json", "model.safetensors")}
    assert report.base == "org/base"
    again = recover(folder)  # replaces the first
    assert again == report


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_another_base_is_refused_by_its_first_tensor_that_differs(folder, name):
    tensors = load_file(folder / "base" / "model.safetensors")
    tensors[name].view(torch.uint8).view(-1)[0] ^= 1  # one bit
    put(folder / "other", **tensors)
    with pytest.raises(ConfigError, match=rf"is not the base of this delta: {name} .*Give the folder of org/base at revision r1"):
        recover(folder, "other")
    assert not (folder / "recovered").exists() and not (folder / "recovered.tmp").exists()


def test_the_base_in_another_dtype_is_refused_with_the_dtype_found(folder):
    put(folder / "other", **{name: tensor.half() for name, tensor in load_file(folder / "base" / "model.safetensors").items()})
    with pytest.raises(ConfigError, match=r"\(torch\.float16, .*in the dtype in which it was published"):
        recover(folder, "other")


def test_a_base_without_a_tensor_is_refused(folder):
    put(folder / "other", z=torch.ones(1))
    with pytest.raises(ConfigError, match="it has no a"):
        recover(folder, "other")


def files_of(folder):
    return sorted(path.name for path in (folder / "delta").iterdir() if path.name != NAME)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_file_of_the_delta_is_named(folder, damage):
    for name in files_of(folder):
        path = folder / "delta" / name
        whole = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(whole[:-1] if damage == "cut" else bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(ConfigError, match=name):
            recover(folder)
        path.write_bytes(whole)
    assert not (folder / "recovered").exists()
    recover(folder)


def test_wrong_steps_under_a_right_file_checksum_are_found_after_the_sum(folder):
    shard = next(path for path in (folder / "delta").glob("*.safetensors") if "a" in load_file(path))
    tensors = load_file(shard)
    tensors["a"] += 1
    save_file(tensors, shard)
    rewrite(folder, lambda document: document["files"].update({shard.name: file_checksum(shard)}))
    with pytest.raises(ConfigError, match=f"a is not the tuned model's after recovery.*{shard.name}"):
        recover(folder)
    for wrong in (torch.zeros(6, 4, dtype=torch.int64), torch.zeros(4, 6, dtype=torch.int32)):
        save_file(tensors | {"a": wrong}, shard)
        rewrite(folder, lambda document: document["files"].update({shard.name: file_checksum(shard)}))
        with pytest.raises(ConfigError, match="does not fit"):
            recover(folder)


def test_a_folder_that_is_no_delta_is_refused(folder):
    with pytest.raises(ConfigError, match=r"export\.format=delta"):
        recover_delta(folder / "base", folder / "base", folder / "recovered")


def test_a_later_version_is_told(folder):
    rewrite(folder, lambda document: document.update(version=2))
    with pytest.raises(ConfigError, match="is of version 2"):
        recover(folder)


def replace_key(mapping, old, new):
    mapping[new] = mapping.pop(old)


HOSTILE = {
    "a file outside": lambda d: d["files"].update({"../../evil": "0" * 64}),
    "an absolute file": lambda d: d["files"].update({"/etc/evil": "0" * 64}),
    "weights outside": lambda d: replace_key(d["headers"], "model.safetensors", "../model.safetensors"),
    "weights that are a program": lambda d: replace_key(d["headers"], "model.safetensors", "modeling.py"),
    "weights over a side file": lambda d: d["files"].update({"model.safetensors": "0" * 64}),
    "a shard outside": lambda d: d["tensors"]["a"].update(file="../a.safetensors"),
    "a shard without checksum": lambda d: d["tensors"]["a"].update(file="b.safetensors"),
    "a tensor too many": lambda d: d["tensors"].update(z=d["tensors"]["a"]),
    "a tensor too few": lambda d: d["tensors"].pop("a"),
    "an unknown kind": lambda d: d["tensors"]["a"].update(kind="pickle"),
    "an unknown field": lambda d: d["tensors"]["a"].update(code="x"),
    "a difference from nothing": lambda d: d["tensors"]["a"].update(base=None),
    "steps nowhere": lambda d: d["tensors"]["a"].update(file=None),
    "no checksum": lambda d: d["tensors"]["a"].update(sha256=""),
    "a list": lambda d: d.update(tensors=[]),
    "a header of another shape": lambda d: d["headers"].update(
        {"model.safetensors": d["headers"]["model.safetensors"].replace("[6,4]", "[9,9]")}
    ),
    "a header of another dtype": lambda d: d["headers"].update(
        {"model.safetensors": d["headers"]["model.safetensors"].replace("BF16", "F4_X2")}
    ),
    "a whole tensor of another dtype": lambda d: d["headers"].update(
        {"model.safetensors": d["headers"]["model.safetensors"].replace('"d":{"dtype":"F32"', '"d":{"dtype":"I32"')}
    ),
    "a whole tensor of another shape": lambda d: d["headers"].update(
        {"model.safetensors": d["headers"]["model.safetensors"].replace('"shape":[2]', '"shape":[1]')}
    ),
    "no version": lambda d: d.pop("version"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_manifest_that_lies_is_refused_and_writes_nothing(folder, what):
    rewrite(folder, HOSTILE[what])
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError):
        recover(folder)
    assert sorted(folder.rglob("*")) == before


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_damage_to_the_manifest_yields_another_model(published, tmp_path_factory, data):
    """One byte changed anywhere is refused, or changes nothing (a space)."""
    folder = tmp_path_factory.mktemp("damage")
    shutil.copytree(published / "delta", folder / "delta")
    path = folder / "delta" / NAME
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        recover_delta(folder / "delta", published / "base", folder / "recovered")
    except ConfigError:
        assert not (folder / "recovered").exists()
    else:
        for name in ("config.json", "model.safetensors"):
            assert (folder / "recovered" / name).read_bytes() == (published / "tuned" / name).read_bytes()


def test_neither_delta_nor_base_is_written_over(folder):
    for target in (folder / "delta", folder / "base"):
        with pytest.raises(ConfigError, match="which is read"):
            recover_delta(folder / "delta", folder / "base", target)
