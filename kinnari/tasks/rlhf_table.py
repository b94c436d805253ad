"""The tables at the end of a chain: what each stage measured, and whether PPO is better than SFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from kinnari.text.terminal import terminal

SHOWN_SAMPLES, SHOWN_CHARACTERS = 3, 200
TOLD = {
    "sft": (("val/loss_before", "held-out loss before"), ("val/loss_after", "after")),
    "reward": (("val/reward_accuracy", "held-out pairs in the right order"),),
    "ppo": (("ppo/reward_before", "held-out reward of greedy answers before"), ("ppo/reward_after", "after"), ("ppo/kl", "KL in nats")),
    "evaluation": (("win_rate", "win rate of PPO over SFT"),),
}
COMPARED = (("reward", "reward", ".3f"), ("response_tokens", "tokens of an answer", ".1f"), ("eos_rate", "answers that end", ".0%"))


def print_chain(result: Mapping[str, Any]) -> None:
    """Print the tables of a whole chain's result."""
    console = terminal()
    console.print(stage_table(result["stages"]))
    console.print(comparison_table(result))
    if result["samples"]:
        console.print(sample_table(result["samples"]))


def stage_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each stage: what was done or found done, how long it took, and its main numbers."""
    table = Table(title="The chain")
    for column in ("stage", "status", "seconds", "measured"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for stage in stages:
        numbers = [(words, stage["metrics"].get(key)) for key, words in TOLD[stage["name"]]]
        told = ", ".join(f"{words} {value:.3f}" for words, value in numbers if value is not None)
        table.add_row(stage["name"], stage["status"], f"{stage['seconds']:,.0f}", told)
    return table


def comparison_table(result: Mapping[str, Any]) -> Table:
    """SFT and PPO side by side on the prompts of the comparison, and how sure the difference is."""
    table = Table(title=f"Answers to {result['prompts']} held-out prompts", caption=_how_sure(result))
    table.add_column("")
    table.add_column("SFT", justify="right")
    table.add_column("PPO", justify="right")
    for key, words, form in COMPARED:
        table.add_row(words, *(format(result[f"{key}_{side}"], form) for side in ("sft", "ppo")))
    return table


def _how_sure(result: Mapping[str, Any]) -> str:
    gain, low, high = (result.get(f"reward_gain{end}") for end in ("", "_low", "_high"))
    counts = f"PPO is better {result['wins']} times, equal {result['ties']}, worse {result['losses']}"
    if gain is None:
        return counts
    interval = "" if low is None else f" (95 % {low:+.3f} to {high:+.3f})"
    p = result.get("reward_sign_p")
    return f"gain {gain:+.3f}{interval}; {counts}" + ("" if p is None else f", sign test p {p:.2g}")


def sample_table(samples: Sequence[Mapping[str, Any]]) -> Table:
    """The first prompts with both answers and their scores."""
    table = Table(title="Side by side", show_lines=True)
    for column in ("prompt", "SFT", "PPO"):
        table.add_column(column, ratio=1)
    for sample in samples[:SHOWN_SAMPLES]:
        answers = [f"{sample[side][:SHOWN_CHARACTERS]}\n({sample[f'score_{side}']:.2f})" for side in ("before", "after")]
        table.add_row(*(text for text in (sample["prompt"][-SHOWN_CHARACTERS:], *answers)))
    return table
