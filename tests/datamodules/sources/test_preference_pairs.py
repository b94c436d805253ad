"""Files for preference optimisation."""

import pytest

from datamodules.sources import PreferencePairs
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_ranked import answers, ranked, rejected
from tests.datamodules.sources.read_source import talk, written


def pairs_of(tmp_path, *rows):
    return PreferencePairs(path=written(tmp_path, rows, ".json"))


def said(role, text):
    return {"role": role, "content": text}


def told(who, text):
    return {"from": who, "value": text}


Q, A, B = said("user", "Q"), said("assistant", "good"), said("assistant", "bad")


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [told("human", "Q")], "chosen": told("gpt", "good"), "rejected": told("gpt", "bad")},
        {"prompt": "Q", "chosen": "good", "rejected": "bad"},
        {"question": "Q", "chosen": "good", "rejected": "bad", "system": ""},
        {"instruction": "Q", "input": "", "chosen": "good", "rejected": "bad"},
        {"prompt": [Q], "chosen": [A], "rejected": [B]},
        {"messages": [Q], "chosen": A, "rejected": B},
        {"chosen": [Q, A], "rejected": [Q, B]},
        {"prompt": "Q", "chosen": [Q, A], "rejected": [Q, B]},  # the question twice, once as a column
        {"prompt": [Q], "chosen": "good", "rejected": [B]},
    ],
)
def test_every_layout_in_use_gives_the_same_pair(tmp_path, row):
    (record,) = ranked(pairs_of(tmp_path, row))

    assert record.prompt == (Message("user", "Q"),)
    assert answers(record) == [("good", None), ("bad", None)]


def test_dialogues_and_system_messages_are_kept(tmp_path):
    turns = [told("system", "S"), told("human", "1"), told("gpt", "2"), told("human", "3")]
    one, two, three = ranked(
        pairs_of(
            tmp_path,
            {"conversations": turns, "chosen": told("gpt", "good"), "rejected": told("gpt", "bad")},
            {"system": "S", "prompt": "1", "chosen": "good", "rejected": "bad"},
            {"system": "S", "prompt": "1", "chosen": [said("user", "1"), A], "rejected": [said("user", "1"), B]},
        )
    )

    assert one.prompt == (Message("system", "S"), *talk("1", "2", "3"))
    assert two.prompt == three.prompt == (Message("system", "S"), Message("user", "1"))


def test_the_input_follows_the_instruction(tmp_path):
    (record,) = ranked(pairs_of(tmp_path, {"instruction": "Sum up.", "input": "A text.", "chosen": "a", "rejected": "b"}))
    assert record.prompt == (Message("user", "Sum up.\n\nA text."),)


def test_scores_are_taken_where_both_are_there(tmp_path):
    row = {"prompt": "Q", "chosen": "good", "rejected": "bad"}
    with_both, with_one = ranked(pairs_of(tmp_path, row | {"score_chosen": 8.5, "score_rejected": "3"}, row | {"score_chosen": 8}))

    assert answers(with_both) == [("good", 8.5), ("bad", 3.0)]
    assert answers(with_one) == [("good", None), ("bad", None)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Q", "chosen": "a"}, "chosen and rejected"),
        ({"prompt": "Q", "chosen": "a", "rejected": "a"}, "the two answers are the same"),
        ({"prompt": "Q", "chosen": "", "rejected": "a"}, "the better one: the answer is empty"),
        ({"prompt": "Q", "chosen": ["a", 3], "rejected": "a"}, "the better one: it does not end with an answer"),
        ({"prompt": "Q", "chosen": [], "rejected": "a"}, "the better one: it does not end with an answer"),
        ({"prompt": "Q", "chosen": Q, "rejected": "a"}, "the better one: it does not end with an answer"),
        ({"chosen": "a", "rejected": "b"}, "no question"),
        ({"prompt": 7, "chosen": "a", "rejected": "b"}, "turn 1 must be an object"),
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 2}, "score_chosen is less"),
        ({"chosen": [Q, A], "rejected": [said("user", "R"), B]}, "differ before the last answer"),
        ("Q", "a row must be an object"),
    ],
)
def test_rows_that_are_no_pair_are_rejected(tmp_path, row, reason):
    ((_, why),) = rejected(pairs_of(tmp_path, row))
    assert reason in why
