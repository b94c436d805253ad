"""Where a model's files are, and whose code may run on the way."""

import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer

from kinnari.errors import ConfigError
from kinnari.models.load import load_model, load_tokenizer
from kinnari.models.source import model_source, published_name
from tests.kinnari.models.specs import toy_spec

CODE = """
from pathlib import Path
Path({trace!r}).mkdir()
from transformers import LlamaConfig, LlamaForCausalLM
class OddConfig(LlamaConfig):
    model_type = "odd"
class OddModel(LlamaForCausalLM):
    config_class = OddConfig
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(model_source(toy_spec()), tmp_path / "folder")


def with_code(folder, trace, **changes):
    (folder / "odd.py").write_text(CODE.format(trace=str(trace)))
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "odd.OddConfig", "AutoModelForCausalLM": "odd.OddModel"}, **changes}
    (folder / "config.json").write_text(json.dumps(config))


def test_code_of_a_checkpoint_runs_only_where_it_is_named(folder, tmp_path, caplog):
    trace = tmp_path / "trace"
    with_code(folder, trace, model_type="odd")
    for load in (load_tokenizer, lambda spec: load_model(spec, dtype=torch.float32)):
        with pytest.raises(ConfigError, match=r"set model\.trust_remote_code=true to let it run with all your rights"):
            load(toy_spec(toy=None, path=str(folder)))
    assert not trace.exists()
    model = load_model(toy_spec(toy=None, path=str(folder), trust_remote_code=True), dtype=torch.float32)
    assert trace.exists() and type(model).__name__ == "OddModel"
    assert "runs Python code that came with it" in caplog.text


def test_a_family_that_transformers_knows_needs_no_code(folder, tmp_path):
    with_code(folder, tmp_path / "trace")
    assert type(load_model(toy_spec(toy=None, path=str(folder)), dtype=torch.float32)).__name__ == "LlamaForCausalLM"
    assert not (tmp_path / "trace").exists()


def test_code_of_a_tokenizer_runs_only_where_it_is_named(folder, tmp_path):
    trace = tmp_path / "trace"
    (folder / "odd.py").write_text(f"from pathlib import Path\nPath({str(trace)!r}).mkdir()\nclass OddTokenizer: pass\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["odd.OddTokenizer", None]}, "tokenizer_class": "OddTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json names .*OddTokenizer.* set model\.trust_remote_code=true"):
        load_tokenizer(toy_spec(toy=None, path=str(folder)))
    assert not trace.exists()
    with pytest.raises(ConfigError, match="No tokenizer can be read"):  # it is none, but it ran
        load_tokenizer(toy_spec(toy=None, path=str(folder), trust_remote_code=True))
    assert trace.exists()


def test_names_for_others_are_hub_ids_and_the_users_folders(folder):
    local = toy_spec(toy=None, path=str(folder))
    assert published_name(local, "/somewhere/in/a/cache") == str(folder)
    assert published_name(toy_spec(toy=None, path="facebook/xglm-564M"), "/hub/cache") == "facebook/xglm-564M"
    assert published_name(toy_spec(), "/toy") == "/toy"


def test_a_toy_is_a_folder_that_plain_transformers_reads(folder):
    assert AutoTokenizer.from_pretrained(folder)("ก")["input_ids"] == load_tokenizer(toy_spec())("ก")["input_ids"]


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere", "~/nowhere-at-all"])
def test_a_path_that_is_not_there_is_not_asked_of_the_hub(path):
    with pytest.raises(ConfigError, match="does not exist as a folder"):
        model_source(toy_spec(toy=None, path=path))
