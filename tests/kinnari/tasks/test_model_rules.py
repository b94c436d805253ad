"""How a model may be loaded: one process over several GPUs, tokens added; each refusal names a way that passes."""

import pytest
from omegaconf import OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.rules import check, parallel_name, world_size

SINGLE = ("strategy/parallel=single", "batch.micro_size=2")
CASES = [
    (("strategy/parallel=single", "hw=v100x4"), "strategy.parallel.device_map=balanced", "hw=v100x4 strategy.parallel.device_map=balanced"),
    (("strategy.parallel.device_map=auto", "hw=cpu"), "Choose an hw with GPUs", "hw=v100x4 strategy.parallel.device_map=auto"),
    (("strategy.parallel.device_map=auto", "hw=v100x4", "hw.num_nodes=2"), "of another machine",
     "hw=v100x4 strategy.parallel.device_map=auto"),
    (("strategy.parallel.max_memory={0: 20GiB}", "hw=v100x4"), "Set strategy.parallel.device_map=auto too",
     "hw=v100x4 strategy.parallel.device_map=auto strategy.parallel.max_memory={0:20GiB}"),
    (("strategy.parallel.device_map=auto", "strategy.parallel.max_memory={4: 20GiB}", "hw=v100x4"), "names GPU 4",
     "hw=v100x4 strategy.parallel.device_map=auto strategy.parallel.max_memory={3:20GiB}"),
    (("strategy.parallel.device_map={model: 7}", "hw=v100x4"), "names GPU 7", "hw=v100x4 strategy.parallel.device_map={model:0,lm_head:1}"),
    (("strategy.parallel.device_map=auto", "strategy.parallel.max_memory=20GiB", "hw=v100x4"), "is no map",
     "hw=v100x4 strategy.parallel.device_map=auto strategy.parallel.max_memory={0:20GiB}"),
    (("strategy.parallel.device_map=auto", "strategy.parallel.max_memory={0: 2GiB, cpu: 9GiB}", "hw=rtx4090"), "there is no gradient",
     "task=generate hw=rtx4090 strategy.parallel.device_map=auto strategy.parallel.max_memory={0:2GiB,cpu:9GiB}"),
    (("task=generate", "strategy/tuning=lora_int8", "hw=rtx4090", "strategy.parallel.device_map=auto",
      "strategy.parallel.max_memory={0: 2GiB, cpu: 9GiB}"), "name the places",
     "task=generate strategy/tuning=lora_int8 hw=rtx4090 strategy.parallel.device_map={model:0,lm_head:cpu}"),
    (("model.add_tokens=['<|user|>']",), "Use strategy/tuning=full", "strategy/tuning=full model.add_tokens=['<|user|>']"),
    (("model.add_tokens=['<|user|>']", "strategy/tuning=qlora"), "adapters leave the embedding frozen", ""),
    (("model.add_tokens=7", "strategy/tuning=full"), "must be a list of texts", "strategy/tuning=full model.add_tokens=[a]"),
]  # fmt: skip


def composed(*overrides):
    return compose([*SINGLE, *overrides])


@pytest.mark.parametrize(("broken", "message", "remedy"), CASES, ids=[" ".join(broken) for broken, _, _ in CASES])
def test_what_cannot_work_is_refused_and_the_remedy_works(broken, message, remedy):
    with pytest.raises(ConfigError) as caught:
        check(composed(*broken))
    assert message in str(caught.value)
    check(composed(*remedy.split()))


def test_one_process_over_four_gpus_is_one_rank_of_the_batch():
    cfg = composed("hw=v100x4", "strategy.parallel.device_map=balanced", "batch.global_size=6", "batch.micro_size=3")
    check(cfg)  # 6 records in 2 micro-batches; four ranks could not share them
    assert (world_size(cfg), parallel_name(cfg), build.parts(cfg).world_size) == (1, "single", 1)
    strategy = build.strategy(cfg, build.parts(composed("hw=v100x4", "strategy.parallel.device_map=balanced")))
    assert strategy.root_device.index == 0


def test_a_map_with_module_names_comes_through_the_command_line():
    cfg = composed(
        "hw=v100x4", "strategy.parallel.device_map={model.embed_tokens:0,model.layers.0:1}", "strategy.parallel.max_memory={0:7}"
    )
    check(cfg)
    assert build.placement(cfg).device_map == {"model.embed_tokens": 0, "model.layers.0": 1}
    assert dict(build.placement(cfg).max_memory) == {0: 7}
    assert build.placement(compose(["hw=v100x4"])) is None


def test_int8_weights_may_wait_in_host_memory_to_answer(monkeypatch):
    asked = {}
    monkeypatch.setattr(build, "load_model", lambda spec, **keywords: asked.update(keywords) or (_ for _ in ()).throw(ConfigError("seen")))
    monkeypatch.setattr(build, "tokenizer", lambda cfg: None)
    cfg = composed("task=generate", "hw=rtx4090", "strategy/tuning=lora_int8", "strategy.parallel.device_map={model:0,lm_head:cpu}",
                   "strategy.parallel.max_memory={0:2GiB}")  # fmt: skip
    check(cfg)
    with pytest.raises(ConfigError, match="seen"):
        build.load_for_inference(cfg)
    assert asked["quantization"].llm_int8_enable_fp32_cpu_offload and asked["placement"].offloads
    OmegaConf.update(cfg, "strategy.parallel.device_map", {"model": 0, "lm_head": 0}, merge=False)
    with pytest.raises(ConfigError, match="seen"):
        build.load_for_inference(cfg)
    assert not asked["quantization"].llm_int8_enable_fp32_cpu_offload and not asked["placement"].offloads


def test_rows_longer_than_the_published_positions_are_refused_before_anything_is_fetched():
    with pytest.raises(ConfigError, match=r"model\.max_length=4096.*1024 positions"):
        build.parts(compose(["model=pangu350m", "model.max_length=4096"]))
    assert build.parts(compose(["model=xglm564m", "model.max_length=4096"])).spec.name == "xglm564m"  # computed positions: a warning
