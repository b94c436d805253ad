"""Combinations that cannot work, refused before anything is loaded.

Every rule is one function over the resolved configuration as plain dicts. It raises a ConfigError that names the values, the
rule, and the nearest settings that work; what a rule does not mention it allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf

from kinnari.errors import ConfigError
from kinnari.tasks.benchmark_rules import check_benchmarks, check_evaluation_devices, check_leaderboard
from kinnari.tasks.config_errors import missing_value
from kinnari.tasks.data_rules import check_preparation, check_seed, check_sources
from kinnari.tasks.export_rules import check_checkpoint_section, check_export
from kinnari.tasks.model_rules import (
    check_added_tokens,
    check_encoder,
    check_no_offloading_in_training,
    check_offloaded_bits,
    check_placement,
    ranks_per_node,
)
from kinnari.tasks.preference_rules import check_preferences
from kinnari.text.plan import PACKINGS, accumulation
from kinnari.text.template import LossOn
from kinnari.text.truncation import Truncation

Config = Mapping[str, Any]

PARALLELS = ("single", "ddp", "fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "16-mixed")
TRAINING_TASKS = ("sft", "reward", "ppo", "dpo")
_SECTIONS = ("model", "strategy", "hw", "data", "cleaning", "optimizer", "scheduler", "generation", "callbacks", "logger", "trainer",
             "task", "batch", "limits", "mixing", "held_out", "preparation", "preflight", "export")  # fmt: skip


def check(cfg: DictConfig) -> None:
    """Raise ConfigError for the first rule that `cfg` breaks."""
    unresolved: Any = OmegaConf.to_container(cfg, resolve=False)
    _sections_are_mappings(unresolved)
    check_checkpoint_section(unresolved)
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    _nothing_is_missing(values)
    for rule in _RULES:
        rule(values)
    if values["task"]["name"] in TRAINING_TASKS:
        for rule in _TRAINING_RULES:
            rule(values)


def world_size(cfg: DictConfig) -> int:
    """Ranks of the run, over all nodes."""
    return _ranks(cfg)


def parallel_name(cfg: DictConfig) -> str:
    """The parallel strategy of the run, `auto` resolved."""
    return resolve_parallel(cfg.strategy.parallel.name, cfg.hw.devices, cfg.hw.num_nodes)


def resolve_parallel(name: str, devices: int, num_nodes: int) -> str:
    """`auto` is `single` on one device and `ddp` on more; every other name is itself.

    Raises:
        ConfigError: an unknown name.
    """
    if name == "auto":
        return "single" if devices * num_nodes == 1 else "ddp"
    if name not in PARALLELS:
        raise ConfigError(f"strategy.parallel.name={name} is unknown. Choose strategy/parallel=auto or one of {', '.join(PARALLELS)}.")
    return name


def _ranks(c: Config) -> int:
    return ranks_per_node(c) * int(c["hw"]["num_nodes"])


def _parallel(c: Config) -> str:
    return resolve_parallel(c["strategy"]["parallel"]["name"], c["hw"]["devices"], c["hw"]["num_nodes"])


def _tuning(c: Config) -> str:
    return c["strategy"]["tuning"]["name"]


# --- the configuration itself ---------------------------------------------------------------------------------------------


def _sections_are_mappings(c: Config) -> None:
    nodes = {name: c.get(name) for name in _SECTIONS}
    for group in ("strategy/parallel", "strategy/tuning", "model/template"):
        parent, child = group.split("/")
        section = nodes[parent]
        nodes[group] = section.get(child) if isinstance(section, Mapping) else {}
    for name, node in nodes.items():
        if isinstance(node, Mapping):
            continue
        if node is None:
            raise ConfigError(f"{name} is empty, and every task reads it. Leave out what removes it (~{name} or {name}=null).")
        how = f"{name}={node}" if "/" in name else f"{name}.SETTING=VALUE"
        raise ConfigError(f"{name.replace('/', '.')}={node} replaces a whole section by one value. Write {how} instead.")


def _nothing_is_missing(c: Config) -> None:
    missing = list(_missing(c))
    if missing:
        raise ConfigError(missing_value(*missing) + ".")


def _missing(node: Any, prefix: str = "") -> Iterator[str]:
    if node == "???":
        yield prefix.removesuffix(".")
    for name, value in node.items() if isinstance(node, Mapping) else ():
        yield from _missing(value, f"{prefix}{name}.")


# --- one value at a time --------------------------------------------------------------------------------------------------

_LOWEST = {"hw.devices": 1, "hw.num_nodes": 1, "model.max_length": 2, "batch.num_workers": 0}
_LOWEST_IN_TRAINING = {
    "batch.global_size": 1,
    "batch.micro_size": 1,
    "checkpoint.every_n_steps": 1,
    "checkpoint.keep": 1,
    "trainer.max_epochs": 0,
    "trainer.max_steps": 1,
    "trainer.gradient_clip": 0,
    "trainer.validate_every_n_steps": 1,
    "trainer.log_every_n_steps": 1,
    "trainer.nan_patience": 1,
    "optimizer.lr": 0,
    "optimizer.weight_decay": 0,
}
_MAY_BE_NULL = ("trainer.max_epochs", "trainer.max_steps", "trainer.gradient_clip", "trainer.validate_every_n_steps")
_MAY_BE_FRACTIONS = ("trainer.gradient_clip", "optimizer.lr", "optimizer.weight_decay")


def _sizes(c: Config) -> None:
    for key, lowest in _LOWEST.items():
        _at_least(c, key, lowest)


def _training_sizes(c: Config) -> None:
    for key, lowest in _LOWEST_IN_TRAINING.items():
        _at_least(c, key, lowest)
    if c["trainer"]["max_steps"] is None and c["trainer"]["max_epochs"] is None:
        raise ConfigError(
            "trainer.max_steps and trainer.max_epochs are both null: the run would never end. Set one, such as trainer.max_epochs=1."
        )


def _at_least(c: Config, key: str, lowest: int) -> None:
    value = _value(c, key)
    if value is None and key in _MAY_BE_NULL:
        return
    kinds = (int, float) if key in _MAY_BE_FRACTIONS else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or value < lowest:
        kind = "a number" if key in _MAY_BE_FRACTIONS else "a whole number"
        or_null = ", or null" if key in _MAY_BE_NULL else ""
        raise ConfigError(f"{key}={_shown(value)} must be {kind} of at least {lowest}{or_null}.")


def _value(c: Config, key: str) -> Any:
    node: Any = c
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            raise ConfigError(f"{key} is not set, and this task reads it. Leave out what removes it (~{key}).")
        node = node[name]
    return node


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def _one_of(c: Config, key: str, choices: tuple[str, ...]) -> None:
    value = _value(c, key)
    if value not in choices:
        raise ConfigError(f"{key}={_shown(value)} is unknown. Choose one of {', '.join(choices)}.")


def _known_names(c: Config) -> None:
    _one_of(c, "trainer.precision", ("auto", *PRECISIONS))
    _one_of(c, "hw.accelerator", ("cpu", "gpu"))
    _one_of(c, "packing", ("auto", *PACKINGS))
    _one_of(c, "loss_on", get_args(LossOn))
    _one_of(c, "limits.truncation", get_args(Truncation))
    _one_of(c, "model.dtype", ("auto", "float32", "bfloat16", "float16"))
    _one_of(c, "model.attention", ("auto", "sdpa", "eager", "flash_attention_2"))
    _one_of(c, "model.architecture", ("causal", "seq2seq", "encoder"))
    _one_of(c, "strategy.tuning.name", ("full", "lora", "qlora", "lora_int8"))
    _parallel(c)


def _adapter(c: Config) -> None:
    adapter = c["model"]["adapter"]
    if adapter is None:
        return
    if _tuning(c) == "full":
        raise ConfigError(
            f"model.adapter={adapter} with strategy/tuning=full: full tuning has no adapter to go on with. Choose "
            "strategy=lora, or "
            "merge the adapter first (task=export) and give the merged folder as model.path."
        )
    if not (Path(adapter) / "adapter_config.json").is_file():
        raise ConfigError(f"model.adapter={adapter} holds no adapter_config.json; give the folder of a PEFT adapter.")


def _resume(c: Config) -> None:
    resume = c["checkpoint"]["resume"]
    if resume not in (None, "auto") and not Path(str(resume)).exists():
        raise ConfigError(
            f"checkpoint.resume={resume} does not exist. Give a checkpoint's path, or checkpoint.resume=auto together "
            "with "
            "output_dir=RUN for the latest intact one of that run."
        )


# --- model and machine ----------------------------------------------------------------------------------------------------


def _precision(c: Config) -> None:
    hw, precision, dtype = c["hw"], c["trainer"]["precision"], c["model"]["dtype"]
    if precision.startswith("bf16") and not hw["bf16"]:
        raise ConfigError(
            f"trainer.precision={precision} on hw={hw['name']}: a {hw['device']} has no bfloat16. Use "
            "trainer.precision=16-mixed "
            "(float16 with loss scaling) or 32-true."
        )
    if dtype == "bfloat16" and not hw["bf16"]:
        raise ConfigError(
            f"model.dtype=bfloat16 on hw={hw['name']}: a {hw['device']} has no bfloat16. Use model.dtype=auto, float16 or float32."
        )
    if precision == "16-mixed" and hw["accelerator"] == "cpu":
        raise ConfigError(
            f"trainer.precision=16-mixed on hw={hw['name']}: processors do not compute in float16. Use "
            "trainer.precision=auto, "
            "bf16-mixed or 32-true."
        )


def _attention(c: Config) -> None:
    hw, attention, precision = c["hw"], c["model"]["attention"], c["trainer"]["precision"]
    if attention == "auto":
        return
    if attention not in hw["attention"]:
        raise ConfigError(
            f"model.attention={attention} on hw={hw['name']}: this kernel does not run on a {hw['device']}. Use "
            "model.attention=auto, "
            f"{' or '.join(hw['attention'])}."
        )
    if attention == "flash_attention_2" and precision == "32-true":
        raise ConfigError(
            "model.attention=flash_attention_2 with trainer.precision=32-true: this kernel takes 16-bit numbers alone. "
            "Use "
            "trainer.precision=bf16-mixed, or model.attention=sdpa."
        )


def _master_weights(c: Config) -> None:
    """Updates smaller than 1/256 of a bfloat16 weight are rounded away, so full tuning keeps float32 masters."""
    dtype, precision = c["model"]["dtype"], c["trainer"]["precision"]
    if _tuning(c) != "full" or (precision == "bf16-true" and dtype == "bfloat16"):
        return
    if precision == "bf16-true" and dtype == "auto":
        raise ConfigError(
            "trainer.precision=bf16-true with strategy/tuning=full trains bfloat16 weights without float32 masters, "
            "which loses small "
            "updates. Use trainer.precision=bf16-mixed; or say that you mean it with model.dtype=bfloat16."
        )
    if dtype in ("bfloat16", "float16"):
        raise ConfigError(
            f"model.dtype={dtype} with strategy/tuning=full and trainer.precision={precision}: the weights that are "
            "updated must be "
            "float32. Use model.dtype=auto; for bfloat16 throughout, trainer.precision=bf16-true model.dtype=bfloat16."
        )


def _packing(c: Config) -> None:
    model = c["model"]
    if c["packing"] != "packed" or (model["packing"] != "none" and model["architecture"] == "causal"):
        return
    why = (
        "an encoder-decoder reads one question per row"
        if model["architecture"] == "seq2seq"
        else "model.packing=none says that nothing keeps records in one row of it apart"
    )
    raise ConfigError(
        f"packing=packed with model={model['name']}: {why}, so records sharing a row would change each other. Use "
        "packing=auto or "
        "length_grouped, which wastes little padding too."
    )


def _packed_flash_attention(c: Config) -> None:
    one_row = c["batch"]["micro_size"] == 1
    packs = c["packing"] == "packed" or (c["packing"] == "auto" and c["model"]["packing"] != "none")
    if c["model"]["attention"] != "flash_attention_2" or not packs:
        return
    if c["model"]["packing"] == "mask4d":
        raise ConfigError(
            f"model.attention=flash_attention_2 with packed rows of model={c['model']['name']}: packing it needs a 4-D "
            "attention mask, "
            "which this kernel cannot take. Use model.attention=sdpa or packing=length_grouped."
        )
    if not one_row:
        raise ConfigError(
            f"model.attention=flash_attention_2 with packed rows and batch.micro_size={c['batch']['micro_size']}: this "
            "kernel finds the "
            "borders of records in a single row. Use batch.micro_size=1, model.attention=sdpa or "
            "packing=length_grouped."
        )


# --- strategies -----------------------------------------------------------------------------------------------------------


def _number_of_devices(c: Config) -> None:
    name, hw, ranks = _parallel(c), c["hw"], _ranks(c)
    if name == "single" and ranks > 1:
        raise ConfigError(
            f"strategy/parallel=single runs on one device, but hw.devices={hw['devices']} x "
            f"hw.num_nodes={hw['num_nodes']} are {ranks}. "
            "Use strategy/parallel=auto or ddp, or hw.devices=1 hw.num_nodes=1; or let one process spread one model over all GPUs with "
            "strategy.parallel.device_map=balanced."
        )
    if ranks > 1 or name == "single" or (name.startswith("deepspeed") and hw["accelerator"] == "gpu"):
        return  # DeepSpeed on one GPU still makes sense: it can keep optimizer state in host memory
    two = "hw=cpux2" if hw["accelerator"] == "cpu" else "hw.devices=2"
    raise ConfigError(
        f"strategy/parallel={name} spreads work over devices, but hw={hw['name']} has one. Use {two}, or strategy/parallel=single."
    )


def _evaluation_devices(c: Config) -> None:
    if c["task"]["name"] == "evaluate":
        _number_of_devices(c)
        check_evaluation_devices(c, _parallel(c))


def _quantised_weights(c: Config) -> None:
    tuning, parallel = _tuning(c), _parallel(c)
    if tuning == "lora_int8" and parallel in ("fsdp", "deepspeed_zero3"):
        raise ConfigError(
            f"strategy/tuning=lora_int8 with strategy/parallel={parallel}: 8-bit weights are integers, and only "
            "floating-point weights "
            "can be sharded. Use strategy/parallel=ddp or deepspeed_zero2, or strategy/tuning=lora."
        )


def _optimizer_state(c: Config) -> None:
    optimizer, parallel = c["optimizer"]["name"], _parallel(c)
    if parallel in ("single", "ddp") or optimizer == "adamw":
        return
    if optimizer == "lion" and parallel != "fsdp":
        return
    why = {
        "adafactor": "its state is one number per row and column, which has no meaning on a piece of a matrix",
        "lion": "bitsandbytes' kernel takes whole parameters, not pieces",
    }.get(optimizer, "its state is kept in blocks of 8-bit numbers or in pages that cannot be sharded")
    raise ConfigError(f"optimizer={optimizer} with strategy/parallel={parallel}: {why}. Use optimizer=adamw, or strategy/parallel=ddp.")


def _offloading(c: Config) -> None:
    parallel, options = _parallel(c), c["strategy"]["parallel"]
    asked = [key for key in ("offload_optimizer", "offload_parameters") if options.get(key)]
    if asked and not parallel.startswith("deepspeed"):
        raise ConfigError(
            f"strategy.parallel.{asked[0]}=true with strategy/parallel={parallel}: only DeepSpeed keeps parts of the "
            "run in host memory "
            "here. Use strategy/parallel=deepspeed_zero3 (or deepspeed_zero1 or deepspeed_zero2 with offload_optimizer)."
        )


def _accumulation(c: Config) -> None:
    accumulation(c["batch"]["global_size"], c["batch"]["micro_size"], _ranks(c))


_RULES: tuple[Callable[[Config], None], ...] = (
    _sizes,
    check_seed,
    _known_names,
    check_sources,
    check_preparation,
    check_export,
    check_encoder,
    check_placement,
    check_offloaded_bits,
    _adapter,
    _precision,
    _attention,
    check_benchmarks,
    check_leaderboard,
    _evaluation_devices,
)
_TRAINING_RULES: tuple[Callable[[Config], None], ...] = (
    _training_sizes,
    _number_of_devices,
    check_no_offloading_in_training,
    check_added_tokens,
    _quantised_weights,
    _optimizer_state,
    _offloading,
    _master_weights,
    _packing,
    _packed_flash_attention,
    _accumulation,
    _resume,
    check_preferences,
)
