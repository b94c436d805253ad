"""Self-instruct, machine-made instructions in their layouts; json lines of

    {"prompt": "Make a list of fruits.\\n\\nOutput:", "completion": " Apple, mango<|endoftext|>"}      for fine-tuning, 82,612 rows
    {"instruction": "Make a list of fruits.", "input": "", "output": "Apple, mango"}                    all instances
    {"instruction": ..., "instances": [{"input": "", "output": "Apple, mango"}], "is_classification": false}   seed and user-oriented tasks

The end-of-text mark of another model's tokenizer is taken off. Source: yizhongw/self-instruct, English, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datamodules.reading import Row
from datamodules.sources.alpaca import alpaca_messages
from datamodules.sources.columns import wrong_text_columns
from datamodules.sources.source import FileSource
from kinnari.text.conversation import Message

END = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class SelfInstruct(FileSource):
    """A file of self-instruct; the layout is told row by row."""

    name: str = "self_instruct"
    language: str = "en"
    licence: str = "Apache-2.0"

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(file, row), a task with several instances as several rows."""
        for file, row in super().rows():
            instances = row.value.get("instances") if row.error is None and isinstance(row.value, dict) else None
            if not isinstance(instances, list) or not instances:
                yield file, row
                continue
            for instance in instances:
                fields = instance if isinstance(instance, dict) else {"output": instance}
                yield file, Row(row.line, {"instruction": row.value.get("instruction"), **fields})

    def convert(self, row: Any) -> tuple[Message, ...] | str:
        """Question and answer."""
        if not isinstance(row, dict) or "completion" not in row:
            return alpaca_messages(row)
        problem = wrong_text_columns(row, ("prompt", "completion"))
        if problem:
            return problem
        answer = row["completion"].strip().removesuffix(END).strip()
        return (
            (Message("user", row["prompt"].strip()), Message("assistant", answer))
            if answer
            else "the completion is nothing but its end mark"
        )
