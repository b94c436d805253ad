"""Evolve-instruct: Korean instructions made harder step by step (the method of WizardLM), with ChatGPT's answers, a json list of

    {"instruction": "...", "output": "..."}         or, as lcw99/evolve-instruct writes it,         {"input": "...", "output": "..."}

Source: lcw99/evolve-instruct, evol_instruct.json, 37k rows, no licence stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message


@dataclass(frozen=True, kw_only=True)
class EvolveInstructKo(FileSource):
    """Rows of one question and one answer."""

    name: str = "evolve_instruct_ko"
    language: str = "ko"

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """`instruction` with `input` as its context; `input` alone is the question itself."""
        if isinstance(row, dict) and not row.get("instruction") and row.get("input"):
            row = {"instruction": row["input"], "output": row.get("output")}
        problem = wrong_text_columns(row, ("instruction", "output"), ("input",))
        return problem or (Message("user", row["instruction"], context=row.get("input") or ""), Message("assistant", row["output"]))
