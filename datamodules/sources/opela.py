"""OPELA: people who play a persona talk with visitors, one row per message, of its columns these are read

    doc_id,person_type,turn_notation,is_pause,text
    도넛_user0001_15_60,user,1,0,안녕하세요!
    도넛_user0001_15_60,persona,2,0,안녕하세요~ 반가워요

`person_type` is user or persona, and the persona is the assistant; rows with `is_pause` 1 only say that time passes. The columns are
those of the README of smilegate-ai/OPELA ("Annotated data"), which does not show the file itself: save it as csv, tsv, json or parquet.
No licence stated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from datamodules.sources.columns import cell, wrong_text_columns
from datamodules.sources.row_groups import Found, GroupedFileSource, Refused
from datamodules.sources.turns import as_dialogue
from kinnari.text.conversation import Message, Role

ROLES: dict[str, Role] = {"user": "user", "persona": "assistant"}


@dataclass(frozen=True, kw_only=True)
class Opela(GroupedFileSource):
    """Dialogues; messages that one person sends in a row are the lines of one turn."""

    name: str = "opela"
    language: str = "ko"

    def same_group(self, previous: Any, row: Any) -> bool:
        """Rows with the same `doc_id`."""
        return isinstance(previous, dict) and isinstance(row, dict) and bool(row.get("doc_id")) and row["doc_id"] == previous.get("doc_id")

    def found(self, rows: list[Any]) -> Iterator[Found | Refused]:
        """The one dialogue of a document; a message that is not one spoils it, for what follows may answer it."""
        spoken = []
        for row in rows:
            if isinstance(row, dict) and cell(row, "is_pause").lower() in ("1", "1.0", "true"):
                continue
            problem = wrong_text_columns(row, ("doc_id", "person_type", "text"))
            role = None if problem else ROLES.get(row["person_type"].strip().lower())
            if role is None:
                yield Refused(problem or f"person_type {row['person_type'][:40]!r} is neither user nor persona", row)
                return
            spoken.append((role, row["text"].strip()))
        turns = groupby(spoken, key=lambda line: line[0])
        messages = as_dialogue(Message(role, "\n".join(text for _, text in lines)) for role, lines in turns)
        yield Refused(messages, rows[0]) if isinstance(messages, str) else Found(messages)
