"""What people said of answers: feedback.jsonl, a whole row per click; and blind votes, in the sheets that task=questionnaire reads.

feedback.jsonl       {"time": ..., "model": ..., "messages": [...], "settings": {...}, "answer": ..., "verdict": "good", "comment": ""}
votes/sheets/*.csv   what a voter saw and chose, one file per tab: a filled-in questionnaire
votes/key.csv        which model stood where; stays at home
votes/votes.jsonl    the same votes with everything that was set, and with `both_bad` apart from `tie`
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from kinnari.evaluation.judging.questionnaire import LAYOUTS, Item, sheet
from kinnari.evaluation.judging.readings import Verdict
from kinnari.text.conversation import Message

Opinion = Literal["good", "bad", "report"]
Choice = Literal["A", "B", "tie", "both_bad"]
# A questionnaire has one label for both kinds of draw; votes.jsonl keeps them apart.
_VERDICTS: dict[Choice, Verdict] = {"A": "first", "B": "second", "tie": "tie", "both_bad": "tie"}


@dataclass(frozen=True, kw_only=True)
class Given:
    """An answer with all it came from.

    Attributes:
        messages: as the model was asked: system turn, window of the history, question.
        settings: of the generation, with seed and stop texts; plain values.
    """

    model: str
    messages: tuple[Message, ...]
    settings: Mapping[str, Any]
    answer: str


class FeedbackFile:
    """Rows of good, bad and report. Appending is safe from any number of threads and processes.

    Args:
        path: a jsonl file; it and its folder are made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, given: Given, verdict: Opinion, comment: str = "") -> None:
        """One row, whole and on disk when this returns. Raises OSError: the file cannot be written."""
        row = _asked(given) | {"model": given.model, "answer": given.answer, "verdict": verdict, "comment": comment.strip()}
        append(self.path, _line({"time": _now()} | row))


class VoteFiles:
    """Blind votes on the answers of two models.

    Args:
        folder: made with the first vote.
        models: names of the two, the first being `first` of the key.
        language: of the sheets' column names and choices; one for all, so that they can be read together.
    """

    def __init__(self, folder: Path, models: tuple[str, str], language: str = "en") -> None:
        self.folder, self.models, self.layout = folder, models, LAYOUTS[language]

    def add(self, voter: str, shown: tuple[Given, Given], choice: Choice) -> str:
        """The answers as they were shown, A first; returns the id of the vote. Raises OSError: a file cannot be written."""
        name = uuid.uuid4().hex
        models = (shown[0].model, shown[1].model)
        item = Item(id=name, prompt=shown[0].messages[-1].content, first=shown[0].answer, second=shown[1].answer)
        rows, key = sheet([item], models, self.layout, seed=0)  # one item is never exchanged: A is the first given
        row = rows[0] | {self.layout.choice: self.layout.label(_VERDICTS[choice])}
        # Key first: a sheet whose row the key does not know cannot be read.
        self._add_row(self.folder / "key.csv", key[0] | {"first": self.models[0]})
        self._add_row(self.folder / "sheets" / f"{_file_name(voter)}.csv", row)
        sides = {side: {"model": given.model, "answer": given.answer, "settings": dict(given.settings)}
                 for side, given in zip("AB", shown, strict=True)}  # fmt: skip
        vote = {"time": _now(), "id": name, "voter": voter, "messages": _asked(shown[0])["messages"]} | sides | {"choice": choice}
        append(self.folder / "votes.jsonl", _line(vote))
        return name

    def _add_row(self, path: Path, row: Mapping[str, str]) -> None:
        # The mark at the beginning is by which spreadsheet programs know UTF-8.
        append(path, _csv_line(list(row.values())), header="\ufeff" + _csv_line(list(row)))


def append(path: Path, text: str, *, header: str = "") -> None:
    """Write at the end of a file in one piece, `header` first where the file is empty.

    A row that an earlier, killed process left without its end is closed first, so that it spoils itself alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Readable by its owner alone: it holds what people wrote.
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        left = memoryview(((header if size == 0 else "\n" if torn else "") + text).encode("utf-8"))
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # and with it goes the lock


def _asked(given: Given) -> dict[str, Any]:
    messages = [{"role": message.role, "content": message.content} for message in given.messages]
    return {"messages": messages, "settings": dict(given.settings)}


def _line(row: Mapping[str, Any]) -> str:
    # half of a surrogate pair, which a browser may send, is no UTF-8
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8") + "\n"


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([_one_line_end(cell).encode("utf-8", "replace").decode("utf-8") for cell in cells])
    return text.getvalue()


def _one_line_end(cell: str) -> str:
    # A lone carriage return, which models do write, is not quoted by csv (3.11) and would end the row; votes.jsonl keeps it.
    return cell.replace("\r\n", "\n").replace("\r", "\n")


def _file_name(voter: str) -> str:
    return re.sub(r"\W", "", voter, flags=re.ASCII)[:32] or "voter"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
