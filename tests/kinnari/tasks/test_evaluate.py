"""Which model is examined, and where its weights are."""

from __future__ import annotations

import json

import pytest
import torch

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import OCNLI
from kinnari.evaluation.examinee import Examination, Examinee
from kinnari.evaluation.outcome import Outcome
from kinnari.tasks import build
from kinnari.tasks.benchmarks import chosen
from kinnari.tasks.compose import compose
from kinnari.tasks.evaluate import evaluate, in_dtype, of_model, sit
from kinnari.tasks.evaluate_files import flat
from kinnari.tasks.evaluate_table import per_cent


def test_a_benchmark_has_the_name_of_its_option_and_what_all_share():
    found = chosen(compose(["benchmark=[tnews,ocnli]", "benchmark.limit=7", "benchmark.ocnli.limit=3"]).benchmark)
    assert [(one.name, one.limit) for one in found] == [("tnews", 7), ("ocnli", 3)]
    assert chosen(compose().benchmark) == []


def test_what_makes_no_benchmark_is_told():
    with pytest.raises(ConfigError, match=r"benchmark\.odd\._target_=builtins\.dict makes no benchmark, but a dict"):
        chosen({"odd": {"_target_": "builtins.dict"}, "limit": None})


def test_files_are_looked_for_before_weights_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "load_for_inference", lambda cfg: pytest.fail("the model was loaded"))
    with pytest.raises(ConfigError, match="ocnli"):
        evaluate(compose(["task=evaluate", "benchmark=ocnli", f"benchmark.data_dir={tmp_path}", "model=tiny_causal"]))


@pytest.mark.parametrize(("asked", "most"), [("null", 2048), (100, 100), (9999, 2048)])
def test_texts_are_as_long_as_the_model_was_made_for_whatever_it_is_trained_with(asked, most):
    cfg = compose(["model=tiny_causal", f"benchmark.max_length={asked}", "model.max_length=64"])
    assert of_model(cfg).max_length == most


@pytest.mark.parametrize(("hw", "device"), [("cpu", "cpu"), ("a100x4", "cuda:0")])
def test_weights_go_to_the_device_of_the_rank_quantised_or_not(monkeypatch, hw, device):
    """No strategy moves them where nothing is trained."""

    class Seen(Exception):
        pass

    def load(spec, **options):
        raise Seen(options["device"], options["placement"])

    monkeypatch.setattr(build, "load_model", load)
    with pytest.raises(Seen) as seen:
        build.load_for_inference(compose(["model=tiny_causal", f"hw={hw}", "hw.devices=1", "trainer.precision=32-true"]))
    assert seen.value.args == (torch.device(device), None)


def test_every_benchmark_is_sat_in_turn_and_timed(monkeypatch):
    exams = [Examination(benchmark=OCNLI(name=name), questions=[]) for name in ("a", "b")]
    monkeypatch.setattr(Examinee, "sit", lambda self, exam, advance: Outcome(exam.benchmark.name, "accuracy", [], {}))
    outcomes, seconds = sit(Examinee(model=None, tokenizer=None), exams, show=False)  # type: ignore[arg-type]
    assert [outcome.name for outcome in outcomes] == ["a", "b"] and seconds >= 0


def test_what_nobody_knows_is_null_in_json_and_a_dash_in_the_table():
    outcome = Outcome("own", "accuracy", [], {"accuracy": float("nan"), "n": 3})
    assert json.dumps(flat([outcome])) == '{"own/accuracy": null, "own/n": 3}'
    assert (per_cent(float("nan")), per_cent(0.625)) == ("-", "62.5")


def test_weights_take_another_dtype_and_whole_numbers_and_buffers_do_not():
    model = torch.nn.BatchNorm1d(2).bfloat16()
    model.register_parameter("bits", torch.nn.Parameter(torch.tensor([1, 2], dtype=torch.uint8), requires_grad=False))
    in_dtype(model, torch.float32)
    assert (model.weight.dtype, model.bits.dtype, model.running_mean.dtype) == (torch.float32, torch.uint8, torch.bfloat16)
