"""Safetensors folders read one tensor at a time."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from kinnari.errors import ConfigError
from kinnari.export.weight_files import (
    DTYPES,
    WeightFolder,
    bytes_of,
    checksum,
    header_of,
    keep_apart,
    places_in,
    plain_name,
    write_file,
)


@pytest.fixture
def folder(tmp_path):
    save_file({"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(1.5)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"c": torch.ones(4, dtype=torch.bfloat16)}, tmp_path / "model-00002-of-00002.safetensors", metadata={"format": "pt"})
    shards = {"a": 1, "b": 1, "c": 2}
    index = {"weight_map": {name: f"model-0000{shard}-of-00002.safetensors" for name, shard in shards.items()}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


def test_tensors_of_all_shards_are_there_by_name(folder):
    weights = WeightFolder(folder)
    assert weights.tensor("a").tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert weights.tensor("c").dtype == torch.bfloat16
    assert weights.places["a"].shape == (2, 3)
    assert weights.size_bytes == 24 + 4 + 8


def test_a_file_beside_the_index_is_not_the_models(folder):
    save_file({"a": torch.zeros(9)}, folder / "consolidated.safetensors")
    assert weights_shape(folder, "a") == (2, 3)


def weights_shape(folder, name):
    return tuple(WeightFolder(folder).tensor(name).shape)


def test_without_an_index_a_name_in_two_files_is_refused(folder):
    (folder / "model.safetensors.index.json").unlink()
    save_file({"c": torch.zeros(9)}, folder / "other.safetensors")
    with pytest.raises(ConfigError, match=r"holds c in model-00002-of-00002\.safetensors and in other\.safetensors"):
        WeightFolder(folder)


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_a_truncated_shard_is_named(folder, kept):
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=r"model-00001-of-00002\.safetensors cannot be read"):
        WeightFolder(folder)


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": "../a.safetensors"}}', '{"weight_map": {"a": "a.bin"}}']
)
def test_a_malformed_index_is_named(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ConfigError, match=r"model\.safetensors\.index\.json"):
        WeightFolder(folder)


def test_a_missing_shard_no_folder_and_a_folder_without_weights_are_refused(folder, tmp_path):
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model-00002-of-00002\.safetensors cannot be read"):
        WeightFolder(folder)
    with pytest.raises(ConfigError, match="is no folder"):
        WeightFolder(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no \.safetensors file"):
        WeightFolder(tmp_path / "empty")


def test_a_file_written_with_a_header_is_the_file_it_came_from(folder):
    path = folder / "model-00001-of-00002.safetensors"
    tensors = load_file(path)
    write_file(folder / "again.safetensors", header_of(path), lambda place: tensors[place.name])
    assert (folder / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_tensor_of_another_size_is_not_written(folder):
    header = header_of(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(ConfigError, match=r"a has 4 bytes where again\.safetensors has room for 24"):
        write_file(folder / "again.safetensors", header, lambda place: torch.tensor(1.0))


@pytest.mark.parametrize(
    "header",
    [
        "nonsense",
        "[1]",
        '{"a": 1}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}',
    ],
)
def test_a_damaged_header_is_refused(header):
    with pytest.raises(ConfigError, match="damaged"):
        places_in(header)


@pytest.mark.parametrize("dtype", [d for d in DTYPES.values() if d != torch.complex64])
def test_dtypes_are_spelt_as_safetensors_spells_them(dtype, tmp_path):
    save_file({"t": torch.zeros(2, dtype=torch.uint8).to(dtype) if dtype == torch.bool else torch.zeros(16, dtype=torch.uint8).view(dtype)},
              tmp_path / "model.safetensors")  # fmt: skip
    weights = WeightFolder(tmp_path)
    assert weights.places["t"].torch_dtype == dtype == weights.tensor("t").dtype


def test_checksums_tell_bits_shapes_and_dtypes_apart():
    zero = torch.zeros(2, 2)
    others = [torch.tensor([[0.0, 0.0], [0.0, -0.0]]), torch.zeros(4), torch.zeros(2, 2, dtype=torch.int32)]
    assert checksum(zero) == checksum(torch.zeros(2, 2).t())
    assert len({checksum(tensor) for tensor in [zero, *others]}) == 4


@pytest.mark.parametrize(("size", "count"), [("400MB", 400_000_000), ("2GB", 2 * 10**9), ("1.5 kb", 1500), ("12", 12), (300, 300)])
def test_sizes_are_decimal(size, count):
    assert bytes_of(size) == count


@pytest.mark.parametrize("size", ["", "MB", "0MB", "-1MB", "4 bananas", "0.1", "1e3MB"])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(ConfigError, match="must be a number with KB, MB, GB or TB"):
        bytes_of(size)


@given(st.text(max_size=30))
def test_a_plain_name_leads_nowhere_else(name):
    if plain_name(name):
        assert "/" not in name and "\\" not in name and "\0" not in name and name.strip(" .")


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "", "a\\b", "C:x", "x" * 300, "a\n"])
def test_names_that_lead_elsewhere_are_not_plain(name):
    assert not plain_name(name)


def test_what_is_read_is_not_written_over(tmp_path):
    keep_apart(tmp_path / "a", tmp_path / "ab", tmp_path / "b")
    for target in (tmp_path / "b", tmp_path / "b" / "c", tmp_path):
        with pytest.raises(ConfigError, match="which is read"):
            keep_apart(target, tmp_path / "b")
