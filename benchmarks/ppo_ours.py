"""Kinnari's variants of `benchmarks/ppo.py`, and what all variants start from: weights, prompts, a reward model.

Runs are those of `python launch.py task=ppo`, but for two things: no answer ends early (the end token is one that is never drawn), so
that all variants make the same number of tokens; and updates are timed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from ppo_log import UpdateLog

from datamodules.prompts import PromptDataModule
from kinnari.models.load import load_tokenizer
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.ppo import ppo
from kinnari.tasks.reward import reward
from lightning_modules import PPOModule

TUNING = {"ours": "lora", "ours_full": "full"}
NEVER = 16  # <empty_output>: a special token of SmolLM2 that no answer holds
LOGS: list[UpdateLog] = []


class EndlessPPO(PPOModule):
    """PPOModule whose answers are always as long as they may be."""

    def __init__(self, model: Any, tokenizer: Any, *arguments: Any, **keywords: Any) -> None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(NEVER)
        model.generation_config.eos_token_id = None
        super().__init__(model, tokenizer, *arguments, **{**keywords, "stop_id": None})


class TimedUpdates(pl.Callback):
    """Fills the UpdateLog from Kinnari's trainer."""

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        LOGS[0].probe = probe_of(module.model, LOGS[0].settings)
        LOGS[0].begin()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        LOGS[0].add(tokens=sum(len(r) for r in module.rollouts), kl=module.metrics["kl"])


@torch.no_grad()
def probe_of(model: torch.nn.Module, settings: dict[str, Any]) -> float:
    """Sum of log-probabilities, nats, of the first prompt's tokens: the same number where models are the same."""
    row = torch.tensor([json.loads((Path(settings["folder"]) / "prompts.json").read_text())["prompts"][0]])
    logits = model(input_ids=row).logits[:, :-1].float()
    return float(logits.log_softmax(-1).gather(-1, row[:, 1:, None]).sum())


def config(settings: dict[str, Any], *more: str) -> DictConfig:
    """The run that all variants do."""
    return compose([
        f"model={settings['model']}",
        "trainer.precision=32-true",
        f"batch.micro_size={settings['micro']}",
        f"batch.global_size={settings['batch']}",
        f"optimizer.lr={settings['lr']}",
        f"seed={settings['seed']}",
        "scheduler=constant",
        "logger=none",
        "held_out.fraction=0",
        *more,
        *settings["override"],
    ])  # fmt: skip


def ppo_config(settings: dict[str, Any], tuning: str, output_dir: str) -> DictConfig:
    """As `config`, for task=ppo."""
    return config(
        settings,
        "task=ppo",
        f"strategy={tuning}",
        f"output_dir={output_dir}",
        f"ppo.iterations={settings['updates'] + 1}",
        f"ppo.num_rollouts={settings['batch']}",
        f"ppo.epochs={settings['epochs']}",
        f"ppo.response_length={settings['response']}",
        "ppo.kl=fixed",
        "ppo.reward=model",
        f"reward.path={settings['folder']}/reward/reward",
        "task.module=ppo_ours.EndlessPPO",
        "task.export_merged=false",
        "checkpoint.every_n_steps=1000000",
        "callbacks=[progress,throughput,peak_memory,watchdogs,rollout_samples]",
        "+callbacks.timed._target_=ppo_ours.TimedUpdates",
    )


def ours(settings: dict[str, Any], output_dir: str) -> UpdateLog:
    """The whole of task=ppo."""
    LOGS.append(UpdateLog(settings))
    ppo(ppo_config(settings, TUNING[settings["variant"]], output_dir))
    return LOGS[0]


def prepare(settings: dict[str, Any], output_dir: str) -> None:
    """Into the folder: `model/` in transformers' form and float32, `prompts.json`, and `reward/reward`, a reward adapter of one step."""
    folder = Path(settings["folder"])
    cfg = ppo_config(settings, "lora", output_dir)
    parts = build.parts(cfg)
    _save_model(ppo_config(settings, "full", output_dir), folder / "model")
    data: PromptDataModule = build.datamodule(
        cfg, build.tokenizer(cfg), longest_prompt=cfg.model.max_length - settings["response"], prompts_per_iteration=settings["batch"]
    )
    data.iterations = settings["updates"] + 1
    data.setup()
    prompts = [p.token_ids for share in data.train_dataloader() for p in share.prompts]
    tuning = parts.tuning
    lora = {"r": tuning.r, "lora_alpha": tuning.alpha, "lora_dropout": tuning.dropout}
    targets = list(tuning.targets or parts.spec.lora_targets)
    (folder / "prompts.json").write_text(json.dumps({"prompts": prompts, "lora": {**lora, "target_modules": targets}, "never": NEVER}))
    pairs = ("task=reward", "data=chatterbot_ranked", "data.chatterbot_ranked.limit=16", "trainer.max_steps=1", "callbacks=none",
             "strategy=lora", f"output_dir={folder}/reward", "checkpoint.every_n_steps=1000000")  # fmt: skip
    reward(config({**settings, "batch": 8}, *pairs))


def _save_model(cfg: DictConfig, folder: Path) -> None:
    parts = build.parts(cfg)
    build.tuned_model(cfg, parts, build.tokenizer(cfg)).float().save_pretrained(folder)
    load_tokenizer(parts.spec).save_pretrained(folder)
    # transformers 4 reads these names alone, and would fall back on their defaults without a word
    path = folder / "config.json"
    known = json.loads(path.read_text())
    known |= {"rope_theta": known["rope_parameters"]["rope_theta"], "torch_dtype": "float32"}
    path.write_text(json.dumps(known, indent=1))
