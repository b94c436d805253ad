"""debug=toy: what conf/debug/toy.yaml cannot say by itself, because it depends on the recipe.

    numbers        none above those of toy.most
    strategy       of one device, where there is one
    data           example rows in each source's own layout, where its files are missing
    adapter        one with random weights, where the recipe goes on training one
    reward         of task=ppo, a reward model with random weights on the policy's architecture; a rule where a language model was asked

cfg = as_toy(compose(["experiment=jindo_guanaco_7b", "debug=toy"]))     # task=... through launch.py or run(cfg) does this by itself
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from kinnari.models.cache import built_once, cache_root

log = logging.getLogger(__name__)

PLACES = ("path", "target_path")  # what a source calls the files it reads
DRAWN = "lora_B"  # zero in a new adapter, which would make it one that changes nothing


def as_toy(cfg: DictConfig, *, alone: bool = True) -> DictConfig:
    """The config of the toy run; `cfg` itself where `toy` is null. Doing it twice changes nothing more.

    Args:
        alone: false for a stage of task=rlhf, whose adapter and reward model come from the stages before it.

    Raises:
        ConfigError: a source without example rows has no file.
    """
    if cfg.get("toy") is None:
        return cfg
    toy = cfg.copy()
    with open_dict(toy):
        _cap(toy, OmegaConf.to_container(toy.toy.most, resolve=True))
        _one_machine(toy)
        if OmegaConf.is_missing(toy.model, "path"):
            toy.model.path = None
        for name, node in toy.data.items():
            _fill(f"data.{name}", node, get_method(toy.toy.examples))
            node.limit = min(node.get("limit") or toy.toy.records, toy.toy.records)
        if alone:
            _toy_adapter(toy)
            _toy_reward(toy)
    return toy


# --- numbers and machine --------------------------------------------------------------------------------------------------


def _cap(node: Any, most: Any) -> None:
    """Lower what is above `most`, a mapping of the same shape, in place; settings that the recipe does not have are left out."""
    for key, limit in most.items():
        if key not in node or OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if isinstance(limit, Mapping):
            if isinstance(value, DictConfig):
                _cap(value, limit)
        elif isinstance(value, ListConfig):
            node[key] = [_lower(item, limit) for item in value]
        else:
            node[key] = _lower(value, limit)


def _lower(value: Any, limit: float) -> Any:
    return min(value, limit) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _one_machine(toy: DictConfig) -> None:
    """No strategy of several devices on one, no GPUs to spread a model over, and no host memory beside the device's."""
    parallel = toy.strategy.parallel
    if toy.hw.devices * toy.hw.num_nodes == 1 or parallel.get("device_map") is not None:
        toy.strategy.parallel = {"name": "auto", "timeout_s": parallel.timeout_s}
    for key in ("offload_optimizer", "offload_parameters"):
        if key in toy.strategy.parallel:
            toy.strategy.parallel[key] = False


# --- data -----------------------------------------------------------------------------------------------------------------


def _fill(where: str, node: DictConfig, examples: Callable[..., Path]) -> None:
    """Example files wherever a source names none, or some that are not here; sources inside it as well."""
    source = str(node.get("_target_", "")).rpartition(".")[2]
    for key in list(node):
        if key in PLACES and not _is_here(node, key):
            given = "" if OmegaConf.is_missing(node, key) else f" instead of {node[key]}, which is not here"
            node[key] = str(_examples(source, str(key), examples))
            log.info("%s.%s: a few example rows%s", where, key, given)
        elif not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig) and "_target_" in node[key]:
            _fill(f"{where}.{key}", node[key], examples)


def _is_here(node: DictConfig, key: str) -> bool:
    if OmegaConf.is_missing(node, key):
        return False
    paths = node[key] if isinstance(node[key], ListConfig) else [node[key]]
    return all(Path(str(path)).expanduser().exists() for path in paths)


def _examples(source: str, argument: str, examples: Callable[..., Path]) -> Path:
    """The file or folder in the cache, in a folder named by what it holds."""
    with tempfile.TemporaryDirectory() as temporary:
        place = examples(source, Path(temporary), argument)
        files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
        told = [[str(file.relative_to(temporary)), file.read_text("utf-8")] for file in files]
    return _once("rows", told, lambda folder: examples(source, folder, argument)) / place.name


# --- what a recipe begins with --------------------------------------------------------------------------------------------


def _toy_adapter(toy: DictConfig) -> None:
    """An adapter of the toy in place of the one that the recipe goes on training."""
    if toy.model.adapter is None or toy.strategy.tuning.name == "full" or _is_toys(toy.model.adapter):
        return
    toy.model.adapter = None

    def write(folder: Path) -> None:
        import torch

        from kinnari.tasks import build

        model = build.tuned_model(toy, build.parts(toy), build.tokenizer(toy))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if DRAWN in name:
                    parameter.normal_(std=0.02)
        model.save_pretrained(str(folder))

    toy.model.adapter = str(_once("adapter", [_plain(toy.model), _plain(toy.strategy.tuning), toy.seed], write))


def _is_toys(adapter: str) -> bool:
    """Whether it was made for a toy: its base then lies in the cache of models made here."""
    file = Path(adapter).expanduser() / "adapter_config.json"
    return file.is_file() and str(json.loads(file.read_text("utf-8")).get("base_model_name_or_path", "")).startswith(str(cache_root()))


def _toy_reward(toy: DictConfig) -> None:
    """What task=ppo is rewarded by, where the recipe leaves it to the user or names what no toy can score for."""
    if toy.task.name != "ppo":
        return
    if toy.ppo.reward == "llm" and toy.ppo.llm.model is None:
        log.info("ppo.reward=rule instead of llm: no language model is named (ppo.llm.model)")
        toy.ppo.reward, toy.ppo.rule = "rule", {"_target_": "kinnari.rollouts.rewards.near_length", "characters": 12}
    if toy.ppo.reward != "model" or _scores_a_toy(toy):
        return

    def write(folder: Path) -> None:
        import torch

        from kinnari.models.load import read_config
        from kinnari.models.source import model_source
        from kinnari.tasks import build
        from kinnari.tasks.reward_folder import HEAD_PREFIX, write_reward_folder

        parts = build.parts(toy)
        config: Any = read_config(parts.spec, model_source(parts.spec, seed=toy.seed))
        hidden = config.get_text_config(decoder=True).hidden_size
        head = torch.randn(1, hidden, generator=torch.Generator().manual_seed(toy.seed))
        write_reward_folder(toy, parts, build.tokenizer(toy), {f"{HEAD_PREFIX}weight": head}, folder)

    toy.reward.path = None
    told = [_plain(toy.model), _plain(toy.strategy.tuning), _plain(toy.reward), toy.seed]
    toy.reward.path = str(_once("reward", told, write))


def _scores_a_toy(toy: DictConfig) -> bool:
    """Whether the reward model that is named is itself a toy."""
    from kinnari.tasks.reward_folder import DESCRIPTION, read_description

    if toy.reward.path is None or not (Path(toy.reward.path).expanduser() / DESCRIPTION).is_file():
        return False
    model = read_description(Path(toy.reward.path))["model"]
    return bool(model["shrunk"] or model["toy"])


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True)


def _once(kind: str, told: Any, write: Callable[[Path], Any]) -> Path:
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return built_once(cache_root() / f"toy-{kind}-{digest}", write)
