"""task=recover: from a delta and its base to the tuned folder, with a result that says so."""

from __future__ import annotations

import filecmp
import json

import pytest
import torch
from safetensors.torch import save_file

from kinnari.errors import ConfigError
from kinnari.export.delta import publish_delta
from kinnari.tasks.compose import compose
from kinnari.tasks.run import run


def put(folder, weight):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": weight}, folder / "model.safetensors")
    return folder


@pytest.fixture
def delta(tmp_path):
    torch.manual_seed(0)
    base = put(tmp_path / "base", torch.randn(3, 3))
    tuned = put(tmp_path / "tuned", torch.randn(3, 3))
    publish_delta(tuned, base, tmp_path / "delta", base_name="org/base", revision="r1")
    return tmp_path


def recover(folder, *overrides):
    cfg = compose(["task=recover", f"task.delta={folder / 'delta'}", f"output_dir={folder / 'out'}", *overrides])
    run(cfg)
    return json.loads((folder / "out" / "result.json").read_text())


def test_the_tuned_folder_comes_back_and_the_result_lists_it(delta):
    result = recover(delta, f"task.base={delta / 'base'}")
    assert (result["status"], result["verified_tensors"], result["base"]) == ("done", 1, "org/base")
    assert result["recovered_dir"] == str(delta / "out" / "recovered")
    assert sorted(file["path"] for file in result["files"]) == ["recovered/config.json", "recovered/model.safetensors"]
    assert filecmp.cmp(delta / "out/recovered/model.safetensors", delta / "tuned/model.safetensors", shallow=False)


def test_without_a_base_the_one_that_the_delta_names_is_fetched_at_its_revision(delta, monkeypatch):
    asked = []

    def fetched(source, revision=None):
        asked.append((source, revision))
        return delta / "base"

    monkeypatch.setattr("kinnari.tasks.recover.base_folder", fetched)
    assert recover(delta)["base_dir"] == str(delta / "base")
    assert asked == [("org/base", "r1")]


def test_another_base_ends_the_task_and_leaves_no_model(delta):
    with pytest.raises(ConfigError, match="is not the base of this delta: w "):
        recover(delta, f"task.base={put(delta / 'other', torch.zeros(3, 3))}")
    assert json.loads((delta / "out" / "result.json").read_text())["status"] == "failed"
    assert not (delta / "out" / "recovered").exists()


def test_a_delta_must_be_given():
    with pytest.raises(ConfigError, match=r"task\.delta"):
        run(compose(["task=recover"]))
