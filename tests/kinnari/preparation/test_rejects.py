"""Every reject becomes one line of valid JSON, whatever is in it, and is read back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from kinnari.preparation.rejects import SHOWN, RejectLog, dropped_line, reject_line, removed_line
from kinnari.text.conversation import Reject
from tests.kinnari.preparation.fakes import talk

plain = st.none() | st.integers() | st.floats() | st.text() | st.binary()
anything = st.recursive(plain, lambda x: st.lists(x) | st.dictionaries(st.text(), x))


@given(anything)
def test_any_row_can_be_written(row):
    line = reject_line(Reject(source="s", file="f", line=1, reason="why", row=row))
    assert line.endswith("\n") and line.count("\n") == 1 and json.loads(line)["reason"] == "why"
    line.encode()


def test_deep_and_long_rows_are_shortened():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for row in (deep, "x" * 10**6, {"\ud800": "\udfff"}):
        line = reject_line(Reject(source="s", file="f", line=1, reason="why", row=row))
        assert len(line) <= SHOWN and json.loads(line)["source"] == "s"


def test_lines_are_read_back_as_rejects_and_drops_are_passed_over(tmp_path):
    talks = talk("Why?", "Because.", record_id="a:1")
    lines = [reject_line(Reject(source="a", file="f", line=3, reason="broken", row="{")), removed_line(talks, "too short", "length")]
    (tmp_path / "1.jsonl").write_text("".join(lines))
    (tmp_path / "2.jsonl").write_text(dropped_line(talks, "en", "no answer"))
    log = RejectLog([tmp_path / "1.jsonl", tmp_path / "2.jsonl"], 2)

    first, second = log
    assert len(log) == 2 and first == Reject(source="a", file="f", line=3, reason="broken", row="{") and log[0] == first
    assert second.step == "length" and second.row["record_id"] == "a:1" and second.row["messages"][1]["content"] == "Because."
    assert log.write(tmp_path / "all.jsonl") == 3
    assert json.loads((tmp_path / "all.jsonl").read_text().splitlines()[2])["step"] == "tokenise"
