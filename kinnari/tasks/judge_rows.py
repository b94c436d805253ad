"""The rows that task=judge and task=questionnaire compare: a prompt, two answers, and what a file says beside them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinnari.completion.judge import Pair
from kinnari.errors import ConfigError
from kinnari.evaluation.judging.crowd import read_votes
from kinnari.evaluation.judging.questionnaire import is_summary, layout_of, once, read_label
from kinnari.evaluation.judging.readings import Reading, Verdict
from kinnari.text.language import language_of
from kinnari.text.tables import Record, need_columns, read_table

log = logging.getLogger(__name__)

IDS = ("message_id", "question_id", "id")
LANGUAGES = ("lang", "language")


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One row of the file; `reply` is a stored one, `human` what people said."""

    id: str
    pair: Pair
    language: str
    reply: str | None
    human: Verdict | None


def compared_rows(node: Mapping[str, Any], section: str) -> tuple[list[ComparedRow], int]:
    """The rows of `section.input`, and how many were passed over for want of a prompt or an answer.

    Args:
        node: the section; columns that it does not name at all are not looked for.

    Raises:
        ConfigError: no file, a column that is not there, no row with both answers, or an id twice.
    """
    first, second = two_columns(node["columns"], section)
    if node["input"] is None:
        raise ConfigError(f"{section}.input is not set. Give a file with a prompt and two answers in each row: {section}.input=FILE.")
    records = read_table(node["input"], f"{section}.input")
    if node["limit"] is not None and (not isinstance(node["limit"], int) or node["limit"] < 1):
        raise ConfigError(f"{section}.limit={node['limit']} must be at least 1, or null for every row.")
    records = records[: node["limit"]]
    optional = [node.get(key) for key in ("id_column", "language_column", "category_column", "reference_column", "replies_column",
                                          "human_column")]  # fmt: skip
    needed = [first, second, node["prompt_column"], *(column for column in optional if column)]
    need_columns(records, needed, f"{section}.input={node['input']}")
    whole = [(number, row) for number, row in enumerate(records, 1) if all(_text(row[c]).strip() for c in needed[:3])]
    if not whole:
        raise ConfigError(f"No row of {section}.input={node['input']} has a prompt and both answers. Look at {section}.columns.")
    if len(whole) < len(records):
        log.warning("%d of %d rows lack a prompt or an answer and are left out", len(records) - len(whole), len(records))
    id_column = node["id_column"] or next((name for name in IDS if name in records[0]), None)
    rows = [_compared(row, number, node, (first, second), id_column) for number, row in whole]
    once([row.id for row in rows])
    return rows, len(records) - len(whole)


def two_columns(columns: Any, section: str) -> tuple[str, str]:
    """The names of the two columns of answers.

    Raises:
        ConfigError: they are not two.
    """
    if not isinstance(columns, list) or len(columns) != 2 or columns[0] == columns[1]:
        raise ConfigError(f"{section}.columns={columns} must name two different columns of answers: {section}.columns=[a,b].")
    return str(columns[0]), str(columns[1])


def with_humans(rows: Sequence[ComparedRow], file: str) -> dict[str, Verdict]:
    """What people said, by id, out of a summary over annotators; a row counts where its two answers are those that were shown.

    Raises:
        ConfigError: no summary, one without the answers, or none of its rows shows the answers that are compared.
    """
    records = read_table(file, "judge.human")
    if not is_summary(records[0]):
        raise ConfigError(f"judge.human={file} holds no votes. Give majority.csv of task=questionnaire task.mode=import: sheets are blind.")
    layout = layout_of(records[0], file, summary=True)
    need_columns(records, (layout.answer_a, layout.answer_b), f"judge.human={file}")
    shown = {str(record[layout.id]): (_bare(record[layout.answer_a]), _bare(record[layout.answer_b])) for record in records}
    found: dict[str, Verdict] = {}
    others = 0
    said = read_votes(file, records, None).majority()
    for row in rows:
        answers = (_bare(row.pair.first), _bare(row.pair.second))
        verdict = Reading(said.get(row.id))
        read = (
            verdict.verdict if shown.get(row.id) == answers else verdict.swapped().verdict if shown.get(row.id) == answers[::-1] else None
        )
        others += verdict.verdict is not None and read is None
        if read is not None:
            found[row.id] = read
    if not found:
        raise ConfigError(
            f"judge.human={file} says nothing of the answers in judge.columns ({others} rows have its ids, but other answers). Give "
            "the file of the same two columns, and the column of its ids with judge.id_column=COLUMN."
        )
    if others:
        log.warning("%d of %d rows with votes were shown other answers, and are not compared", others, others + len(found))
    return found


def _bare(text: Any) -> str:
    """Without what spreadsheets change: blanks, line ends, and the mark before a formula."""
    return "".join(_text(text).removeprefix("'").split())


def _compared(row: Record, number: int, node: Mapping[str, Any], columns: tuple[str, str], id_column: str | None) -> ComparedRow:
    prompt = _text(row[node["prompt_column"]])
    language = node.get("language_column") or next((name for name in LANGUAGES if name in row), None)
    category = node.get("category_column") or ("category" if "category" in row else None)
    reference, replies, human = (node.get(key) for key in ("reference_column", "replies_column", "human_column"))
    name = _text(row[id_column]) if id_column else str(number)
    pair = Pair(
        prompt=prompt,
        first=_text(row[columns[0]]),
        second=_text(row[columns[1]]),
        category=_text(row[category]) if category else "",
        reference=_text(row[reference]) if reference else "",
    )
    return ComparedRow(
        id=name,
        pair=pair,
        language=_text(row[language]) if language else language_of(prompt),
        reply=_text(row[replies]) if replies else None,
        human=read_label(row[human], f"row {name}, column {human}") if human else None,
    )


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)
