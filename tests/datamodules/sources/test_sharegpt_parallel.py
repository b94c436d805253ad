"""Translation pairs out of two ShareGPT files."""

import random

import pytest

from datamodules.sources import ShareGPTParallel
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, reasons, written


def talk_row(*values, **more):
    return {**more, "conversations": [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]}


EN = [talk_row("One?", "One.", id="a"), talk_row("Two?", "Two.", id="b"), talk_row("Three?", "Three.", id="c")]
KO = [talk_row("하나?", "하나.", id="a"), talk_row("둘?", "둘.", id="b"), talk_row("셋?", "셋.", id="c")]


def read(folder, left, right):
    paths = written(folder, left, ".json", "left"), written(folder, right, ".json", "right")
    return list(ShareGPTParallel(path=paths[0], target_path=paths[1]).read())


def pairs(records):
    return [(r.messages[0].context, r.messages[1].content) for r in kept(records)]


def without_ids(rows):
    return [{"conversations": row["conversations"]} for row in rows]


def test_every_turn_is_a_request_to_translate_in_the_right_direction(tmp_path):
    records = read(tmp_path, EN, KO)

    assert records[0].messages == (Message("user", "다음을 한국어로 번역해.", context="One?"), Message("assistant", "하나?"))
    assert [r.record_id for r in records] == [f"sharegpt_parallel:{i}:{t}" for i in range(3) for t in range(2)]
    assert {r.language for r in records} == {"ko"}


def test_exchanging_the_files_exchanges_the_direction(tmp_path):
    records = read(tmp_path, KO, EN)

    assert records[0].messages == (Message("user", "Translate the following into English.", context="하나?"), Message("assistant", "One?"))
    assert {r.language for r in records} == {"en"}


def test_conversations_with_ids_are_joined_by_them_whatever_their_order(tmp_path):
    assert sorted(pairs(read(tmp_path, EN, KO[::-1]))) == sorted(pairs(read(tmp_path, EN, KO)))
    assert read(tmp_path, EN, KO[::-1]) == read(tmp_path, EN, KO[::-1])


def test_conversations_without_ids_are_joined_by_position(tmp_path):
    assert pairs(read(tmp_path, without_ids(EN), without_ids(KO))) == pairs(read(tmp_path, EN, KO))


def test_different_numbers_of_turns_are_left_out_with_both_numbers(tmp_path):
    records = read(tmp_path, [*EN, talk_row("Q", id="d")], [*KO, talk_row("질문", "답", id="d")])

    assert reasons(records) == ["1 turns here and 2 in the other file"] and len(kept(records)) == 6


def test_conversations_without_a_partner_are_left_out_on_both_sides(tmp_path):
    records = read(tmp_path, EN[:2], KO[1:])

    assert pairs(records) == [("Two?", "둘?"), ("Two.", "둘.")]
    assert reasons(records) == ["the other file has no such conversation"] * 2
    assert reasons(read(tmp_path, without_ids(EN), without_ids(KO)[:2])) == ["the other file has no such conversation"]


def test_more_than_two_hundred_conversations_are_read(tmp_path):
    left, right = [[talk_row(f"{word} {i}", id=str(i)) for i in range(300)] for word in ("Number", "번호")]
    random.Random(0).shuffle(right)

    assert len(kept(read(tmp_path, left, right))) == 300


@pytest.mark.parametrize(
    ("english", "korean", "reason"),
    [
        (("x = 1",), ("x = 1",), "neither side of the conversation is plainly the Korean one"),
        (("Q", "x = 1"), ("질문", "x = 1"), "turn 2: both sides of the pair are the same text"),
        (("Q", "A"), ("질문", " "), "turn 2: one side of the pair is empty"),
        (("Q", "A"), ("질문", None), "a turn is not an object with text in 'value'"),
        ((), (), "'conversations' is missing, empty or not a list"),
    ],
)
def test_what_is_no_pair_is_left_out_with_the_reason(tmp_path, english, korean, reason):
    assert reasons(read(tmp_path, [talk_row(*english, id="a")], [talk_row(*korean, id="a")])) == [reason]


def test_a_row_that_cannot_be_read_does_not_shift_those_after_it(tmp_path):
    records = read(tmp_path, [without_ids(EN)[0], 7, without_ids(EN)[2]], without_ids(KO))

    assert pairs(records) == [("One?", "하나?"), ("One.", "하나."), ("Three?", "셋?"), ("Three.", "셋.")]
    assert reasons(records) == ["'conversations' is missing, empty or not a list"]
