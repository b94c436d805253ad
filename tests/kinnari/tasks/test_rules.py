"""Every rule: what it refuses, what it says, and the settings beside it that pass."""

from __future__ import annotations

import copy
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import groups
from kinnari.tasks.rules import check, parallel_name, resolve_parallel, world_size


@cache
def composed(*groups: str) -> DictConfig:
    return compose(list(groups))


def config(*overrides: str) -> DictConfig:
    """Choices of groups are composed once each; settings are set on a copy."""
    chosen = [o for o in overrides if o.partition("=")[0] in groups()]
    cfg = copy.deepcopy(composed(*chosen))
    for override in overrides:
        if override not in chosen:
            key, _, value = override.partition("=")
            OmegaConf.update(cfg, key, OmegaConf.create(f"v: {value}").v, force_add=True)
    return cfg


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(config(*overrides))
    return str(caught.value)


def test_the_default_run_breaks_no_rule():
    check(config())


# What is refused, what the message says, and a remedy it offers, which passes.
CASES = [
    # sources
    ("data.chatterbot.weight=0", "data.chatterbot.weight=0 must be above 0", "data.chatterbot.weight=0.5"),
    ("data.chatterbot.weight=heavy", "data.chatterbot.weight=heavy must be above 0", "data.chatterbot.weight=2"),
    ("data.chatterbot.weight=null", "data.chatterbot.weight=null must be above 0", "data.chatterbot.weight=1"),
    ("data.chatterbot.weight=.inf", "data.chatterbot.weight=inf must be above 0", "data.chatterbot.weight=10"),
    ("data.chatterbot.weight=.nan", "data.chatterbot.weight=nan must be above 0", "data.chatterbot.weight=1"),
    ("data.chatterbot.limit=1.5", "limit=1.5 must be a whole number", "data.chatterbot.limit=2"),
    ("data.chatterbot.limit=true", "limit=True must be a whole number", "data.chatterbot.limit=1"),
    ("data.chatterbot.limit=few", "limit=few must be a whole number", "data.chatterbot.limit=null"),
    ("data.chatterbot.limit_seed=-1", "limit_seed=-1 must be a whole number from 0 to 4294967295", "data.chatterbot.limit_seed=1"),
    ("data.chatterbot.licence=null", "data.chatterbot.licence=null must be text", "data.chatterbot.licence=MIT"),
    ("data=file data.file.path=null", "data.file.path=null must be a file", "data=file data.file.path=a.csv"),
    ("data=file data.file.path=5", "data.file.path=5 must be a file", "data=file data.file.path=[a.csv,b.csv]"),
    ("data=file data.file.path=''", "or a list of files and folders", "data=file data.file.path=a.csv"),
    ("data=file data.file.path=[]", "must be a file", "data=file data.file.path=[a.csv]"),
    ("data.more.path=a.csv", "data.more names no class of sources", "data.more._target_=datamodules.sources.GenericFile"),
    ("data.chatterbot.steps=5", "data.chatterbot.steps=5 must name steps", "data.chatterbot.steps={}"),
    ("cleaning.steps.mine=5", "cleaning.steps.mine=5 is no step", "cleaning=none"),
    # data preparation
    ("seed=-1", "seed=-1 must be a whole number from 0 to 4294967295", "seed=0"),
    ("seed=99999999999", "must be a whole number from 0 to 4294967295", "seed=42"),
    ("seed=abc", "seed=abc must be a whole number", "seed=1"),
    ("mixing.temperature=.nan", "mixing.temperature=nan must be above 0", "mixing.temperature=5"),
    ("held_out.most=1.5", "held_out.most=1.5 must be a whole number of at least 0.", "held_out.most=2"),
    ("held_out.fraction=-0.1", "held_out.fraction=-0.1 must be a number of at least 0, or null.", "held_out.fraction=0"),
    ("limits.max_source=long", "limits.max_source=long must be a whole number of at least 1, or null.", "limits.max_source=9"),
    ("limits.max_target=1.5", "limits.max_target=1.5 must be a whole number of at least 1, or null.", "limits.max_target=null"),
    ("preflight.records=-1", "preflight.records=-1 must be a whole number of at least 0.", "preflight.records=0"),
    ("preparation.cache=maybe", "preparation.cache=maybe must be true or false.", "preparation.cache=false"),
    ("task=inspect task.records=all", "task.records=all must be a whole number", "task=inspect task.records=3"),
    ("task=inspect task.records=-1", "task.records=-1 must be a whole number", "task=inspect task.records=0"),
    ("task=prepare task.rows=pair", "task.rows=pair is unknown. Choose one of conversations, pairs.", "task=prepare task.rows=pairs"),
    ("task=prepare task.construction=best", "Choose one of adjacent, all.", "task=prepare task.construction=all"),
    ("task=prepare task.pairs_per_prompt=0", "task.pairs_per_prompt=0 must be", "task=prepare task.pairs_per_prompt=1"),
    ("task=prepare task.conversations=1", "must be true or false.", "task=prepare task.conversations=true"),
    ("task=translate task.limit=some", "task.limit=some must be a whole number", "task=translate task.limit=3"),
    ("model/template=glm loss_on=everything", "predicting the next one is copying it", "model/template=glm loss_on=answers"),
    ("mixing.temperature=0", "mixing.temperature=0 must be above 0", "mixing.temperature=1"),
    ("mixing.temperature=2 data.chatterbot.weight=3", "both say how often", "mixing.temperature=2 data.chatterbot.weight=1.0"),
    ("held_out.near_duplicates=1.5", "must be above 0 and at most 1", "held_out.near_duplicates=0.8"),
    ("held_out.fraction=1.0", "leaves nothing to train on", "held_out.fraction=null"),
    ("task=prepare held_out.fraction=1.0", "leaves nothing to train on", "task=prepare held_out.fraction=0.05"),
    ("preparation.workers=0", "preparation.workers=0 must be a whole number of at least 1, or auto", "preparation.workers=auto"),
    ("preparation.workers=many", "must be a whole number", "preparation.workers=2"),
    ("cleaning.steps=null", "cleaning.steps=null must name steps", "cleaning=none"),
    ("loss_on=prompts", "loss_on=prompts is unknown. Choose one of answers", "loss_on=everything"),
    ("limits.truncation=head", "limits.truncation=head is unknown", "limits.truncation=drop"),
    # precision
    ("hw=v100x4 trainer.precision=bf16-mixed", "has no bfloat16", "hw=v100x4 trainer.precision=16-mixed"),
    ("hw=t4 trainer.precision=bf16-true", "has no bfloat16", "hw=t4 trainer.precision=32-true"),
    ("hw=v100x1 model.dtype=bfloat16", "model.dtype=bfloat16 on hw=v100x1", "hw=v100x1 model.dtype=float16"),
    ("trainer.precision=16-mixed", "processors do not compute in float16", "trainer.precision=bf16-mixed"),
    ("hw=cpux2 strategy/parallel=fsdp trainer.precision=16-mixed", "16-mixed on hw=cpux2", "hw=cpux2 strategy/parallel=fsdp"),
    ("trainer.precision=bf16", "trainer.precision=bf16 is unknown. Choose one of auto, 32-true", "trainer.precision=bf16-mixed"),
    (
        "strategy=full trainer.precision=bf16-true",
        "without float32 masters",
        "strategy=full trainer.precision=bf16-true model.dtype=bfloat16",
    ),
    ("strategy=full model.dtype=float16", "must be float32", "strategy=full model.dtype=auto"),
    ("strategy=full model.dtype=bfloat16 trainer.precision=bf16-mixed", "must be float32", "strategy=full model.dtype=float32"),
    # attention
    ("hw=v100x1 model.attention=flash_attention_2", "does not run on a Tesla V100", "hw=v100x1 model.attention=sdpa"),
    ("model.attention=flash_attention_2", "does not run on a CPU", "model.attention=eager"),
    (
        "hw=rtx4090 model.attention=flash_attention_2 trainer.precision=32-true",
        "16-bit numbers alone",
        "hw=rtx4090 model.attention=sdpa trainer.precision=32-true",
    ),
    (
        "hw=rtx4090 model.attention=flash_attention_2",
        "borders of records in a single row",
        "hw=rtx4090 model.attention=flash_attention_2 batch.micro_size=1",
    ),
    (
        "hw=rtx4090 model=xglm564m model.attention=flash_attention_2 batch.micro_size=1",
        "4-D attention mask",
        "hw=rtx4090 model=xglm564m model.attention=flash_attention_2 packing=length_grouped",
    ),
    # packing
    ("model.packing=none packing=packed", "nothing keeps records in one row", "model.packing=none packing=length_grouped"),
    ("model=tiny_seq2seq packing=packed", "encoder-decoder", "model=tiny_seq2seq packing=auto"),
    ("packing=pack", "packing=pack is unknown. Choose one of auto, none, length_grouped, packed.", "packing=packed"),
    # strategies
    ("hw=cpux2 strategy/parallel=single", "strategy/parallel=single runs on one device", "hw=cpux2 strategy/parallel=auto"),
    ("strategy/parallel=ddp", "Use hw=cpux2", "strategy/parallel=ddp hw=cpux2"),
    ("hw=rtx4090 strategy/parallel=fsdp", "Use hw.devices=2", "hw=rtx4090 strategy/parallel=fsdp hw.devices=2"),
    ("strategy/parallel=deepspeed_zero2", "Use hw=cpux2", "strategy/parallel=deepspeed_zero2 hw=rtx4090"),
    (
        "hw=cpux2 strategy/tuning=lora_int8 strategy/parallel=fsdp",
        "8-bit weights are integers",
        "hw=cpux2 strategy/tuning=lora_int8 strategy/parallel=ddp",
    ),
    (
        "hw=cpux2 strategy/tuning=lora_int8 strategy/parallel=deepspeed_zero3",
        "8-bit weights are integers",
        "hw=cpux2 strategy/tuning=lora_int8 strategy/parallel=deepspeed_zero2",
    ),
    (
        "hw=cpux2 strategy/parallel=fsdp strategy.parallel.offload_optimizer=true",
        "only DeepSpeed",
        "hw=cpux2 strategy/parallel=deepspeed_zero2 strategy.parallel.offload_optimizer=true",
    ),
    # optimizers
    ("hw=cpux2 strategy/parallel=fsdp optimizer=adamw_8bit", "cannot be sharded", "hw=cpux2 strategy/parallel=ddp optimizer=adamw_8bit"),
    ("hw=cpux2 strategy/parallel=deepspeed_zero2 optimizer=paged_adamw", "cannot be sharded", "optimizer=paged_adamw"),
    ("hw=cpux2 strategy/parallel=deepspeed_zero3 optimizer=adafactor", "one number per row and column", "optimizer=adafactor"),
    ("hw=cpux2 strategy/parallel=fsdp optimizer=lion", "takes whole parameters", "hw=cpux2 strategy/parallel=ddp optimizer=lion"),
    # batch
    (
        "batch.global_size=9",
        "Use batch.global_size=8 or batch.global_size=10, or batch.micro_size in [1, 3, 9].",
        "batch.global_size=10",
    ),
    ("hw=v100x8 batch.micro_size=4", "4 x 8 = 32", "hw=v100x8"),
    ("batch.micro_size=0", "batch.micro_size=0 must be a whole number of at least 1.", "batch.micro_size=1"),
    ("batch.global_size=16.5", "batch.global_size=16.5 must be a whole number", "batch.global_size=16"),
    # how long
    ("trainer.max_epochs=null", "both null", "trainer.max_epochs=null trainer.max_steps=3"),
    ("trainer.max_steps=0", "trainer.max_steps=0 must be a whole number of at least 1, or null.", "trainer.max_steps=1"),
    ("checkpoint.every_n_steps=0", "checkpoint.every_n_steps=0", "checkpoint.every_n_steps=1"),
    ("trainer.gradient_clip=-1", "trainer.gradient_clip=-1 must be a number of at least 0, or null", "trainer.gradient_clip=null"),
    ("held_out.fraction=1", "leaves nothing to train on", "held_out.fraction=0"),
    ("held_out.fraction=-0.1", "held_out.fraction=-0.1", "held_out.fraction=0.5"),
    ("model.max_length=1", "model.max_length=1", "model.max_length=2"),
    ("hw.devices=0", "hw.devices=0", "hw.devices=1"),
    ("optimizer.lr=fast", "optimizer.lr=fast must be a number", "optimizer.lr=1e-5"),
    # data
    ("data.chatterbot.weight=0", "data.chatterbot.weight=0 must be above 0", "data.chatterbot.weight=0.5"),
    ("data.chatterbot.limit=0", "data.chatterbot.limit=0", "data.chatterbot.limit=1"),
    ("data=alpaca", "data.alpaca.path must be given", "data=alpaca data.alpaca.path=FILE"),
    # files
    ("task=export", "task=export checkpoint=DIR", "task=export checkpoint=."),
    ("task=export checkpoint=''", "none is named", "task=export checkpoint=."),
    ("task=export checkpoint=ABSENT", "ABSENT does not exist. Give a run's", "task=export checkpoint=."),
    ("checkpoint=RUN", "checkpoint.resume=RUN", "checkpoint.resume=auto"),
    ("task=inspect checkpoint=RUN", "only task=export and task=evaluate take", "task=inspect"),
    ("task=export checkpoint=. export.format=onnx", "Choose one of hf, adapter, gguf", "task=export checkpoint=. export.format=gguf"),
    ("task=export checkpoint=. export.gguf=Q5", "Choose one of F32, F16", "task=export checkpoint=. export.gguf=Q8_0"),
    ("export.dtype=int4", "export.dtype=int4 is unknown", "export.dtype=bfloat16"),
    ("export.shard_size=400", "such as 400MB", "export.shard_size=400MB"),
    ("export.shard_size=0GB", "such as 400MB", "export.shard_size=1.5GB"),
    ("export.max_logit_gap=-1", "must be a number of logits", "export.max_logit_gap=0.5"),
    ("export.min_greedy_agreement=95", "a number from 0 to 1", "export.min_greedy_agreement=0.95"),
    ("export=hf", "export=hf replaces a whole section", "export.format=hf"),
    ("checkpoint.resume=nowhere.ckpt", "checkpoint.resume=nowhere.ckpt does not exist", "checkpoint.resume=auto"),
    ("model.adapter=nowhere", "holds no adapter_config.json", "model.adapter=null"),
    # sections
    ("batch=3", "batch=3 replaces a whole section by one value. Write batch.SETTING=VALUE instead.", ""),
    ("strategy.parallel=fsdp", "Write strategy/parallel=fsdp instead", "hw=cpux2 strategy/parallel=fsdp"),
    ("model.template=alpaca", "Write model/template=alpaca instead", "model/template=alpaca"),
]


