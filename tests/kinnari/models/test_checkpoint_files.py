"""Files of a checkpoint are judged before they are read: names stay inside the folder, shards are all there and whole."""

import json

import pytest
import torch
from safetensors.torch import save_file

from kinnari.errors import ConfigError
from kinnari.models.checkpoint_files import PICKLED, SAFETENSORS, check_settings, check_whole, find_weights, read_index, read_settings


def write_index(folder, weight_map):
    (folder / SAFETENSORS.index).write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    "name", ["../a.safetensors", "/etc/a.safetensors", "sub/a.safetensors", "..\\a.safetensors", "a.pt", ".safetensors", ""]
)
def test_an_index_that_points_elsewhere_is_refused(name, tmp_path):
    write_index(tmp_path, {"w": "model-00001-of-00001.safetensors", "v": name})
    with pytest.raises(ConfigError, match="must not point outside"):
        read_index(tmp_path / SAFETENSORS.index)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000, "1" * 5000, '{"weight_map": []}', '{"weight_map": {}}'])
def test_an_index_that_is_no_map_is_refused(text, tmp_path):
    (tmp_path / SAFETENSORS.index).write_text(text)
    with pytest.raises(ConfigError, match="Copy the folder again"):
        read_index(tmp_path / SAFETENSORS.index)


def test_settings_must_be_utf8(tmp_path):
    (tmp_path / "config.json").write_bytes("{}".encode("utf-16"))
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        read_settings(tmp_path / "config.json")


def test_a_missing_shard_is_named(tmp_path):
    write_index(tmp_path, {"w": "model-00001-of-00002.safetensors", "v": "model-00002-of-00002.safetensors"})
    save_file({"w": torch.ones(2)}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(ConfigError, match=r"lacks 1 of the 2 files .* model-00002-of-00002\.safetensors"):
        find_weights(tmp_path)


def test_a_truncated_shard_is_named(tmp_path):
    write_index(tmp_path, {"w": "a.safetensors", "v": "b.safetensors"})
    save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors")
    save_file({"v": torch.ones(2)}, tmp_path / "b.safetensors")
    check_whole(find_weights(tmp_path))
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"b\.safetensors .* truncated, damaged"):
        check_whole(find_weights(tmp_path))


def test_a_shard_of_another_checkpoint_is_told_by_what_it_lacks(tmp_path):
    write_index(tmp_path, {"w": "a.safetensors", "v": "a.safetensors"})
    save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="lacks 1 weights that the index promises, such as v"):
        check_whole(find_weights(tmp_path))


def test_safetensors_win_over_pickled_files(tmp_path):
    with pytest.raises(ConfigError, match="holds no weights"):
        find_weights(tmp_path)
    torch.save({"w": torch.ones(2)}, tmp_path / PICKLED.single)
    assert find_weights(tmp_path).layout is PICKLED
    save_file({"w": torch.ones(2)}, tmp_path / SAFETENSORS.single)
    assert find_weights(tmp_path).layout is SAFETENSORS


def test_an_adapter_given_as_a_model_is_told_what_it_is(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"Set model\.adapter="):
        check_settings(tmp_path)


def test_a_config_may_not_choose_weight_files(tmp_path):
    (tmp_path / "config.json").write_text('{"transformers_weights": "elsewhere.safetensors"}')
    with pytest.raises(ConfigError, match="transformers_weights"):
        check_settings(tmp_path)
