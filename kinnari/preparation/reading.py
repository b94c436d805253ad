"""The first stage: a source's rows, as conversations on disk; what is no conversation is written down beside them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from kinnari.preparation.conversations import misshapen, write_conversations
from kinnari.preparation.rejects import READ, reject_line
from kinnari.preparation.store import COUNTS
from kinnari.text.conversation import Conversation, Reject
from kinnari.text.progress import progress_line

CONVERSATIONS, REJECTS = "conversations.arrow", "rejects.jsonl"
REASONS = 20  # most frequent reasons that are counted apart
_REPORT_EVERY = 500


class Readable(Protocol):
    """What this stage needs of a source."""

    @property
    def name(self) -> str:
        """The option's name."""
        ...

    def read(self) -> Iterator[Conversation | Reject]:
        """Conversations and rejected rows."""
        ...


def read_source(source: Readable, folder: Path, show: bool = True) -> None:
    """Write a source's conversations, rejects and counts into `folder`; one row at a time is in memory."""
    rejected: Counter[str] = Counter()
    first: list[Reject] = []

    with open(folder / REJECTS, "w", encoding="utf-8") as out, progress_line(f"reading {source.name}", None, show) as advance:

        def leave_out(reject: Reject) -> None:
            first.extend([reject] if not first else [])
            rejected[reject.reason if reject.reason in rejected or len(rejected) < REASONS else "others"] += 1
            out.write(reject_line(reject))

        def kept() -> Iterator[Conversation]:
            for number, item in enumerate(source.read()):
                if number % _REPORT_EVERY == 0:
                    advance(number)
                if isinstance(item, Reject):
                    leave_out(item)
                elif flaw := misshapen(item):
                    leave_out(_flawed(item, flaw))
                else:
                    yield item

        count = write_conversations(kept(), folder / CONVERSATIONS, lambda item, flaw: leave_out(_flawed(item, flaw)))
    counts = {"kept": count, "rejected": rejected.total(), "reasons": dict(rejected.most_common())}
    if first:
        counts["first"] = f"{first[0].file}, line {first[0].line}: {first[0].reason}"
    (folder / COUNTS).write_text(json.dumps(counts), encoding="utf-8")


def _flawed(conversation: Conversation, flaw: str) -> Reject:
    row = [f"{m.role}: {m.content}" for m in conversation.messages]
    where = f"record {conversation.record_id}: " if isinstance(conversation.record_id, str) else ""
    return Reject(source=conversation.source, file="", line=0, reason=where + flaw, row=row, step=READ)
