"""Contract 4 for preference learning: kill -9 at any moment, and the run ends where an uninterrupted one ends, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.faults import killed
from tests.end_to_end.forked import Run, finish, same, start

BASE = ("model=tiny_causal", "callbacks=none", "logger=none", "trainer.precision=32-true", "batch.global_size=4", "batch.micro_size=2",
        "optimizer.lr=1e-2", "checkpoint.keep=3", "checkpoint.resume=auto")  # fmt: skip
PPO = ("task=ppo", *BASE, "task.export_merged=false", "data.chatterbot.limit=40", "ppo.iterations=4", "ppo.num_rollouts=8", "ppo.epochs=2",
       "ppo.response_length=[2,6]", "ppo.reward=rule", "ppo/rule=script_share", "ppo.rule.language=en", "ppo.held_out_prompts=2",
       "ppo.reward_scaling=running", "ppo.kl_horizon=50", "checkpoint.every_n_steps=4")  # fmt: skip
PAIRS = ("data=chatterbot_ranked", "data.chatterbot_ranked.limit=24", "held_out.fraction=null", "held_out.most=6", "trainer.max_steps=6",
         "checkpoint.every_n_steps=1", "trainer.validate_every_n_steps=2")  # fmt: skip
RUNS = {
    "ppo": (*PPO, "strategy=lora", "ppo.critic=separate", "ppo.ema_beta=0.9", "ppo.ptx_coef=1.0"),
    "ppo_full": (*PPO, "strategy=full", "ppo.num_layers_unfrozen=1", "ppo.target_kl=0.05"),
    "dpo": ("task=dpo", *BASE, *PAIRS, "task.export_merged=false", "strategy=lora", "task.label_smoothing=0.1"),
    "reward": ("task=reward", *BASE, *PAIRS, "strategy=full"),
}
KILLS = {  # moment, how often it comes before the kill, in each start in turn
    "ppo": [("answering", 1), ("answering", 3), ("learning", 6), ("writing", 2), ("measuring", 1)],
    "ppo_full": [("learning", 3), ("writing", 1), ("learning", 5)],
    "dpo": [("asking", 2), ("learning", 3), ("writing", 3)],
    "reward": [("learning", 2), ("writing", 2), ("learning", 2)],
}
STEPS = {"ppo": 16, "ppo_full": 16, "dpo": 6, "reward": 6}
BESIDE = ("seconds", "output_dir", "_dir", "per_second", "memory", "reference_computed", "versions", "started", "command", "checkpoint")


def measured(run: Run) -> dict[str, Any]:
    """result.json without what depends on the machine, the place and the number of starts."""
    return {key: value for key, value in run.result().items() if not any(part in key for part in BESIDE)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_kills_at_every_moment_change_nothing(tmp_path: Path, kind: str):
    def words(name: str) -> tuple[str, ...]:
        # a folder each, so that the second run does not read what the first has kept
        return (*RUNS[kind], f"preparation.cache_dir={tmp_path}/{name}.prepared")

    whole = finish(tmp_path / "whole", *words("whole"), first=())
    folder = tmp_path / "killed"
    for number, (moment, times) in enumerate(KILLS[kind]):
        run = start(folder, *words("killed"), prepare=killed, arguments=(moment, times), name=f"kill{number}", first=())
        assert run.wait() == -9, run.text()
        assert moment != "writing" or list((folder / "checkpoints").rglob(".*.tmp"))
    resumed = finish(folder, *words("killed"), first=())

    assert resumed.steps_saved() == whole.steps_saved()
    last = whole.steps_saved()[-1]
    assert last == STEPS[kind] or (kind == "ppo_full" and last < STEPS[kind])  # there some iterations were stopped early
    ours, expected = resumed.checkpoint(last), whole.checkpoint(last)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", *(["ppo"] if "ppo" in kind else [])):
        assert expected[part] and same(ours[part], expected[part]), part
    assert measured(resumed) == measured(whole)
    if "ppo" in kind:
        lines = [(run.folder / "rollouts.jsonl").read_text("utf-8").splitlines() for run in (resumed, whole)]
        assert lines[0] == lines[1] and len(lines[1]) == 32 and json.loads(lines[1][-1])["iteration"] == 3
    if kind == "dpo":  # what was kept before the kill was read, not computed
        assert resumed.result()["reference_computed"] == 0 < whole.result()["reference_computed"]
