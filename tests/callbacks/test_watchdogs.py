"""The watchdogs in a real run of PPO: told in result.json, kept in checkpoints, able to end it; answers as text in TensorBoard."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import RolloutSamples, Watchdogs
from callbacks.rollout_samples import shown, spread
from kinnari.errors import ConfigError, RunStopped
from kinnari.rollouts.rollout import Rollout
from kinnari.rollouts.watchdog_rules import RULES
from kinnari.tasks.compose import compose
from kinnari.tasks.ppo import ppo
from kinnari.tasks.rules import check
from kinnari.tasks.run import run as launch
from kinnari.text.conversation import Message
from kinnari.text.prompts import Prompt
from tests.callbacks.conftest import Fit
from tests.distributed import run_ranks

WORDS = (
    "task=ppo", "model=tiny_causal", "strategy=lora", "trainer.precision=32-true", "batch.micro_size=4", "batch.global_size=4",
    "task.export_merged=false", "data.chatterbot.limit=60", "ppo.num_rollouts=4", "ppo.epochs=1", "ppo.response_length=4",
    "ppo.held_out_prompts=2", "callbacks=[watchdogs,rollout_samples]", "logger=none", "ppo.reward=rule", "ppo/rule=matching",
    "callbacks.watchdogs.limits.window=2", "callbacks.watchdogs.limits.eos_rate=0",
)  # fmt: skip
BLIND = "ppo.rule.pattern=never-said"  # every answer scores 0


def composed(folder: Path | str, *more: str) -> Any:
    cfg = compose([*WORDS, BLIND, *more, f"output_dir={folder}"])
    check(cfg)
    return cfg


def no_signal(result: dict[str, Any]) -> list[int]:
    return [finding["iteration"] for finding in result["watchdogs"] if finding["name"] == "no_signal"]


def test_ppo_is_watched_by_default_and_callbacks_can_still_be_chosen() -> None:
    assert {"progress", "watchdogs", "rollout_samples"} <= set(compose(["task=ppo"]).callbacks)
    assert list(compose(["task=ppo", "callbacks=none"]).callbacks) == []
    assert "watchdogs" not in compose(["task=sft"]).callbacks


def test_a_fault_is_told_once_and_survives_a_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    with caplog.at_level(logging.WARNING, logger="callbacks.watchdogs"):
        result = ppo(composed(whole, "ppo.iterations=4", "checkpoint.every_n_steps=3", "checkpoint.keep=9"))
    lines = [record.getMessage() for record in caplog.records if "no_signal" in record.getMessage()]
    assert no_signal(result) == [1]  # the second iteration fills the window
    assert len(lines) == 1 and lines[0].startswith("iteration 1, no_signal: all answers of 2 iterations score 0")

    resumed = ppo(composed(again, "ppo.iterations=4", f"checkpoint.resume={whole}/checkpoints/step_00000003.ckpt"))
    assert resumed["watchdogs"] == result["watchdogs"]


def test_a_fault_can_end_the_run_and_is_in_the_result(tmp_path: Path) -> None:
    cfg = composed(tmp_path, "ppo.iterations=6", "checkpoint.every_n_steps=1", "callbacks.watchdogs.stop_on=[no_signal]")
    with pytest.raises(RunStopped, match=r"ends the run in iteration 1; .* no_signal: all answers"):
        launch(cfg)

    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["status"] == "failed" and "no_signal" in result["error"] and no_signal(result) == [1]
    assert len((tmp_path / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()) == 2 * 4
    # the checkpoint is that of before: resumed with other settings, the run begins with the iteration that ended it
    assert [path.name for path in (tmp_path / "checkpoints").glob("*.ckpt")] == ["step_00000001.ckpt"]


def stopped_on_a_rank(folder: str) -> tuple[str, list[dict[str, Any]]]:
    words = ("hw=cpux2", "batch.micro_size=2", "strategy/parallel=ddp", "ppo.iterations=3", "callbacks.watchdogs.stop_on=[no_signal]")
    try:
        ppo(composed(folder, *words))
    except RunStopped as problem:
        return str(problem), problem.measured["watchdogs"]  # type: ignore[return-value]
    return "went on", []


@pytest.mark.slow
def test_all_ranks_stop_in_the_same_iteration_for_the_same_reason(tmp_path: Path) -> None:
    first, second = run_ranks(stopped_on_a_rank, 2, str(tmp_path), timeout_s=120)

    assert first == second and "iteration 1" in first[0]


def test_tensorboard_shows_answers_findings_and_what_was_measured(tmp_path: Path) -> None:
    more = ("logger=tensorboard", "ppo.iterations=2", "trainer.log_every_n_steps=1", "callbacks.rollout_samples.count=2")
    ppo(composed(tmp_path, *more))
    folder = next(tmp_path.rglob("events.out.tfevents.*")).parent
    events = EventAccumulator(str(folder)).Reload()

    texts = {tag.removesuffix("/text_summary") for tag in events.Tags()["tensors"]}
    assert {"rollouts/0", "rollouts/1", "watchdogs/no_signal"} <= texts and "rollouts/2" not in texts
    assert {"ppo/score_std", "ppo/distinct", "ppo/same_answer"} <= set(events.Tags()["scalars"])
    assert len(events.Tensors("rollouts/0/text_summary")) == 2
    text = events.Tensors("rollouts/0/text_summary")[1].tensor_proto.string_val[0].decode()
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert text.startswith("iteration 1, score 0,") and any(row["prompt"].split("\n")[0] in text for row in rows if row["iteration"] == 1)


def test_beside_another_module_than_ppos_they_sleep(fit: Fit, tmp_path: Path) -> None:
    watchdogs = Watchdogs(stop_on=list(RULES))
    trainer = fit(watchdogs, RolloutSamples(), logger=TensorBoardLogger(tmp_path))
    assert trainer.global_step == 4 and watchdogs.watch.recent == []


def test_an_unknown_rule_or_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="stop_on=typo"):
        Watchdogs(stop_on=["typo"])
    with pytest.raises(ConfigError, match="window=0"):
        Watchdogs(limits={"window": 0})


def made(score: float) -> Rollout:
    prompt = Prompt((Message("user", "Why?"),), [1], "r:0", "Because.")
    return Rollout(prompt, [3, 2], "# So", finished=False, score=score, reward=score - 1)


def test_samples_are_spread_from_the_worst_to_the_best() -> None:
    assert [r.score for r in spread([made(s) for s in (3, 1, 5, 2, 4)], 3)] == [1, 3, 5]
    assert [r.score for r in spread([made(s) for s in (3, 1)], 4)] == [1, 3]
    assert [r.score for r in spread([made(s) for s in (3, 1)], 1)] == [1]


def test_what_the_policy_writes_is_no_markdown() -> None:
    text = shown(made(2.0), 7)
    assert text.startswith("iteration 7, score 2, reward 1, 2 tokens") and "    # So" in text and "    Because." in text
