"""The split by hashes keeps what the split by strings promises, for any dialogues."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.preparation.conversations import ConversationTable, write_conversations
from kinnari.preparation.splitting import RANKS, HeldOut, chosen, group_ranks, held_out_of, question_hash, rank_questions
from kinnari.text.conversation import normalise_question
from kinnari.text.split import question_groups
from tests.kinnari.preparation.fakes import talk

QUESTIONS = ["What is AI?", "what is ai", "Who are you?", "Tell me a joke", "안녕", "你好", "สวัสดี", "?", ""]


def sides(records, folder, **changes):
    settings = HeldOut(**({"seed": 1} | changes))
    write_conversations(records, folder / "c.arrow")
    rank_questions(ConversationTable.open(folder / "c.arrow"), settings.seed, settings.near_duplicates, folder, show=False)
    held = held_out_of(np.load(folder / RANKS), np.arange(len(records)), settings)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


@settings(deadline=None, max_examples=60)
@given(dialogues=st.lists(st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=3), min_size=2, max_size=30), seed=st.integers(0, 3))
def test_no_user_turn_is_on_both_sides(dialogues, seed, tmp_path_factory):
    records = [talk(*[t for q in d for t in (q, "answer")], record_id=str(i)) for i, d in enumerate(dialogues)]

    train, held_out = sides(records, tmp_path_factory.mktemp("split"), fraction=0.3, most=10, seed=seed)

    turns = [{normalise_question(m.content) for i in side for m in records[i].messages if m.role == "user"} for side in (train, held_out)]
    assert not turns[0] & turns[1]
    assert sorted(train + held_out) == list(range(len(records))) and len(held_out) <= 10


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=3), min_size=1, max_size=20))
def test_groups_are_those_of_the_strings(dialogues):
    texts = [[normalise_question(f"{q}\n") for q in d] for d in dialogues]
    records = np.repeat(np.arange(len(texts)), [len(d) for d in texts])
    hashes = np.array([question_hash(q, 0) for d in texts for q in d], dtype=np.uint64)

    ours = group_ranks(records, hashes, len(texts)).tolist()
    theirs = question_groups([talk(*[t for q in d for t in (q, "a")]) for d in dialogues])

    assert [[a == b for b in ours] for a in ours] == [[a == b for b in theirs] for a in theirs]


def test_the_side_of_a_question_depends_neither_on_order_nor_on_company(tmp_path):
    records = [talk(f"Question {i}?", "x", record_id=str(i)) for i in range(40)]
    folders = [tmp_path / name for name in ("f", "b")]
    for folder in folders:
        folder.mkdir()

    _, forward = sides(records, folders[0], fraction=0.2, most=100)
    _, backward = sides(records[::-1], folders[1], fraction=0.2, most=100)

    assert {records[i].record_id for i in forward} == {records[::-1][i].record_id for i in backward} and len(forward) == 8


def test_an_exact_number_can_be_held_out(tmp_path):
    records = [talk(f"Question {i}?", "x") for i in range(100)] + [talk("Same?", str(i)) for i in range(20)]
    for folder, most in ((tmp_path / "a", 17), (tmp_path / "b", 100)):
        folder.mkdir()
        assert len(sides(records, folder, fraction=None, most=most)[1]) == most


def test_a_corpus_of_one_question_holds_nothing_out(tmp_path):
    assert sides([talk("Same?", str(i)) for i in range(9)], tmp_path, fraction=0.5, most=5)[1] == []


def test_only_what_can_be_trained_on_counts_and_the_rest_stays_with_its_group():
    ranks = np.array([1, 1, 2, 3, 4], dtype=np.uint64)  # conversation 0 has no tokens
    held = held_out_of(ranks, np.array([1, 2, 3, 4]), HeldOut(fraction=None, most=2))
    assert held.tolist() == [True, True, True, False, False]


def test_whole_groups_are_taken_by_rank_while_they_fit():
    ranks = np.array([5, 5, 5, 1, 9, 2], dtype=np.uint64)
    assert chosen(ranks, 2).tolist() == [False, False, False, True, False, True]
    assert chosen(ranks, 4).tolist() == [False, False, False, True, True, True], "the group of three does not fit beside 1 and 2"
    assert chosen(ranks, 0).tolist() == [False] * 6
    assert chosen(np.array([7, 7], dtype=np.uint64), 2).tolist() == [False, False], "something must be left to train on"


@pytest.mark.parametrize("near", [None, 0.6])
def test_near_duplicates_are_kept_on_one_side_if_asked_for(tmp_path, near):
    texts = [f"Write a short story number {chr(97 + i) * 9} about a lighthouse keeper and the {chr(110 - i) * 12} sea" for i in range(12)]
    records = [talk(text + end, "x") for text in texts for end in ("", " please", " now")]
    train, held_out = sides(records, tmp_path, fraction=0.4, most=50, near_duplicates=near)
    both = {i // 3 for i in train} & {i // 3 for i in held_out}
    assert bool(both) is (near is None)
