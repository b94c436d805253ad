"""task=questionnaire: out to people and back, and on to the judge."""

from __future__ import annotations

import json

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.crowd import summary_row
from kinnari.evaluation.judging.questionnaire import LAYOUTS
from kinnari.tasks.compose import compose
from kinnari.tasks.judge import judge
from kinnari.tasks.questionnaire import questionnaire
from kinnari.text.tables import read_table, write_table

TH = LAYOUTS["th"]
ROWS = [{"message_id": f"m{i}", "prompt": f"ถาม {i}", "mine": f"- good {i}", "theirs": f"bad {i}", "eval": "0.9 0.1"} for i in range(6)]


@pytest.fixture
def run(tmp_path):
    def ran(*words: str, out: str):
        return questionnaire(compose(["task=questionnaire", f"output_dir={tmp_path}/{out}", *words]))

    return ran


@pytest.fixture
def exported(tmp_path, run):
    write_table(tmp_path / "answers.csv", ROWS)
    result = run(f"task.input={tmp_path}/answers.csv", "task.columns=[mine,theirs]", "task.language=th", out="out")
    return tmp_path / "out", result


def fill(folder, name, choose):
    """A copy of the sheet with the choice of `choose(id, answer A)`."""
    rows = [row | {TH.choice: choose(row["message_id"], row[TH.answer_a])} for row in read_table(folder / "questionnaire.csv", "o")]
    write_table(folder.parent / "filled" / name, rows)


def test_out_and_back_gives_what_people_said_of_each_system(exported, run, tmp_path, capsys):
    folder, result = exported
    assert result["questions"] == 6 and "mine" not in (folder / "questionnaire.csv").read_text("utf-8")
    (tmp_path / "filled").mkdir()
    honest = lambda item, a: TH.a_better if "good" in a else TH.b_better  # noqa: E731
    fill(folder, "kind.csv", honest)
    fill(folder, "strict.csv", lambda item, a: TH.tie if item == "m0" else honest(item, a))
    fill(folder, "lazy.csv", lambda item, a: "" if item in ("m0", "m1", "m2") else honest(item, a))

    back = run("task.mode=import", f"task.answers={tmp_path}/filled", f"task.key={folder}/key.csv", out="in")

    assert (back["first"], back["second"], back["items"], back["votes"]) == ("mine", "theirs", 6, 15)
    assert (back["votes/first"], back["votes/tie"], back["majority/first"]) == (pytest.approx(14 / 15), pytest.approx(1 / 15), 1.0)
    assert [(row["annotator"], row["n"], row["tie"]) for row in back["annotators"]] == [("kind", 6, 0), ("lazy", 3, 0), ("strict", 6, 1)]
    assert len(back["pairs"]) == 3 and back["fleiss_kappa"] is None and back["krippendorff_alpha"] is not None
    majority = {row["message_id"]: row for row in read_table(tmp_path / "in" / "majority.csv", "o")}
    assert list(majority["m0"]) == [*TH.columns, *TH.counts, "A", "B"]
    assert (majority["m0"][TH.count_a], majority["m0"][TH.count_tie], majority["m0"][TH.code], majority["m0"]["A"]) == (
        "1",
        "1",
        "1",
        "mine",
    )
    assert all("good" in row[TH.answer_a] for row in majority.values())
    assert json.loads((tmp_path / "in" / "summary.json").read_text("utf-8"))["votes"] == 15
    assert "Krippendorff" in capsys.readouterr().out

    words = [
        f"judge.input={tmp_path}/answers.csv",
        "judge.replies_column=eval",
        f"judge.human={tmp_path}/in/majority.csv",
        "judge=scores_0_1",
    ]
    for columns, said in (("[mine,theirs]", 1.0), ("[theirs,mine]", 0.0)):  # the stored replies are of the first order
        judged = judge(compose(["task=judge", f"judge.columns={columns}", f"output_dir={tmp_path}/judged", *words]))
        assert (judged["judge/human_n"], judged["judge/human_agreement"]) == (6, said)


