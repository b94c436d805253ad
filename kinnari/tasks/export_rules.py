"""What `checkpoint=DIR` and the `export:` section may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError

FORMATS = ("hf", "adapter", "gguf", "delta", "original_llama")
GGUF_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1")
DTYPES = ("auto", "float32", "bfloat16", "float16")
CHECKPOINT_TASKS = ("export", "evaluate")
OR_MODEL = ("evaluate",)  # of those: what is not named by checkpoint= is by model=
EXPORTING_TASKS = ("export", "sft")
KINDS = "a run's output folder, a .ckpt file, a PEFT adapter folder or a Hugging Face folder"


def check_checkpoint_section(c: Mapping[str, Any]) -> None:
    """`checkpoint` is a folder or file where the task reads one, and the section of training's settings everywhere else.

    Raises:
        ConfigError: it is the other of the two.
    """
    task, node = c["task"]["name"], c.get("checkpoint")
    if task in OR_MODEL and isinstance(node, Mapping):
        return
    if task in CHECKPOINT_TASKS:
        if not isinstance(node, str) or not node.strip():
            raise ConfigError(f"task={task} reads a trained model, and none is named. Write task={task} checkpoint=DIR, with {KINDS}.")
    elif not isinstance(node, Mapping):
        raise ConfigError(
            f"checkpoint={node} with task={task}: only task={' and task='.join(CHECKPOINT_TASKS)} take a checkpoint in this way. To go on "
            f"with a training run write checkpoint.resume={node or 'auto'}, to train an adapter further model.adapter=DIR."
        )


def check_export(c: Mapping[str, Any]) -> None:
    """Values of `export:`, and that what reads a run does not write over it.

    Raises:
        ConfigError: a value is unknown, nothing is at `checkpoint`, or `output_dir` is the run's.
    """
    task, export = c["task"]["name"], c["export"]
    if task in CHECKPOINT_TASKS and isinstance(c["checkpoint"], str):
        _elsewhere(c)
    if task not in EXPORTING_TASKS:
        return
    for key, choices in (("format", FORMATS), ("dtype", DTYPES), ("gguf", GGUF_TYPES)):
        if export[key] not in choices:
            raise ConfigError(f"export.{key}={export[key]} is unknown. Choose one of {', '.join(choices)}.")
    _shard_size(export["shard_size"])
    _limits(export)


def _elsewhere(c: Mapping[str, Any]) -> None:
    given, folder = Path(c["checkpoint"]).expanduser().absolute(), Path(c["output_dir"]).absolute()
    if not given.exists():
        raise ConfigError(f"checkpoint={c['checkpoint']} does not exist. Give {KINDS}.")
    if folder in (given, *given.parents) and (folder / "config.yaml").is_file():
        raise ConfigError(
            f"output_dir={c['output_dir']} is the run that checkpoint={c['checkpoint']} belongs to: this task would write over its "
            "config.yaml and result.json. Leave output_dir out, or give another folder."
        )


def _shard_size(value: Any) -> None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *[KMGT]B", str(value).strip().upper())
    if found is None or float(found[1]) == 0:
        raise ConfigError(f"export.shard_size={value} is no size of a file. Write a number with KB, MB, GB or TB, such as 400MB.")


def _limits(export: Mapping[str, Any]) -> None:
    gap, agreement = export["max_logit_gap"], export["min_greedy_agreement"]
    if gap is not None and not (_is_number(gap) and gap >= 0):
        raise ConfigError(f"export.max_logit_gap={gap} must be a number of logits of at least 0, or null.")
    if agreement is not None and not (_is_number(agreement) and 0 <= agreement <= 1):
        raise ConfigError(f"export.min_greedy_agreement={agreement} is a share of positions: a number from 0 to 1, or null.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
