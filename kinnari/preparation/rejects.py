"""What was left out and why, one line of JSON each:

{"source": "alpaca", "file": "rows.jsonl", "line": 17, "reason": "column 'output' is empty", "row": {...}, "step": "read"}
{"source": "alpaca", "file": "", "line": 0, "reason": "...", "row": {"messages": [...], ...}, "step": "code_rows"}
{"source": "alpaca", "record_id": "alpaca:9", "language": "th", "reason": "...", "step": "tokenise"}
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kinnari.text.conversation import Conversation, Reject

READ, TOKENISE = "read", "tokenise"  # the steps that every preparation has, by the names they have in counts and rejects
SHOWN = 20_000  # characters of a line; the row is shortened in longer ones
SHOWN_OF_ROW = 2_000


def reject_line(reject: Reject) -> str:
    """A line of JSON for anything a source may have put into a reject, however deep, long or strange."""
    values = dict(vars(reject))
    try:
        line = _json(values)
    except (RecursionError, ValueError, TypeError):
        line = _json(values | {"row": _shown(reject.row)})
    return line if len(line) <= SHOWN else _json(values | {"row": line[:SHOWN_OF_ROW], "reason": reject.reason[:SHOWN_OF_ROW]})


def _shown(row: Any) -> str:
    try:
        return repr(row)[:SHOWN_OF_ROW]
    except RecursionError:
        return f"a {type(row).__name__} that is too deep to be shown"


def _json(values: dict[str, Any]) -> str:
    text = json.dumps(values, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        text = json.dumps(values, default=str)
    return text + "\n"


def removed_line(conversation: Conversation, reason: str, step: str) -> str:
    """The line of a conversation that a cleaning step took out, with all of it."""
    row = {
        "messages": [{k: v for k, v in vars(m).items() if v not in (None, "") or k == "content"} for m in conversation.messages],
        "record_id": conversation.record_id,
        "source": conversation.source,
        "language": conversation.language,
        "licence": conversation.licence,
    }
    return reject_line(Reject(source=conversation.source, file="", line=0, reason=reason, row=row, step=step))


def dropped_line(conversation: Conversation, language: str, reason: str) -> str:
    """The line of a conversation of which nothing could be trained; it can be read in the data by its id."""
    values = {"source": conversation.source, "record_id": conversation.record_id, "language": language, "reason": reason}
    return json.dumps(values | {"step": TOKENISE}, ensure_ascii=False) + "\n"


class RejectLog(Sequence[Reject]):
    """The rejects of some files, in their order, read line by line whenever they are looked at."""

    def __init__(self, files: Sequence[Path], count: int) -> None:
        self.files, self._total = list(files), count

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[Reject]:
        names = {field.name for field in dataclasses.fields(Reject)}
        for line in self.lines():
            values = json.loads(line)
            if names >= values.keys():
                yield Reject(**values)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def lines(self) -> Iterator[str]:
        """The lines as they stand in the files."""
        for file in self.files:
            with open(file, encoding="utf-8") as rows:
                yield from rows

    def write(self, path: Path) -> int:
        """Copy all lines to one file; returns how many there are."""
        count = 0
        with open(path, "w", encoding="utf-8") as out:
            for line in self.lines():
                out.write(line)
                count += 1
        return count
