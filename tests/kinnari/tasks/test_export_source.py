"""`checkpoint=` is told by what lies there, and what cannot be exported says what can."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from kinnari.errors import ConfigError
from kinnari.models.load import load_tokenizer
from kinnari.models.quantized import is_quantized_parameter
from kinnari.models.source import model_source
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.export_source import base_of_adapter, find, trained_model
from tests.kinnari.models.specs import toy_spec

IDS = torch.tensor([[7, 9, 30, 200]])


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def base(cache, tmp_path_factory):
    """A Hugging Face folder from elsewhere."""
    folder = tmp_path_factory.mktemp("elsewhere") / "somebodys-llama"
    shutil.copytree(model_source(toy_spec()), folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """An adapter that plain peft wrote, with settings that no file of ours has."""
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=5, lora_alpha=7, target_modules=["k_proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        expected = model.eval()(input_ids=IDS).logits
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder, expected


def run_folder(folder, steps=(3,), best=None):
    (folder / "checkpoints" / "best").mkdir(parents=True)
    OmegaConf.save(compose(["model=tiny_causal", f"output_dir={folder}"]), folder / "config.yaml", resolve=True)
    for step in steps:
        torch.save({"global_step": step, "state_dict": {}}, folder / "checkpoints" / f"step_{step:08d}.ckpt")
    if best is not None:
        torch.save({"global_step": best, "state_dict": {}}, folder / "checkpoints" / "best" / f"step_{best:08d}.ckpt")
    return folder


def test_a_run_means_its_best_checkpoint_else_its_latest(tmp_path):
    assert find(run_folder(tmp_path / "a", (3, 6), best=3)).path.parent.name == "best"
    found = find(run_folder(tmp_path / "b", (3, 6)))
    assert found.path.name == "step_00000006.ckpt" and found.kind == "checkpoint" and found.run.model.name == "tiny_causal"
    assert find(tmp_path / "b" / "checkpoints").path == found.path and find(found.path).run_dir == tmp_path / "b"


def test_a_torn_checkpoint_is_passed_over_and_refused_where_it_is_named(tmp_path):
    run = run_folder(tmp_path, (3, 6))
    torn = run / "checkpoints" / "step_00000006.ckpt"
    torn.write_bytes(torn.read_bytes()[:-40])
    assert find(run).path.name == "step_00000003.ckpt"
    with pytest.raises(ConfigError, match="torn"):
        find(torn)


def test_what_cannot_be_exported_is_refused_with_what_can(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"run's output folder, a \.ckpt file, a PEFT adapter folder or a Hugging Face folder"):
            find(path)


def test_a_reward_model_is_not_exported_without_its_head(tmp_path):
    run = run_folder(tmp_path)
    cfg = OmegaConf.load(run / "config.yaml")
    cfg.task.name = "reward"
    OmegaConf.save(cfg, run / "config.yaml")
    with pytest.raises(ConfigError, match="whose head"):
        find(run)


def test_a_checkpoint_away_from_its_run_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "step_00000001.ckpt")
    with pytest.raises(ConfigError, match="settings lie in its run's folder"):
        find(tmp_path / "step_00000001.ckpt")


def test_a_checkpoint_with_code_in_it_runs_nothing(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    run = run_folder(tmp_path / "run", ())
    torch.save({"global_step": 1, "state_dict": {}, "x": Payload()}, run / "checkpoints" / "step_00000001.ckpt")
    with pytest.raises(ConfigError, match="more than tensors"):
        trained_model(compose(["task=export", f"checkpoint={run}"]), find(run))
    assert not (tmp_path / "executed").exists()


def test_an_adapter_from_elsewhere_stands_on_the_base_its_config_names(adapter):
    folder, expected = adapter
    found = find(folder)
    trained = trained_model(compose(["task=export", f"checkpoint={folder}"]), found)
    assert found.kind == "adapter" and found.run is None
    assert torch.equal(trained.load()(input_ids=IDS).logits, expected)
    assert trained.facts.licence == "unstated" and not trained.facts.sources and trained.template is None


def test_an_adapter_from_elsewhere_may_stand_on_a_4_bit_base(adapter):
    folder, expected = adapter
    trained = trained_model(compose(["task=export", f"checkpoint={folder}", "strategy=qlora"]), find(folder))
    model = trained.load()
    gap = (model(input_ids=IDS).logits - expected).abs().max()
    assert is_quantized_parameter(model.get_base_model().model.layers[0].mlp.up_proj.weight) and 0 < gap < 0.5 * expected.std()
    assert trained.facts.tuning == "qlora"


def test_a_chosen_model_is_the_base_and_brings_its_licence_and_template(adapter, base):
    folder, expected = adapter
    cfg = compose(["task=export", f"checkpoint={folder}", "model=tiny_causal", "model.toy=null", f"model.path={base}"])
    trained = trained_model(cfg, find(folder))
    assert torch.equal(trained.load()(input_ids=IDS).logits, expected)
    assert trained.facts.licence == "MIT" and trained.template is not None


def test_the_base_of_an_adapter_is_found_among_the_model_files(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "facebook/xglm-564M"}))
    spec, cfg = base_of_adapter(compose(["task=export", f"checkpoint={tmp_path}"]), tmp_path)
    assert spec.name == "xglm564m" and cfg is not None and spec.licence == build.model_spec(compose(["model=xglm564m"])).licence


def test_an_adapter_without_a_base_asks_for_one(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="model=NAME"):
        base_of_adapter(compose(["task=export", f"checkpoint={tmp_path}"]), tmp_path)


def test_a_plain_folder_is_loaded_as_it_is(base):
    found = find(base)
    trained = trained_model(compose(["task=export", f"checkpoint={base}"]), found)
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(base)(input_ids=IDS).logits
        assert found.kind == "folder" and torch.equal(trained.load()(input_ids=IDS).logits, expected)
    assert trained.tokenizer("a")["input_ids"] == load_tokenizer(toy_spec())("a")["input_ids"]
