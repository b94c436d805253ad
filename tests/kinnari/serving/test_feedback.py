"""Opinions and votes on disk: whole rows whoever writes at once, and files that the questionnaire reads."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from kinnari.evaluation.judging import crowd
from kinnari.evaluation.judging.questionnaire import LAYOUTS
from kinnari.serving.feedback import FeedbackFile, Given, VoteFiles, append
from kinnari.text.conversation import Message
from kinnari.text.tables import read_table


def given(answer: str = "yes", model: str = "one", question: str = "why?") -> Given:
    messages = (Message("system", "Be kind."), Message("user", question))
    return Given(model=model, messages=messages, settings={"temperature": 0.5, "seed": 3}, answer=answer)


def write_many(path, mark: str) -> None:
    for number in range(40):
        append(path, json.dumps({"mark": mark, "number": number, "text": mark * 5000}) + "\n")


def test_a_row_has_everything_that_led_to_the_answer(tmp_path):
    file = FeedbackFile(tmp_path / "new" / "feedback.jsonl")
    file.add(given("สวัสดี\n\u2028ครับ"), "report", "  rude ")
    file.add(given("half \ud83d a pair"), "good")
    first, second = (json.loads(line) for line in file.path.read_text("utf-8").split("\n")[:2])
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "why?"}],
        "settings": {"temperature": 0.5, "seed": 3}, "model": "one", "answer": "สวัสดี\n\u2028ครับ", "verdict": "report", "comment": "rude",
    }  # fmt: skip
    assert second["answer"] == "half ? a pair"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600, "what people wrote is its owner's alone"


def test_rows_of_several_processes_and_threads_stay_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    workers = [get_context("spawn").Process(target=write_many, args=(path, mark)) for mark in "ab"]
    for worker in workers:
        worker.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda mark: write_many(path, mark), "cdef"))
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((row["mark"], row["number"]) for row in rows) == [(mark, number) for mark in "abcdef" for number in range(40)]


def test_a_row_without_its_end_spoils_itself_alone(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "b')
    append(path, '{"a": 3}\n', header="never\n")
    assert path.read_text().split("\n") == ['{"a": 1}', '{"a": 2, "b', '{"a": 3}', ""]


def test_a_vote_is_one_row_whatever_is_in_the_answers(tmp_path):
    votes, odd = VoteFiles(tmp_path, ("one", "two")), 'a\rb\r\nc\n\0\u2028\x85\ud800,"'
    votes.add("tab", (given(odd, "one", odd), given("\r", "two", odd)), "A")
    votes.add("tab", (given("x", "one"), given("y", "two")), "B")
    rows = read_table(tmp_path / "sheets" / "tab.csv", "sheet")
    assert [row[LAYOUTS["en"].answer_a] for row in rows] == ['a\nb\nc\n\0\u2028\x85?,"', "x"]
    stored = [json.loads(line) for line in (tmp_path / "votes.jsonl").read_text("utf-8").split("\n")[:-1]]
    assert [row["A"]["answer"] for row in stored] == [odd.replace("\ud800", "?"), "x"]


@pytest.mark.parametrize("language", LAYOUTS)
def test_votes_are_sheets_and_a_key_that_unblinds_them(tmp_path, language):
    votes = VoteFiles(tmp_path, ("one", "two"), language)
    one, two = given("=1+1, from one\nline", "one"), given('"from two"', "two")
    ids = [votes.add("tab/1", (one, two), "A"), votes.add("tab/1", (two, one), "A"), votes.add("tab2", (two, one), "both_bad")]
    names, key = crowd.read_key(read_table(tmp_path / "key.csv", "key"), "key")
    assert names == ("one", "two") and key == {ids[0]: False, ids[1]: True, ids[2]: True}
    sheets = {path.stem: read_table(path, "sheet") for path in (tmp_path / "sheets").iterdir()}
    answers = {name: crowd.read_answers(name, rows, key).labels for name, rows in sheets.items()}
    assert answers == {"tab1": {ids[0]: "first", ids[1]: "second"}, "tab2": {ids[2]: "tie"}}
    first = sheets["tab1"][0]
    layout = LAYOUTS[language]
    assert first[layout.answer_a] == "'=1+1, from one\nline", "a spreadsheet must not compute it"
    assert (first[layout.prompt], first[layout.answer_b]) == ("why?", '"from two"')
    stored = [json.loads(line) for line in (tmp_path / "votes.jsonl").read_text("utf-8").splitlines()]
    assert [(row["id"], row["choice"], row["A"]["model"]) for row in stored] == [
        (ids[0], "A", "one"), (ids[1], "A", "two"), (ids[2], "both_bad", "two"),
    ]  # fmt: skip
