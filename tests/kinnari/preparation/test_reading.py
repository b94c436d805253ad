"""The first stage keeps what it can, in order, and says why not of the rest."""

import json

from kinnari.preparation.conversations import ConversationTable
from kinnari.preparation.reading import CONVERSATIONS, REASONS, REJECTS, read_source
from kinnari.text.conversation import Reject
from tests.kinnari.preparation.fakes import Fake, talk


def read(source, folder):
    read_source(source, folder, show=False)
    rejects = [json.loads(line) for line in (folder / REJECTS).read_text(encoding="utf-8").splitlines()]
    return list(ConversationTable.open(folder / CONVERSATIONS)), rejects, json.loads((folder / "counts.json").read_text())


def test_conversations_and_rejects_in_their_order(tmp_path):
    kept, rejects, counts = read(Fake(count=7, bad=3), tmp_path)
    assert [c.record_id for c in kept] == ["a:1", "a:2", "a:4", "a:5"] and [r["line"] for r in rejects] == [1, 4, 7]
    assert counts == {"kept": 4, "rejected": 3, "reasons": {"broken": 3}, "first": "f.json, line 1: broken"}


def test_reasons_without_end_are_counted_together(tmp_path):
    class Chatty(Fake):
        def read(self):
            yield talk("q", "a")
            yield from (Reject(source="a", file="f", line=i, reason=f"reason {i}") for i in range(100))

    _, rejects, counts = read(Chatty(), tmp_path)
    assert len(rejects) == 100 and counts["rejected"] == 100 and len(counts["reasons"]) == REASONS + 1
    assert counts["reasons"]["others"] == 100 - REASONS


def test_an_empty_source_is_an_empty_file(tmp_path):
    assert read(Fake(count=0), tmp_path) == ([], [], {"kept": 0, "rejected": 0, "reasons": {}})
