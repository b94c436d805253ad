"""Train and held-out sets share no question."""

from hypothesis import given
from hypothesis import strategies as st

from kinnari.text.conversation import Conversation, Message, normalise_question
from kinnari.text.split import question_groups, split_by_question


def conversation(*turns, record_id="r"):
    messages = tuple(Message("assistant" if i % 2 else "user", t) for i, t in enumerate(turns))
    return Conversation(messages=messages, record_id=record_id, source="s", language="en", licence="x")


questions = st.sampled_from(["What is AI?", "what is ai", "Who are you?", "Tell me a joke", "안녕", "你好", "สวัสดี"])


@given(st.lists(st.lists(questions, min_size=1, max_size=3), min_size=2, max_size=30), st.integers(0, 3))
def test_no_user_turn_is_on_both_sides(dialogues, seed):
    records = [conversation(*[t for q in d for t in (q, "answer")]) for d in dialogues]

    split = split_by_question(records, fraction=0.3, most=10, seed=seed)

    turns = [
        {normalise_question(m.content) for i in side for m in records[i].messages if m.role == "user"}
        for side in (split.train, split.held_out)
    ]
    assert not turns[0] & turns[1]
    assert sorted(split.train + split.held_out) == list(range(len(records)))


def test_dialogues_that_share_a_later_turn_are_one_group():
    records = [conversation("A?", "x", "B?", "y"), conversation("B?", "z"), conversation("C?", "z")]

    groups = question_groups(records)
    assert groups[0] == groups[1] != groups[2]


def test_the_side_of_a_question_does_not_depend_on_the_order_of_the_records():
    records = [conversation(f"Question {i}?", "x", record_id=str(i)) for i in range(40)]

    forward = split_by_question(records, 0.2, 100, seed=1)
    backward = split_by_question(records[::-1], 0.2, 100, seed=1)

    assert {records[i].record_id for i in forward.held_out} == {records[::-1][i].record_id for i in backward.held_out}
    assert len(forward.held_out) == 8


def test_a_corpus_of_one_question_holds_nothing_out():
    assert split_by_question([conversation("Same?", str(i)) for i in range(9)], 0.5, 5, 0).held_out == []


def test_thai_vowel_signs_and_tones_survive_normalising():
    assert normalise_question("ไก่ ไข่!") == "ไก่ ไข่"
    assert normalise_question("มา") != normalise_question("ม้า")


def test_width_case_and_punctuation_are_folded():
    assert normalise_question("Ｗhat  is AI?!") == "what is ai"
