"""Conversations come back from disk as they were, in any choice and order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.preparation import conversations as module
from kinnari.preparation.conversations import (
    LONGEST,
    ConversationTable,
    blocks_of,
    decode,
    encode,
    flaw_of,
    from_bytes,
    to_bytes,
    write_conversations,
)
from kinnari.text.conversation import Conversation, Message
from tests.kinnari.preparation.fakes import talk

text = st.text(max_size=20).filter(lambda t: t.isprintable() or t.encode("utf-8", "ignore").decode() == t)
message = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), text, text, st.sampled_from([None, True, False]))
conversation = st.builds(
    Conversation, messages=st.lists(message, min_size=1, max_size=5).map(tuple), record_id=text, source=text, language=text, licence=text
)


@settings(deadline=None)
@given(st.lists(conversation, max_size=10))
def test_a_block_survives_arrow_and_a_pipe(block):
    assert decode(encode(block)) == block
    if block:
        assert decode(from_bytes(to_bytes(encode(block)))) == block
        assert decode(encode(block).slice(1)) == block[1:]


def test_a_table_gives_any_rows_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)
    records = [talk(f"q{i}", f"a{i}", record_id=str(i)) for i in range(40)]
    write_conversations(records[:25], tmp_path / "1.arrow")
    write_conversations(records[25:], tmp_path / "2.arrow")
    table = ConversationTable.open(tmp_path / "1.arrow", tmp_path / "2.arrow")

    assert len(table) == 40 and list(table) == records and table[-1] == records[-1] and table[3:30:4] == records[3:30:4]
    order = np.random.default_rng(0).permutation(40)
    assert list(table.take(order)) == [records[i] for i in order]
    assert table.take(order).take(np.array([5, 2]))[1] == records[order[2]]
    both = ConversationTable.concatenated([table.take(order[:3]), table])
    assert list(both) == [records[i] for i in order[:3]] + records


def test_an_empty_table_is_empty(tmp_path):
    assert write_conversations([], tmp_path / "none.arrow") == 0
    assert list(ConversationTable.open(tmp_path / "none.arrow")) == []


def test_languages_that_were_told_fill_what_sources_do_not_know(tmp_path):
    write_conversations([talk("q", "a", language=""), talk("q", "a", language="ko")], tmp_path / "a.arrow")
    table = ConversationTable.open(tmp_path / "a.arrow")

    assert [c.language for c in table.take(np.array([1, 0]), ["th", "th"])] == ["ko", "th"]


def test_long_texts_make_short_blocks():
    assert [len(b) for b in blocks_of([talk("x" * 60, "y"), talk("x" * 60, "y"), talk("q", "a")], 100)] == [2, 1]


def test_what_cannot_be_stored_has_a_reason():
    assert flaw_of(talk("fine", "สวัสดี\x00")) is None
    assert "no message" in str(flaw_of(talk()))
    assert "holds 16,777,217 characters" in str(flaw_of(talk("x" * LONGEST, "y")))
    assert "surrogate" in str(flaw_of(talk("\ud800", "a")))
    assert "not text" in str(flaw_of(talk(None, "a")))  # type: ignore[arg-type]
    assert "'robot'" in str(flaw_of(Conversation(messages=(Message("robot", "x"),), record_id="", source="", language="", licence="")))  # type: ignore[arg-type]


def test_half_a_surrogate_pair_is_reported_and_its_neighbours_written(tmp_path):
    told = []
    records = [talk("a", "b"), talk("\udfff", "b"), talk("c", "d")]
    assert write_conversations(records, tmp_path / "a.arrow", lambda c, reason: told.append((c, reason))) == 2
    assert list(ConversationTable.open(tmp_path / "a.arrow")) == [records[0], records[2]]
    assert told[0][0] is records[1] and "surrogate" in told[0][1]


def test_blocks_are_read_shorter_where_conversations_are_long(tmp_path):
    short = [talk("q", "a", record_id=f"s:{i}") for i in range(2500)]
    long = [talk("q", "a" * 2_000_000, record_id=f"l:{i}") for i in range(40)]
    write_conversations([*short, *long], tmp_path / "c.arrow")
    table = ConversationTable.open(tmp_path / "c.arrow")

    blocks = [[c.record_id for c in table.block(start)] for start in table.starts()]
    assert [len(block) for block in blocks[:2]] == [1000, 1000] and max(map(len, blocks[3:])) <= 17
    assert [name for block in blocks for name in block] == [c.record_id for c in [*short, *long]]
    assert ConversationTable.open().starts() == []
    some = table.take(np.array([2530, 5, 2501]))
    assert [c.record_id for start in some.starts() for c in some.block(start)] == ["l:30", "s:5", "l:1"]