@pytest.mark.parametrize(("broken", "message", "remedy"), CASES, ids=[broken for broken, _, _ in CASES])
def test_a_combination_that_cannot_work_is_refused_and_the_remedy_works(broken, message, remedy):
    assert message in refused(*broken.split())
    check(config(*remedy.split()))


def test_an_emptied_section_is_refused():
    cfg = config()
    cfg.scheduler = None
    with pytest.raises(ConfigError, match="scheduler is empty"):
        check(cfg)


def test_an_adapter_with_full_tuning_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "full tuning has no adapter" in refused("strategy=full", f"model.adapter={tmp_path}")
    check(config("strategy=lora", f"model.adapter={tmp_path}"))


def test_a_removed_setting_is_named():
    cfg = config()
    OmegaConf.set_struct(cfg, False)
    del cfg.batch["micro_size"]
    with pytest.raises(ConfigError, match=r"batch\.micro_size is not set"):
        check(cfg)


def test_rules_of_training_do_not_bind_other_tasks():
    check(config("task=inspect", "hw=v100x8", "batch.micro_size=4"))
    check(config("task=generate", "batch.global_size=9"))
    assert "has no bfloat16" in refused("task=generate", "hw=t4", "trainer.precision=bf16-mixed")


@pytest.mark.parametrize(
    ("name", "devices", "num_nodes", "resolved"),
    [("auto", 1, 1, "single"), ("auto", 2, 1, "ddp"), ("auto", 1, 2, "ddp"), ("fsdp", 4, 1, "fsdp"), ("single", 1, 1, "single")],
)
def test_auto_is_single_on_one_device_and_ddp_on_more(name, devices, num_nodes, resolved):
    assert resolve_parallel(name, devices, num_nodes) == resolved


def test_an_unknown_parallel_strategy_is_refused():
    with pytest.raises(ConfigError, match="zero3 is unknown"):
        resolve_parallel("zero3", 2, 1)


def test_ranks_are_devices_times_nodes():
    cfg = config("hw=v100x4", "hw.num_nodes=3")
    assert (world_size(cfg), parallel_name(cfg)) == (12, "ddp")


@settings(deadline=None, max_examples=60)
@given(
    global_size=st.integers(1, 64), micro_size=st.integers(1, 16), devices=st.integers(1, 8), num_nodes=st.integers(1, 3)
)  # fmt: skip
def test_batch_sizes_pass_exactly_when_they_divide(global_size, micro_size, devices, num_nodes):
    cfg = config(f"batch.global_size={global_size}", f"batch.micro_size={micro_size}", f"hw.devices={devices}", f"hw.num_nodes={num_nodes}")
    if global_size % (micro_size * devices * num_nodes) == 0:
        check(cfg)
    else:
        with pytest.raises(ConfigError, match=r"is not a multiple of"):
            check(cfg)
