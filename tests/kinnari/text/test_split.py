"""Train and held-out sets share no question."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from kinnari.text.conversation import Conversation, Message, normalise_question
from kinnari.text.split import near_duplicate_groups, question_groups, split_by_question


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


SENTENCES = [
    "请用简单的语言解释一下什么是量子纠缠，以及为什么爱因斯坦称它为鬼魅般的超距作用，并举一个生活中的例子",
    "กรุณาอธิบายว่าทำไมท้องฟ้าจึงเป็นสีฟ้าในตอนกลางวันและเป็นสีแดงในตอนเย็นก่อนพระอาทิตย์ตก",
    "한국의 전통 음식인 김치를 만드는 방법을 단계별로 자세히 설명하고 필요한 재료를 모두 나열해 주세요 부탁드립니다",
    "Write a short story about a lighthouse keeper who finds a message in a bottle and decides to answer it.",
    "List five ways to reduce the energy a household uses in winter, and say what each of them costs. " * 3,
]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=25), st.integers(0, 3))
def test_no_near_duplicate_is_on_both_sides(picks, seed):
    def edited(sentence, edit):
        return sentence if edit == 0 else sentence[: 10 * edit] + "x" + sentence[10 * edit + 1 :] if edit < 3 else sentence + "?!"

    records = [conversation(edited(SENTENCES[i], edit), "answer") for i, edit in picks]

    split = split_by_question(records, fraction=0.4, most=20, seed=seed, near_duplicates=0.6)

    sides = [{picks[i][0] for i in side} for side in (split.train, split.held_out)]
    assert not sides[0] & sides[1]
    assert sorted(split.train + split.held_out) == list(range(len(records)))


def test_near_duplicates_count_as_different_unless_asked_for():
    records = [conversation(SENTENCES[3], "x"), conversation(SENTENCES[3].replace("short", "brief"), "x")]

    assert len(set(question_groups(records))) == 2
    assert len(set(question_groups(records, near_duplicates=0.7))) == 1


def test_one_changed_character_of_a_short_chinese_question_is_a_near_duplicate():
    texts = [
        "请问今年北京市的大学英语四级考试什么时候开始报名以及在哪里报名呢",
        "请问明年北京市的大学英语四级考试什么时候开始报名以及在哪里报名呢",
        "请问今年",
    ]
    assert near_duplicate_groups(texts, 0.7).tolist() == [0, 0, 2]


def test_texts_on_either_side_of_the_border_between_short_and_long_are_compared():
    text = "".join(chr(0x4E00 + 37 * i) for i in range(110))
    assert near_duplicate_groups([text[:95], "other", text[:105], text], 0.8).tolist() == [0, 1, 0, 0]


def test_unrelated_long_texts_are_not_near_duplicates():
    rng = random.Random(0)
    words = re.findall(r"\w+", "the of and to in is that it was for on are with as his they be at one have this from or had by")
    texts = [" ".join(rng.choice(words) for _ in range(1500)) for _ in range(4)]
    assert near_duplicate_groups(texts, 0.8).tolist() == [0, 1, 2, 3]


def test_no_text_has_no_group():
    assert near_duplicate_groups([]).tolist() == []


def test_texts_without_a_user_turn_are_told_apart_by_the_text_itself():
    def text(content, record_id):
        return Conversation(messages=(Message("assistant", content),), record_id=record_id, source="s", language="en", licence="x")

    groups = question_groups([text("One text.", "r:1"), text("Another text.", "r:2"), text("one text", "r:3")], near_duplicates=0.8)
    assert groups[0] == groups[2] != groups[1]
