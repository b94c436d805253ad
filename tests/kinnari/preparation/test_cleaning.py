"""Steps run in order; what each takes out is counted, written down with its name, and the same with any number of processes."""

import json

import numpy as np
import pytest

from kinnari.preparation import conversations as module
from kinnari.preparation.cleaning import clean, open_cleaned
from kinnari.preparation.conversations import ConversationTable, write_conversations
from tests.kinnari.preparation.fakes import LastDigit, Shout, Without, talk


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    records = [talk(f"question {i}", f"answer {i % 10}", record_id=f"a:{i}", language=["en", ""][i % 2]) for i in range(25)]
    write_conversations(records, tmp_path / "c.arrow")
    return ConversationTable.open(tmp_path / "c.arrow")


def cleaned(table, folder, steps, **changes):
    folder.mkdir()
    clean(table, steps, folder, **({"workers": 1, "show": False} | changes))
    lines = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    return open_cleaned(folder, table), lines, json.loads((folder / "counts.json").read_text())


def test_row_and_set_steps_in_order(table, tmp_path):
    steps = {"no_three": Without("3"), "shout": Shout(), "digits": LastDigit(), "no_five": Without("5")}
    left, lines, counts = cleaned(table, tmp_path / "out", steps)

    # 3, 13 and 23 go first; of each last digit the first stays: 0..9 without 3; then 5 goes.
    assert [c.record_id for c in left] == [f"a:{i}" for i in (0, 1, 2, 4, 6, 7, 8, 9)]
    assert {c.reference() for c in left} == {f"ANSWER {i}" for i in (0, 1, 2, 4, 6, 7, 8, 9)}
    assert [line["row"]["record_id"] for line in lines if line["step"] == "no_three"] == ["a:3", "a:13", "a:23"]
    digits = [line for line in lines if line["step"] == "digits"]
    assert len(digits) == 13 and digits[0]["row"]["record_id"] == "a:10" and "a:0" in digits[0]["reason"]
    assert lines[-1]["step"] == "no_five" and lines[-1]["reason"] == "asks about 5"
    assert {step: sum(sum(n.values()) for n in sources.values()) for step, sources in counts["removed"].items()} == {
        "no_three": 3, "shout": 0, "digits": 13, "no_five": 1,
    }  # fmt: skip
    assert counts["changed"] == {"no_three": 0, "shout": 22, "digits": 0, "no_five": 0} and counts["kept"] == 8


def test_removed_rows_are_counted_by_the_language_of_their_answers(table, tmp_path):
    _, _, counts = cleaned(table, tmp_path / "out", {"no_one": Without("1")})
    assert counts["removed"]["no_one"]["a"]["en"] >= 5 and sum(counts["removed"]["no_one"]["a"].values()) == 12


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_processes_leaves_the_same_bytes(table, tmp_path, workers):
    steps = {"no_three": Without("3"), "shout": Shout(), "digits": LastDigit()}
    cleaned(table, tmp_path / "one", steps)
    cleaned(table, tmp_path / "many", steps, workers=workers)

    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "many").iterdir())
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "many" / f).read_bytes() for f in files)


def test_steps_that_only_look_write_no_text(table, tmp_path):
    left, _, _ = cleaned(table, tmp_path / "out", {"no_three": Without("3"), "digits": LastDigit()})
    assert len(left) == 9 and not list((tmp_path / "out").glob("*.arrow"))


def test_a_draw_comes_after_the_steps(table, tmp_path):
    left, _, counts = cleaned(table, tmp_path / "out", {"no_three": Without("3")}, drawn=lambda count: np.array([0, 3, count - 1]))
    assert [c.record_id for c in left] == ["a:0", "a:4", "a:24"] and counts["not_drawn"] == 19


def test_a_step_may_take_out_everything_and_be_followed_by_others(table, tmp_path):
    left, lines, _ = cleaned(table, tmp_path / "out", {"all": Without("question"), "digits": LastDigit(), "shout": Shout()})
    assert len(left) == 0 and len(lines) == 25
