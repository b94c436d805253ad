"""report.html of task=rlhf: stages and their numbers, who won, PPO's curves, answers side by side; one page without scripts or network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from kinnari.tasks.inspect_page import Figures, visible

_STYLE = """
:root { color-scheme: light dark; --good: #0a7d32; --ground: #d9f5e0; --faint: #8a8a8a; --mark: #1668b8; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --good: #7ee2a0; --ground: #12351f; --faint: #8f8f8f; --mark: #7ab8f5; --bad: #ff8a80 } }
body { font: 15px/1.6 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1rem; margin: 2rem 0 .3rem } .facts { color: var(--faint) } code { overflow-wrap: anywhere }
table { border-collapse: collapse; margin: .3rem 0 1rem } th, td { border: 1px solid var(--faint); padding: .2rem .6rem; text-align: right }
th:first-child, td:first-child { text-align: left } .samples td, .samples th { text-align: left; vertical-align: top; width: 25% }
.samples { width: 100%; table-layout: fixed } .text { white-space: pre-wrap; overflow-wrap: anywhere }
.better { background: var(--ground) } .score { color: var(--faint); font-size: .85em }
figure { display: inline-block; margin: 0 1.5rem 1rem 0 } figcaption { color: var(--faint); font-size: .85em }
svg { background: none; border: 1px solid var(--faint) } polyline { fill: none; stroke: var(--mark); stroke-width: 2 }
"""

# What of a stage's many numbers the page shows, and as what.
_SHOWN = {
    "sft": {"val/loss_before": "held-out loss before", "val/loss_after": "after", "steps": "steps"},
    "reward": {"val/reward_accuracy": "accuracy on held-out pairs", "val/reward_margin": "margin",
               "val/calibration_error": "calibration error", "steps": "steps"},
    "ppo": {"ppo/reward_before": "reward before (held-out, greedy)", "ppo/reward_after": "after", "ppo/kl": "KL, nats an answer",
            "samples_per_second": "answers per second", "iterations": "iterations"},
    "evaluation": {"win_rate": "win rate", "wins": "wins", "ties": "ties", "losses": "losses"},
}  # fmt: skip
_CURVES = {"score": "score of sampled answers", "kl": "KL from the SFT model, nats an answer", "response_tokens": "tokens of an answer",
           "entropy": "entropy, nats a token"}  # fmt: skip
_WIDTH, _HEIGHT, _EDGE = 260, 120, 8


def report(folder: Path, stages: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the page of a finished chain."""
    path = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(page(stages, results), encoding="utf-8", errors="backslashreplace")
    return path


def page(stages: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole HTML document.

    Args:
        stages: as in result.json: name, folder, status, seconds, metrics, command.
        results: result.json of every stage by name.
    """
    told = results["evaluation"]
    parts = [
        "<h1>SFT, reward model, PPO</h1>",
        f"<p>{escape(_sentence(told))}</p>",
        _table(_stages(stages)),
        _table(_sides(told)),
        *([_table(_judge(told))] if told.get("judge_win_rate") is not None else []),
        "<h2>PPO by iteration</h2>",
        *(_curve(label, results["ppo"].get("curves", {}).get(name, [])) for name, label in _CURVES.items()),
        _samples(told["samples"]),
        "<h2>Each stage by itself</h2>",
        *(f"<p>{escape(s['name'])}<br><code>{escape(s['command'])}</code></p>" for s in stages),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>SFT, reward model, PPO</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>{"".join(parts)}</body></html>\n'


def _sentence(told: Mapping[str, Any]) -> str:
    share = f"{told['win_rate']:.0%}"
    counts = f"{told['wins']} wins, {told['ties']} ties, {told['losses']} losses"
    scores = f"mean score {_number(told['reward_before'])} before, {_number(told['reward_after'])} after"
    said = f"By the reward model, PPO wins {share} of {told['prompts']} held-out prompts against SFT ({counts}; {scores})."
    return f"{said} {_certainty(told)}"


def _certainty(told: Mapping[str, Any]) -> str:
    """Whether chance would do, and whether shorter or longer answers would."""
    sure = told["reward_gain_low"] > 0 or told["reward_gain_high"] < 0
    verdict = "beyond what chance explains" if sure else "which chance explains"
    text = f"The mean gain is {_interval(told, 'reward_gain')}, {verdict}; sign test p = {told['reward_sign_p']:.2g}."
    if told["reward_gain_at_equal_length"] is None:
        return text
    return f"{text} Where both answers are equally long it is {_interval(told, 'reward_gain_at_equal_length')}."


def _interval(told: Mapping[str, Any], name: str) -> str:
    low, high = (_number(told[f"{name}_{end}"]) for end in ("low", "high"))
    return f"{_number(told[name])} (95 % interval {low} to {high})"


def _stages(stages: Sequence[Mapping[str, Any]]) -> Figures:
    rows = []
    for stage in stages:
        shown = {label: stage["metrics"].get(key) for key, label in _SHOWN[stage["name"]].items()}
        facts = ", ".join(f"{label} {_number(value)}" for label, value in shown.items() if value is not None)
        rows.append((Path(stage["folder"]).name, stage["status"], f"{_number(stage['seconds'])} s", facts))
    return Figures("Stages", ("folder", "status", "took", "numbers"), rows)


def _sides(told: Mapping[str, Any]) -> Figures:
    names = {"reward": "mean score", "response_tokens": "tokens of an answer", "eos_rate": "answers that end by themselves"}
    rows = [(label, _number(told[f"{key}_before"]), _number(told[f"{key}_after"])) for key, label in names.items()]
    how = "Greedy answers" if told["temperature"] is None else f"Answers sampled at temperature {told['temperature']:g}"
    return Figures(f"{how} to held-out prompts", ("", "SFT", "PPO"), rows)


def _judge(told: Mapping[str, Any]) -> Figures:
    keys = {"judge_win_rate": "win rate", "judge_wins": "wins", "judge_ties": "ties", "judge_losses": "losses",
            "judge_unread": "replies that name no answer"}  # fmt: skip
    return Figures(f"PPO against SFT, judged by {told['judge_model']}", ("", ""), [(v, _number(told[k])) for k, v in keys.items()])


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _table(figures: Figures) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in figures.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in figures.rows)
    return f"<h2>{escape(figures.title)}</h2><table><tr>{head}</tr>{rows}</table>\n"


def _curve(label: str, values: Sequence[float | None]) -> str:
    """A line with its first and last value in words; nothing for fewer than two points."""
    known = [(i, v) for i, v in enumerate(values) if v is not None]
    if len(known) < 2:
        return ""
    low, high = min(v for _, v in known), max(v for _, v in known)
    wide, tall = _WIDTH - 2 * _EDGE, _HEIGHT - 2 * _EDGE
    points = " ".join(
        f"{_EDGE + wide * i / (len(values) - 1):.1f},{_EDGE + tall * (1 - (v - low) / ((high - low) or 1)):.1f}" for i, v in known
    )
    line = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img"><polyline points="{points}"/></svg>'
    facts = f"{label}: {_number(known[0][1])} → {_number(known[-1][1])}, from {_number(low)} to {_number(high)}"
    return f"<figure>{line}<figcaption>{escape(facts)}</figcaption></figure>"


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    head = "<tr><th>prompt</th><th>reference</th><th>SFT</th><th>PPO</th></tr>"
    return f'<h2>Answers side by side</h2><table class="samples">{head}{"".join(map(_sample, samples))}</table>\n'


def _sample(sample: Mapping[str, Any]) -> str:
    cells = [_text(sample["prompt"]), _text(sample["reference"])]
    row = "".join(f"<td>{cell}</td>" for cell in cells)
    for side in ("before", "after"):
        better = ' class="better"' if sample["better"] == side else ""
        judge = ", judge's choice" if sample.get("judge") == side else ""
        score = f'<div class="score">{_number(sample[f"score_{side}"])}{judge}</div>'
        row += f"<td{better}>{_text(sample[side])}{score}</td>"
    return f"<tr>{row}</tr>\n"


def _text(text: str) -> str:
    return f'<div class="text">{escape(visible(text))}</div>'
