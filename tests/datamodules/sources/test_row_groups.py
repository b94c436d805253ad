"""Rows that make a conversation together."""

from dataclasses import dataclass

from datamodules.sources import row_groups
from datamodules.sources.row_groups import Found, GroupedFileSource, Refused
from tests.datamodules.sources.read_source import kept, read, reasons, talk


@dataclass(frozen=True, kw_only=True)
class Runs(GroupedFileSource):
    """Runs of rows with the same key; a key of 0 is refused."""

    name: str = "runs"
    language: str = "ko"

    def same_group(self, previous, row):
        """Same key."""
        return previous["key"] == row["key"]

    def found(self, rows):
        """One conversation of the texts."""
        if rows[0]["key"] == 0:
            yield Refused("no key", rows[0])
        yield Found(talk("Q", "+".join(row["text"] for row in rows)), "th" if rows[0]["key"] == 2 else "")


def row(key, text):
    return {"key": key, "text": text}


def answers(records):
    return [record.messages[1].content for record in kept(records)]


def test_a_run_of_rows_is_a_group_and_groups_are_counted(tmp_path):
    records = read(tmp_path, Runs, row(1, "a"), row(1, "b"), row(2, "c"), row(1, "d"))

    assert answers(records) == ["a+b", "c", "d"]
    assert [record.record_id for record in records] == ["runs:0:0", "runs:1:0", "runs:2:0"]
    assert [record.language for record in records] == ["ko", "th", "ko"]


def test_refused_parts_stand_beside_what_is_kept_with_the_line_of_their_group(tmp_path):
    records = read(tmp_path, Runs, row(1, "a"), row(0, "b"), row(0, "c"))

    assert answers(records) == ["a", "b+c"]
    assert reasons(records) == ["no key"] and records[1].line == 2 and records[1].row == row(0, "b")


def test_a_broken_row_ends_a_group_and_is_rejected(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"key": 1, "text": "a"}\n{"key": 1, "te\n{"key": 1, "text": "b"}\n')
    records = list(Runs(path=str(path)).read())

    assert answers(records) == ["a", "b"] and "broken JSON" in reasons(records)[0]


def test_files_are_groups_of_their_own(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"key": 1, "text": "x"}\n')

    assert answers(list(Runs(path=str(tmp_path)).read())) == ["x", "x"]


def test_a_group_is_never_longer_than_memory_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(row_groups, "LONGEST", 2)

    assert answers(read(tmp_path, Runs, *(row(1, t) for t in "abcde"))) == ["a+b", "c+d", "e"]
