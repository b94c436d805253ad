"""Dolly v2."""

from datamodules.sources import Dolly
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons

ROW = {"instruction": "When?", "context": "In 1767.", "response": "1767", "category": "closed_qa"}


def test_context_and_response_go_where_they_belong(tmp_path):
    with_context, without = read(tmp_path, Dolly, ROW, {**ROW, "context": ""})

    assert with_context.messages == (Message("user", "When?", context="In 1767."), Message("assistant", "1767"))
    assert without.messages == (Message("user", "When?"), Message("assistant", "1767")) and without.licence == "CC-BY-SA-3.0"


def test_categories_choose_rows_and_the_others_are_named(tmp_path):
    rows = [ROW, {**ROW, "category": "open_qa"}, {**ROW, "category": [1]}]
    records = read(tmp_path, Dolly, *rows, categories=["closed_qa"])

    assert len(kept(records)) == 1
    assert reasons(records) == ["category 'open_qa' is not among closed_qa", "category '[1]' is not among closed_qa"]
