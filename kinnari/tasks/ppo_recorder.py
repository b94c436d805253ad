"""What a PPO run records for its result: curves by iteration, answers before and after, every rollout as a line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from kinnari.evaluation.paired import paired_difference
from kinnari.functional.rl_losses import token_kl
from kinnari.rollouts.rollout import Rollout
from kinnari.strategies.microbatches import gather_objects
from kinnari.tasks.recorder import RunRecorder

CURVES = ("score", "reward", "kl", "kl_coef", "entropy", "eos_rate", "response_tokens", "explained_variance", "first_ratio_error")


class PPORecorder(RunRecorder):
    """Curves by iteration beside what every run records.

    Args:
        path: receives a line for every sampled answer; an iteration that is done again after a kill replaces its lines.
    """

    _KEPT = (*RunRecorder._KEPT, "curves", "samples", "seconds", "answers")

    def __init__(self, path: Path) -> None:
        super().__init__(None)
        self.path = path
        self.curves: dict[str, list[float]] = {name: [] for name in CURVES}
        self.samples: list[dict[str, Any]] = []
        self.seconds, self.answers = 0.0, 0
        self.after: list[dict[str, Any]] = []
        self._written: int | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.seconds += time.perf_counter() - self._began
        self.answers += module.ppo.num_rollouts
        rows = [_row(r, module.iteration - 1) for r in module.rollouts]
        everyone = [row for part in gather_objects(rows) for row in part]
        if trainer.is_global_zero:
            self._write(everyone, module.iteration - 1)
        for name in CURVES:
            self.curves[name].append(module.metrics[name])
        super().on_train_batch_end(trainer, module, outputs, batch, index)

    def losses_of(self, module: Any) -> list[float]:
        return module.watch.losses

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        super().on_validation_end(trainer, module)
        rows = [_row(r, module.iteration) for part in gather_objects(module.held_out) for r in part]
        if trainer.sanity_checking and not self.samples:
            self.samples = rows
        if trainer.global_step:
            self.after = rows

    def result(self) -> dict[str, Any]:
        """The run's numbers; a reward before or after is the mean score of greedy answers to held-out prompts."""
        before, after = self.loss_before, None if self.validation is None else self.validation.loss
        pairs = zip(self.samples, self.after, strict=False)
        return {
            "ppo/reward_before": None if before is None else -before,
            "ppo/reward_after": None if after is None else -after,
            **self._gain(),
            "val/loss": after,
            **{f"ppo/{name}": curve[-1] if curve else None for name, curve in self.curves.items()},
            "ppo/first_ratio_error": max(self.curves["first_ratio_error"], default=None),
            "curves": self.curves,
            "samples_per_second": self.answers / self.seconds if self.seconds else None,
            "samples": [
                {"prompt": b["prompt"], "before": b["answer"], "after": a["answer"], "score_before": b["score"], "score_after": a["score"]}
                for b, a in pairs
            ][:16],
        }

    def _gain(self) -> dict[str, float]:
        """Of the same prompts, answered before and after; nothing where none is held out."""
        before, after = ([row["score"] for row in rows] for rows in (self.samples, self.after))
        return paired_difference(before, after).named("ppo/reward_") if before and len(before) == len(after) else {}

    def _write(self, rows: list[dict[str, Any]], iteration: int) -> None:
        """Append; after a kill, the lines of iterations that are done again go first."""
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if self._written is None or self._written != iteration - 1:
            known = self.path.read_text(encoding="utf-8").splitlines() if iteration and self.path.is_file() else []
            kept = [line for line in known if json.loads(line)["iteration"] < iteration]
            self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        with open(self.path, "a", encoding="utf-8", errors="backslashreplace") as out:
            out.write(lines)
        self._written = iteration


def _row(rollout: Rollout, iteration: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "iteration": iteration,
        "record_id": rollout.prompt.record_id,
        "prompt": "\n".join(m.content for m in rollout.prompt.messages),
        "answer": rollout.text,
        "tokens": len(rollout),
        "finished": rollout.finished,
        "score": rollout.score,
    }
    if "ref_logprobs" in rollout.numbers:
        kl = token_kl(rollout.numbers["logprobs"], rollout.numbers["ref_logprobs"], "k1").sum()
        row |= {"reward": rollout.reward, "kl": float(kl)}
    return row
