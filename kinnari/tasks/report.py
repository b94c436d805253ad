"""The table at the end of a training run."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from kinnari.text.terminal import terminal

SHOWN_CHARACTERS = 300


def print_report(result: dict[str, Any]) -> None:
    """Losses before and after, speed and memory; then each sample question with both answers."""
    console = terminal()
    console.print(_numbers(result))
    if result["samples"]:
        console.print(_answers(result["samples"]))
    for key in ("adapter_dir", "merged_dir"):
        if result.get(key):
            console.print(f"{key}: {result[key]}", soft_wrap=True)


def _numbers(result: dict[str, Any]) -> Table:
    table = Table(title="Held-out set and training", show_header=True)
    table.add_column("")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for name in ("loss", "perplexity"):
        before, after = result[f"val/{name}_before"], result[f"val/{name}_after"]
        table.add_row(f"held-out {name}", *("-" if value is None else f"{value:.3f}" for value in (before, after)))
    table.add_section()
    table.add_row("tokens per second", "", f"{result['train/tokens_per_second']:,.0f}")
    table.add_row("trained tokens per second", "", f"{result['train/trained_tokens_per_second']:,.0f}")
    table.add_row("padding share", "", f"{result['padding_fraction']:.1%}")
    table.add_row("peak memory", "", f"{result['peak_memory_gib']:.2f} GiB")
    table.add_row("trained parameters", "", f"{result['trainable_parameters']:,} of {result['total_parameters']:,}")
    return table


def _answers(samples: list[dict[str, str]]) -> Table:
    table = Table(title="Held-out questions", show_lines=True)
    for column in ("question", "before", "after"):
        table.add_column(column, ratio=1)
    for sample in samples:
        table.add_row(*(sample[column][:SHOWN_CHARACTERS] for column in ("question", "before", "after")))
    return table
