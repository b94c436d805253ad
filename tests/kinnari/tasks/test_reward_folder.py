"""Reward models that are not whole: told by file, before any weights are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kinnari.errors import ConfigError
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.reward_folder import HEAD, check_reward_folder, write_reward_folder
from kinnari.tasks.rewards import check_reward, model_reward

BASE = ["task=ppo", "model=tiny_causal", "trainer.precision=32-true"]


@pytest.fixture(scope="module", params=["lora", "full"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cfg = compose([*BASE, f"strategy={request.param}"])
    head = {"reward_head.weight": torch.full((1, 64), 0.5)}
    return write_reward_folder(cfg, build.parts(cfg), build.tokenizer(cfg), head, tmp_path_factory.mktemp("reward") / "reward")


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for file in folder.rglob(name):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return damage


def told(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "reward.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return damage


def head(**tensors: torch.Tensor) -> Callable[[Path], None]:
    return lambda folder: save_file(tensors, folder / HEAD)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "head cut": (cut(HEAD), "truncated or damaged"),
    "head gone": (lambda folder: (folder / HEAD).unlink(), f"{HEAD} is missing"),
    "head of other names": (head(bias=torch.zeros(1, 64)), "is no head"),
    "head of NaN": (head(weight=torch.full((1, 64), torch.nan)), "NaN or infinite"),
    "description cut": (cut("reward.json"), "damaged, or was written by another version"),
    "description a list": (lambda folder: (folder / "reward.json").write_text("[]"), "damaged, or was written"),
    "description empty": (lambda folder: (folder / "reward.json").write_text("{}"), "KeyError: 'model'"),
    "settings of another version": (told(reward={"depth": 1}), "depth"),
    "weights cut": (cut("*model.safetensors"), "truncated or damaged"),
    "config cut": (cut("*config.json"), "truncated or damaged"),
}


def test_a_whole_folder_passes(whole):
    check_reward_folder(whole)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused_by_file(whole, tmp_path, name):
    damage, says = DAMAGES[name]
    folder = tmp_path / "reward"
    shutil.copytree(whole, folder)
    damage(folder)

    with pytest.raises(ConfigError, match=says) as refusal:
        check_reward(compose([*BASE, "ppo.reward=model", f"reward.path={folder}"]))
    assert str(folder) in str(refusal.value)


def test_a_head_of_another_model_is_refused(whole, tmp_path):
    folder = tmp_path / "reward"
    shutil.copytree(whole, folder)
    head(weight=torch.zeros(1, 7))(folder)
    cfg = compose([*BASE, "ppo.reward=model", f"reward.path={folder}", "strategy=full"])

    with pytest.raises(ConfigError, match=r"reads 7 numbers a token, and tiny_causal has 64"):
        model_reward(cfg, build.parts(cfg), None, folder)


@pytest.mark.parametrize(("files", "says"), [((), "holds no reward.json"), (("adapter_config.json",), "holds no reward.json")])
def test_a_folder_of_something_else_is_refused(tmp_path, files, says):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=says):
        check_reward_folder(tmp_path)


def test_the_folder_of_the_run_is_answered_with_the_folder_in_it(whole):
    with pytest.raises(ConfigError, match=f"reward.path={whole}"):
        check_reward_folder(whole.parent)


def test_an_adapter_on_other_random_weights_gets_a_backbone_of_its_own(tmp_path):
    """Toy and shrunk models draw their weights with the seed."""
    cfg = compose([*BASE, "strategy=lora", "seed=1"])
    state = {"reward_head.weight": torch.full((1, 64), 0.5)}
    folder = write_reward_folder(cfg, build.parts(cfg), build.tokenizer(cfg), state, tmp_path / "reward")
    found = {}
    for seed in (1, 2):
        other = compose([*BASE, "strategy=lora", f"seed={seed}", f"reward.path={folder}"])
        policy = build.tuned_model(other, build.parts(other), build.tokenizer(other))
        found[seed] = model_reward(other, build.parts(other), policy, folder).model is policy
    assert found == {1: True, 2: False}