def test_a_published_summary_is_counted_without_a_key(run, tmp_path):
    rows = [summary_row(TH, f"m{i}", ("q", "a", "b"), counts) for i, counts in enumerate([(4, 0, 6), (9, 1, 0), (2, 1, 2), (0, 1, 1)])]
    write_table(tmp_path / "crowd.csv", rows)
    result = run("task.mode=import", f"task.answers={tmp_path}/crowd.csv", out="in")
    assert (result["first"], result["votes"], result["votes/first"]) == ("A", 27, pytest.approx(15 / 27))
    assert (result["majority/first"], result["majority/second"], result["majority/tie"]) == (0.5, 0.25, 0.25)
    assert [row[TH.code] for row in read_table(tmp_path / "in" / "majority.csv", "o")] == ["3", "1", "1", "2"]


@pytest.mark.parametrize(
    ("words", "says"),
    [(["task.mode=send"], "task.mode=send"), (["task.mode=import"], "task.answers is not set"),
     (["task.mode=import", "task.answers=FOLDER"], "no csv or tsv"),
     (["task.language=fr", "task.columns=[a,b]"], "task.language=fr"), (["task.columns=[a,b]"], "task.input is not set")],
)  # fmt: skip
def test_mistakes_are_told(run, tmp_path, words, says):
    with pytest.raises(ConfigError, match=says):
        run(*(word.replace("FOLDER", str(tmp_path)) for word in words), out="out")


def test_a_sheet_that_nobody_filled_in_is_told(exported, run):
    with pytest.raises(ConfigError, match=r"None of task\.answers holds an answer"):
        run("task.mode=import", f"task.answers={exported[0]}/questionnaire.csv", f"task.key={exported[0]}/key.csv", out="in")


def test_a_summary_and_sheets_are_not_added_up(exported, run, tmp_path):
    write_table(tmp_path / "crowd.csv", [summary_row(TH, "m1", ("q", "a", "b"), (1, 0, 0))])
    with pytest.raises(ConfigError, match="stands alone"):
        run("task.mode=import", f"task.answers=[{tmp_path}/crowd.csv,{exported[0]}/questionnaire.csv]", out="in")


ODD = 'a\rb\r\nc\n\0\u2028\x85,"\t'


@pytest.mark.parametrize("name", ["filled.csv", "filled.tsv"])
def test_texts_come_back_whatever_ends_a_line_in_them(run, tmp_path, name):
    rows = [{"message_id": "m1", "prompt": ODD, "mine": f"{ODD}1", "theirs": "\rx\r"}]
    write_table(tmp_path / "answers.jsonl", rows)
    run(f"task.input={tmp_path}/answers.jsonl", "task.columns=[mine,theirs]", "task.language=th", out="out")
    sheet = read_table(tmp_path / "out" / "questionnaire.csv", "o")
    assert len(sheet) == 1 and {sheet[0][TH.answer_a], sheet[0][TH.answer_b]} == {f"{ODD}1", "\rx\r"}
    write_table(tmp_path / name, [sheet[0] | {TH.choice: "A" if sheet[0][TH.answer_a].endswith("1") else "B"}])
    back = run("task.mode=import", f"task.answers={tmp_path}/{name}", f"task.key={tmp_path}/out/key.csv", out="in")
    assert (back["items"], back["majority/first"]) == (1, 1.0)
    [majority] = read_table(tmp_path / "in" / "majority.csv", "o")
    assert (majority[TH.prompt], majority[TH.answer_a], majority[TH.answer_b]) == (ODD, f"{ODD}1", "\rx\r")


def test_empty_rows_of_a_spreadsheet_are_passed_over_and_rows_without_an_id_told(exported, run, tmp_path):
    folder, _ = exported
    rows = [row | {TH.choice: "A"} for row in read_table(folder / "questionnaire.csv", "o")]
    empty = dict.fromkeys(TH.columns, "")

    def read(*filled: dict) -> dict:
        write_table(tmp_path / "s.csv", filled, TH.columns)
        return run("task.mode=import", f"task.answers={tmp_path}/s.csv", f"task.key={folder}/key.csv", out="in")

    assert read(empty, *rows[:3], empty, *rows[3:], empty | {TH.prompt: " "}, empty)["votes"] == 6
    with pytest.raises(ConfigError, match=r"filled row 2 below the header has no message_id.*Copy it"):
        read(rows[0], rows[1] | {"message_id": " "})
    with pytest.raises(ConfigError, match="empty rows alone"):
        read(empty, empty)
