"""The stages of task=rlhf: what each is configured to do, and the name of its folder, which says everything it came from.

    sft-3f0c...         config of the stage + contents of its data files
    reward-91ab...      the same + 3f0c
    ppo-77d2...         the same + 3f0c + 91ab
    evaluation-0b4e...  the same + 3f0c + 91ab + 77d2

A name does not depend on where the folders lie, on the machine (hw, ranks, rows of a forward: no result depends on these), on what is
logged and how often it is saved, on sections that the stage does not read, nor on Kinnari's version (result.json says which it was).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kinnari.errors import ConfigError
from kinnari.models.cache import file_sha256
from kinnari.preparation.fingerprints import digest
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import groups
from kinnari.tasks.toy import as_toy

TASKS = {"sft": "sft", "reward": "reward", "ppo": "ppo", "evaluation": "compare"}
HASH_DIGITS = 16
LARGE_FILE = 64 << 20  # bytes; above it a weight file is known by size and time of change, to spare minutes of reading

# What no stage's result depends on, and what only some stages read.
WATCHERS = ("progress", "samples", "rollout_samples", "throughput", "peak_memory", "energy", "export_best")  # callbacks that steer nothing
BESIDE_RESULT = ("output_dir", "rlhf", "hw", "logger", "checkpoint", "preparation", "preflight", "plan", "translation", "bootstrap",
                 "hydra", "batch.micro_size", "batch.num_workers", "strategy.parallel", "trainer.log_every_n_steps",
                 "reward.checkpoint_frozen",
                 *(f"callbacks.{name}" for name in WATCHERS))  # fmt: skip
UNREAD = {
    "sft": ("ppo", "reward"),
    "reward": ("ppo", "generation", "export", "cleaning", "limits", "mixing", "packing", "loss_on"),
    "ppo": ("generation", "reward"),
    "evaluation": ("ppo", "optimizer", "scheduler", "trainer.max_steps", "trainer.max_epochs", "callbacks", "packing", "loss_on", "export",
                   "batch"),
}  # fmt: skip
OF_PARENTS = ("model.path", "model.adapter", "model.package", "model.toy", "model.shrunk", "model.add_tokens", "reward.path",
              "task.before", "task.after")  # fmt: skip
OF_THE_CHAIN = ("task", "model", "hw", "experiment", "debug", "hparams_search")  # groups that mean the same for every stage


@dataclass(frozen=True)
class Stage:
    """One stage as it will run.

    Attributes:
        cfg: an ordinary config of its task, without interpolations, with `output_dir` and what comes of earlier stages filled in.
        covered: what the hash is made of, as plain values.
    """

    name: str
    cfg: DictConfig
    covered: dict[str, Any]

    @property
    def hash(self) -> str:
        return digest(self.covered)[:HASH_DIGITS]

    @property
    def folder(self) -> Path:
        return Path(self.cfg.output_dir)


def stage_config(common: DictConfig, name: str, *settings: Mapping[str, Any] | None) -> DictConfig:
    """The config of a stage's task: what the command says for all stages, then the stage's own settings, one after the other.

    Args:
        common: the resolved config of task=rlhf.
        settings: such as {"trainer": {"max_steps": 60}, "data": ["chatterbot"], "overrides": ["optimizer.lr=1e-4"]}; a mapping sets
            values, a name or a list of names chooses options of a group, and `overrides` are words of a command line, applied last.

    Raises:
        ConfigError: a setting does not exist, or belongs to the chain as a whole.
    """
    values: Any = OmegaConf.to_container(common, resolve=True)
    cfg = OmegaConf.create({key: value for key, value in values.items() if key != "rlhf"})
    words = [f"task={TASKS[name]}"]
    assigned: list[tuple[str, Any, bool]] = []
    for own in settings:
        for key, value, added in _own_settings(f"rlhf.{name}", own):
            if key in groups() and _chooses(value):
                _check_group(f"rlhf.{name}", key)
                words.append(f"{key}={_word(value)}")
            else:
                assigned.append((key.replace("/", "."), value, added))
    chosen, usual = _composed(tuple(words)), _composed(())
    if list(cfg.callbacks) == list(usual.callbacks):  # left as they are: a task may add some (watchdogs of PPO)
        cfg.callbacks = {**_unresolved(cfg.callbacks), **{n: c for n, c in _unresolved(chosen.callbacks).items() if n not in cfg.callbacks}}
    for word in words:
        key = word.partition("=")[0].replace("/", ".")
        options = _unresolved(OmegaConf.select(chosen, key))
        if key == "data":  # a source that the command has too is the command's, with the file it gives
            options = {option: _unresolved(cfg.data.get(option, own)) for option, own in options.items()}
        OmegaConf.update(cfg, key, options, merge=False)
        if key == "task":
            cfg.rlhf = common.rlhf  # the task of the evaluation takes its judge from there
    for key, value, added in assigned:
        _check_key(f"rlhf.{name}", cfg, key, added)
        OmegaConf.update(cfg, key, value, force_add=True)
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    resolved.pop("rlhf")
    return as_toy(OmegaConf.create(resolved), alone=False)


def _unresolved(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node


@functools.lru_cache(maxsize=16)
def _composed(words: tuple[str, ...]) -> DictConfig:
    return compose(words)


def _own_settings(where: str, own: Mapping[str, Any] | None) -> Iterator[tuple[str, Any, bool]]:
    """(group or dotted key, value, whether it may be new) of every setting, in the order in which they hold."""
    if own is None:
        return
    if not isinstance(own, Mapping):
        raise ConfigError(
            f"{where}={own} replaces the stage's settings by one value. Write {where}.overrides=[...], or +{where}.SECTION.NAME=VALUE."
        )
    yield from ((key, value, False) for key, value in _flat({k: v for k, v in own.items() if k != "overrides"}))
    words = own.get("overrides") or []
    if not isinstance(words, Sequence) or isinstance(words, str):
        raise ConfigError(f"{where}.overrides={words} must be a list: '{where}.overrides=[\"trainer.max_steps=100\"]'.")
    for override in OverridesParser.create().parse_overrides([str(word) for word in words]):
        if override.is_delete() or override.is_sweep_override() or override.package is not None:
            raise ConfigError(f"{where}.overrides holds {override.input_line!r}; write SETTING=VALUE or GROUP=OPTION there, nothing else.")
        yield override.key_or_group, override.value(), override.is_add()


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{prefix}/{name}" if prefix else str(name)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, key)
        else:
            yield key, value


def _chooses(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else f"[{','.join(value)}]"


def _check_group(where: str, group: str) -> None:
    # a reward model may stand on a model of its own: it reads text
    if group in OF_THE_CHAIN and (where, group) != ("rlhf.reward", "model"):
        raise ConfigError(f"{where}: {group}= cannot differ between stages. Give it on the command line itself, without rlhf.")


def _check_key(where: str, cfg: DictConfig, key: str, added: bool) -> None:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if key.split(".")[0] in ("hw", "output_dir", "checkpoint") and key != "checkpoint.every_n_steps":
        raise ConfigError(f"{where}: {key} belongs to the chain as a whole. Give it on the command line itself, without rlhf.")
    # `leaf in node` would be false for a value that is still to be given
    if not added and not (isinstance(node, DictConfig) and leaf in list(node)):
        known = f" There: {', '.join(map(str, node))}." if isinstance(node, DictConfig) else ""
        raise ConfigError(f"{where}: {key} does not exist.{known} For a new setting write +{key}=VALUE in {where}.overrides.")


# --- what the name of a folder is made of ----------------------------------------------------------------------------------


def planned(name: str, cfg: DictConfig, root: Path, parents: Sequence[Stage]) -> Stage:
    """The stage with its folder, and with every value under the old `output_dir` moved there.

    Args:
        cfg: of `stage_config`, with what comes of earlier stages filled in.
        parents: the stages whose outcome this one reads.
    """
    covered = covered_by(name, cfg, {parent.name: parent.hash for parent in parents})
    folder = root / f"{name}-{digest(covered)[:HASH_DIGITS]}"
    values = moved(OmegaConf.to_container(cfg, resolve=True), str(cfg.output_dir), str(folder), kept=str(root))
    return Stage(name, OmegaConf.create(values), covered)


def covered_by(name: str, cfg: DictConfig, parents: Mapping[str, str]) -> dict[str, Any]:
    """Everything the outcome of a stage depends on: its settings, the contents of files, the hashes of its parents."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in (*BESIDE_RESULT, *UNREAD[name], *(OF_PARENTS if parents else ())):
        _forget(values, key)
    values = moved(values, str(cfg.output_dir), "")
    model = [] if parents else [contents(cfg.model.path), contents(cfg.model.adapter)]
    return {"stage": name, "config": values, "data": data_files(cfg), "model": model, "parents": dict(parents)}


