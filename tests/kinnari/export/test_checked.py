"""An export is checked before it gets its name, and freed models do not pile up."""

import gc
import json
import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM

from kinnari.errors import ConfigError, ExportRejected
from kinnari.export import checked
from kinnari.export.card import CardFacts
from kinnari.export.checked import ExportSettings, TrainedModel, export_model
from kinnari.export.gguf_checked import export_gguf
from kinnari.export.verify import load_plain
from kinnari.models.load import load_model, load_tokenizer
from kinnari.strategies.tuning import Tuning, apply_tuning, quantization_config
from tests.kinnari.models.specs import t5_spec, toy_spec


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def load_trained(spec, tuning):
    torch.manual_seed(0)
    model = load_model(spec, dtype=torch.float32, quantization=quantization_config(tuning, torch.float32, sharded=False))
    model = apply_tuning(model, tuning, spec)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


def trained(name="lora", spec=None, **changes):
    spec = spec or toy_spec()
    facts = CardFacts(name="toy", tuning=name, licence="MIT", seq2seq=spec.architecture == "seq2seq")
    load = partial(load_trained, spec, Tuning(name=name))
    whole = TrainedModel(load=load, tokenizer=load_tokenizer(spec), template=None, stored=torch.float32, facts=facts)
    return replace(whole, **changes)


@pytest.mark.parametrize("spec", [toy_spec(), t5_spec()], ids=["causal", "seq2seq"])
@pytest.mark.parametrize("name", ["full", "lora", "qlora", "lora_int8"])
def test_every_tuning_passes_its_check_in_every_dtype(name, spec, tmp_path):
    for dtype in (None, torch.float16, torch.bfloat16):
        made = export_model(trained(name, spec), ExportSettings(dtype=dtype), adapter=tmp_path / "adapter", merged=tmp_path / "merged")
        assert made.gap is not None and made.gap.computed_in == "float32" and made.gap.positions >= 300
        assert (made.adapter is None) == (name == "full")
        assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == str(dtype or torch.float32).removeprefix("torch.")
    assert ModelCard.load(tmp_path / "merged" / "README.md").data.license == "mit"
    assert name == "full" or ModelCard.load(tmp_path / "adapter" / "README.md").data.library_name == "peft"


def test_a_merge_that_lost_its_adapter_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    from kinnari.export import merged

    monkeypatch.setattr(merged, "_sum", lambda layer: layer.get_base_layer().weight.detach().float())
    with pytest.raises(ExportRejected, match="does not compute what was trained"):
        export_model(trained(), ExportSettings(dtype=torch.bfloat16), adapter=tmp_path / "adapter", merged=tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("limit", [{"max_logit_gap": 0.0}, {"min_greedy_agreement": 1.01}])
def test_a_named_limit_holds(limit, tmp_path):
    with pytest.raises(ExportRejected):
        export_model(trained(), ExportSettings(dtype=torch.bfloat16, **limit), adapter=None, merged=tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_the_trained_model_is_freed_before_the_merged_one_is_loaded(tmp_path, monkeypatch):
    made: list = []

    def load():
        model = load_trained(toy_spec(), Tuning(name="lora"))
        made.append(weakref.ref(model.get_base_model()))
        return model

    def load_merged(*args, **options):
        assert made[0]() is None
        return load_plain(*args, **options)

    monkeypatch.setattr(checked, "load_plain", load_merged)
    gc.disable()  # what is freed is freed on purpose
    try:
        export_model(trained(load=load), ExportSettings(), adapter=tmp_path / "adapter", merged=tmp_path / "merged")
    finally:
        gc.enable()
    assert len(made) == 1


def test_shards_are_no_larger_than_asked_and_all_are_in_the_index(tmp_path):
    made = export_model(trained(), ExportSettings(shard_size="40KB"), adapter=None, merged=tmp_path / "merged")
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    shards = sorted((tmp_path / "merged").glob("*.safetensors"))
    assert len(shards) > 3 and {path.name for path in shards} == set(index["weight_map"].values())
    for shard in shards:
        tensors = [name for name, file in index["weight_map"].items() if file == shard.name]
        header = int.from_bytes(shard.read_bytes()[:8], "little") + 8
        assert shard.stat().st_size - header <= 40_000 or len(tensors) == 1
        assert shard.stat().st_mode == (tmp_path / "merged" / "config.json").stat().st_mode
    assert made.report.size_bytes == sum(shard.stat().st_size for shard in shards)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert index["metadata"]["total_size"] == 4 * sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_a_gguf_file_is_read_back_and_compared(kind, tmp_path):
    plain = export_model(trained("full"), ExportSettings(), adapter=None, merged=tmp_path / "merged").merged
    folder, report, gap = export_gguf(trained("full"), plain, tmp_path / "gguf", kind)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", f"toy-{kind}.gguf"]
    assert 0 < gap.logit_gap_max < 0.5 * gap.logit_spread and report.kind == kind
    assert ModelCard.load(folder / "README.md").data.library_name == "gguf"


def test_a_gguf_file_over_the_limit_is_not_kept(tmp_path):
    plain = export_model(trained("full"), ExportSettings(), adapter=None, merged=tmp_path / "merged").merged
    with pytest.raises(ExportRejected, match="Q4_0"):
        export_gguf(trained("full"), plain, tmp_path / "gguf", "Q4_0", max_logit_gap=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_an_architecture_without_gguf_is_refused_by_name(tmp_path):
    plain = export_model(trained("full", t5_spec()), ExportSettings(), adapter=None, merged=tmp_path / "merged").merged
    with pytest.raises(ConfigError, match="t5"):
        export_gguf(trained("full", t5_spec()), plain, tmp_path / "gguf", "F16")
