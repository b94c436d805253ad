"""Where a base is found."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.export.base_folder import base_folder


def test_a_folder_is_itself(tmp_path):
    assert base_folder(str(tmp_path)) == tmp_path


def test_a_gguf_file_is_converted(tmp_path, monkeypatch):
    monkeypatch.setattr("kinnari.export.base_folder.convert_gguf", lambda file: tmp_path / file.stem)
    (tmp_path / "model.gguf").touch()
    assert base_folder(str(tmp_path / "model.gguf")) == tmp_path / "model"


@pytest.mark.parametrize("source", ["./absent", "/absent/model", "~/absent-model", "absent.gguf"])
def test_a_path_that_does_not_exist_is_no_hub_id(source):
    with pytest.raises(ConfigError, match="does not exist"):
        base_folder(source)


@pytest.mark.parametrize("source", ["org/absent-model", "not a hub id", "a/b/c"])
def test_a_hub_that_does_not_answer_says_what_to_do(source, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=rf"The base {source} cannot be had from the hub .*copy its folder here"):
        base_folder(source)


def test_a_hub_id_is_found_in_the_cache_at_its_revision(monkeypatch, tmp_path):
    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--org--a" / "snapshots" / revision
    snapshot.mkdir(parents=True)
    asked = {}

    def download(source, **how):
        asked.update(how, source=source)
        return str(snapshot)

    monkeypatch.setattr("kinnari.export.base_folder.snapshot_download", download)
    assert base_folder("org/a", revision) == snapshot
    assert (asked["source"], asked["revision"]) == ("org/a", revision)
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in asked["allow_patterns"])