def data_files(cfg: DictConfig) -> dict[str, Any]:
    """SHA-256 of the local files of every source, and what cleaning steps declare of theirs (word lists)."""
    found: dict[str, Any] = {name: [file_sha256(file) for file in source.files()] for name, source in build.sources(cfg).items()}
    steps = instantiate(cfg.cleaning.steps, _convert_="all")
    declared = {name: str(getattr(step, "fingerprint", None)) for name, step in steps.items()}
    return found | ({"cleaning": declared} if declared else {})


def contents(path: str | None) -> Any:
    """What a file or folder of weights holds; None for a hub id, which its name must stand for."""
    if path is None or not Path(path).expanduser().exists():
        return None
    place = Path(path).expanduser()
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    return [[str(file.relative_to(place)), file.stat().st_size, _content(file)] for file in files]


def _content(file: Path) -> str:
    return file_sha256(file) if file.stat().st_size <= LARGE_FILE else str(file.stat().st_mtime_ns)


def _forget(values: dict[str, Any], key: str) -> None:
    *outer, leaf = key.split(".")
    node: Any = values
    for name in outer:
        node = node.get(name) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(leaf, None)


def moved(value: Any, before: str, after: str, kept: str | None = None) -> Any:
    """The same values with `after` in place of the folder `before`, at the beginning of any text, but for what is in the folder `kept`."""
    if isinstance(value, dict):
        return {key: moved(item, before, after, kept) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item, before, after, kept) for item in value]
    if not isinstance(value, str) or (kept is not None and f"{value}/".startswith(f"{kept}/")):
        return value
    return after + value.removeprefix(before) if f"{value}/".startswith(f"{before}/") else value
