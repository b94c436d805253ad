"""One variant of `benchmarks/reward.py`, measured in this process: the run of `task=reward`, or TRL's.

python benchmarks/reward_child.py '<settings as json>'       # prints one line of json last
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from sft_child import StepLog, TimedSteps, clock_of

from kinnari.models.reward import RewardSettings
from kinnari.models.scalar_head import ScalarHead
from kinnari.strategies.tuning import trainable_parameters
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.logs import ignore_known_warnings
from kinnari.tasks.recorder import RunRecorder
from kinnari.tasks.training import build_trainer
from lightning_modules import RewardModel


def config(settings: dict[str, Any], folder: str) -> DictConfig:
    """The run that all variants do: Kinnari's defaults without validation and checkpoints, at a constant rate."""
    return compose([
        "task=reward",
        f"data=[{settings['data']}]",
        f"model={settings['model']}",
        f"model.max_length={settings['max_length']}",
        "strategy/tuning=full",
        f"trainer.precision={settings['precision']}",
        f"trainer.max_steps={settings['steps'] + 1}",
        f"batch.micro_size={settings['micro']}",
        f"batch.global_size={settings['micro'] * settings['accumulation']}",
        f"seed={settings['seed']}",
        f"output_dir={folder}",
        "optimizer.lr=1e-5",
        "scheduler=constant",
        "held_out.fraction=0",
        "callbacks=[progress,throughput,peak_memory]",
        *(f"reward.{name}={value}" for name, value in settings["reward"].items()),
        *settings["override"],
    ])  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What every variant starts from."""

    settings: dict[str, Any]
    cfg: DictConfig
    parts: build.Parts
    tokenizer: Any
    data: pl.LightningDataModule
    steps: int

    @property
    def reward(self) -> RewardSettings:
        """What is frozen, and how."""
        return RewardSettings(**{name: value for name, value in build.plain(self.cfg.reward).items() if name != "path"})

    def head(self, hidden_size: int) -> torch.Tensor:
        """[1, H] weight of the head that every variant begins with."""
        torch.manual_seed(self.cfg.seed)
        return ScalarHead(hidden_size).weight.detach()


def prepare(settings: dict[str, Any], folder: str) -> Run:
    """Config, tokenizer and tokenised pairs."""
    cfg = config(settings, folder)
    parts, tokenizer = build.parts(cfg), build.tokenizer(cfg)
    data = build.preference_datamodule(cfg, tokenizer, 0, 1, answers_alone=False, folder=None)
    data.setup()
    return Run(settings, cfg, parts, tokenizer, data, min(cfg.trainer.max_steps, data.plan.steps_per_epoch))


def ours(run: Run) -> tuple[StepLog, int]:
    """The same parts in the same trainer as `python launch.py task=reward`."""
    cfg, parts = run.cfg, run.parts
    model = build.tuned_model(cfg, parts, run.tokenizer)
    settings = build.fine_tuning_settings(cfg, parts, run.steps)
    module = RewardModel(model, settings, run.reward, parts.spec.packing)
    with torch.no_grad():
        module.reward_head.weight.copy_(run.head(module.reward_head.in_features))
    trainer = build_trainer(cfg, parts, RunRecorder(None), run.steps, run.data.plan.steps_per_epoch)
    log = StepLog(clock_of(run.settings))
    trainer.callbacks.append(TimedSteps(log))
    trainer.fit(module, datamodule=run.data)
    return log, trainable_parameters(module)[0]


def main() -> None:
    settings = json.loads(sys.argv[1])
    if any(name.startswith("trl") for name in settings["variants"]):
        import trl  # noqa: F401 - in every process of a comparison, so that all hold the same libraries in memory
    torch.set_num_threads(settings["threads"])
    ignore_known_warnings()
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(settings, folder)
        if settings["variant"].startswith("trl"):
            from reward_trl import trl_run

            log, trainable = trl_run(run)
        else:
            log, trainable = ours(run)
    found = log.result()
    found |= {"pairs_per_second": found.pop("trained_per_second"), "pairs": found.pop("trained"), "trainable": trainable}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
