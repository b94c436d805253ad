"""Preference pairs from ranked answers."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.text.conversation import Message
from kinnari.text.pairs import PairTable, adjacent_pairs, all_pairs, best_first, pairs, write_pairs
from kinnari.text.ranked import RankedAnswers, ScoredAnswer

QUESTION = (Message("user", "Q", context="C"),)


def ranked(*answers, record_id="s:1", prompt=QUESTION):
    """Answers as (text, score)."""
    return RankedAnswers(
        prompt=prompt, answers=tuple(ScoredAnswer(*a) for a in answers), record_id=record_id, source="s", language="zh", licence="MIT"
    )


def texts(found):
    return [(p.chosen.reference(), p.rejected.reference()) for p in found]


def test_each_answer_is_rejected_for_the_nearest_one_above_it_after_which_the_score_drops():
    four = ranked(("a", 3), ("b", 2), ("c", 2), ("d", 1))

    # a > b; b = c, so a is carried over; c > d
    assert texts(adjacent_pairs(four)) == [("a", "b"), ("a", "c"), ("c", "d")]
    assert texts(all_pairs(four)) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]


def test_the_couplet_scores_give_four_adjacent_pairs():
    couplet = ranked(("true", 1), ("x", 0), ("y", 0), ("u", -1), ("v", -1))
    assert texts(adjacent_pairs(couplet)) == [("true", "x"), ("true", "y"), ("y", "u"), ("y", "v")]


def test_ties_at_the_top_are_nobodys_pair():
    assert texts(adjacent_pairs(ranked(("a", 2), ("b", 2), ("c", 1)))) == [("b", "c")]
    assert adjacent_pairs(ranked(("a", 1), ("b", 1))) == []


def test_answers_without_scores_are_compared_by_their_place():
    three = ranked(("a", None), ("b", None), ("c", None))
    assert texts(adjacent_pairs(three)) == [("a", "b"), ("b", "c")]
    assert texts(all_pairs(three)) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert adjacent_pairs(three)[0].score_chosen is None


def test_answers_in_any_order_are_sorted_by_score_first():
    assert texts(adjacent_pairs(ranked(("low", 1), ("high", 3), ("mid", 2)))) == [("high", "mid"), ("mid", "low")]


@pytest.mark.parametrize("construct", [adjacent_pairs, all_pairs])
def test_blank_and_repeated_answers_make_no_pair(construct):
    assert texts(construct(ranked(("a", 3), (" \n", 2), ("b", 1)))) == [("a", "b")]
    assert texts(construct(ranked(("a", 3), ("b", 2), (" a ", 1)))) == [("a", "b")]  # not b over a as well
    assert construct(ranked(("a", 3), ("a ", 1))) == []


def test_a_pair_keeps_scores_prompt_and_provenance():
    (pair,) = pairs(ranked(("good", 5), ("bad", -1.5)))

    assert (pair.score_chosen, pair.score_rejected) == (5, -1.5)
    assert pair.chosen.messages == (Message("user", "Q", context="C"), Message("assistant", "good"))
    assert pair.rejected.messages == (Message("user", "Q", context="C"), Message("assistant", "bad"))
    assert {(c.record_id, c.source, c.language, c.licence) for c in (pair.chosen, pair.rejected)} == {("s:1/0-1", "s", "zh", "MIT")}


def test_at_most_so_many_pairs_are_drawn_by_the_record_alone():
    many = ranked(*((str(i), -i) for i in range(20)))

    some = pairs(many, "all", most=7)

    assert len(some) == 7 and len(set(texts(some))) == 7
    assert some == pairs(many, "all", most=7)
    assert texts(some) != texts(pairs(replace(many, record_id="s:2"), "all", most=7))
    assert [texts(pairs(many, "all")).index(t) for t in texts(some)] == sorted(texts(pairs(many, "all")).index(t) for t in texts(some))


@pytest.mark.parametrize(("arguments", "message"), [({"construction": "every"}, "adjacent"), ({"most": 0}, "most=0")])
def test_an_unknown_construction_and_no_pairs_at_all_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        pairs(ranked(("a", 1)), **arguments)


def slow_adjacent(answers):
    """R's rule, step by step, over answers that are different and sorted."""
    found, chosen = [], None
    for i in range(len(answers) - 1):
        if answers[i][1] > answers[i + 1][1]:
            chosen = answers[i][0]
        if chosen is not None:
            found.append((chosen, answers[i + 1][0]))
    return found


def slow_all(answers):
    return [(a, b) for i, (a, s) in enumerate(answers) for j, (b, t) in enumerate(answers) if i < j and s > t]


answer_lists = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", "e", "", " "]), st.integers(-2, 2)), max_size=9)


@given(answer_lists)
def test_both_constructions_equal_the_rules_written_out(answers):
    ordered = sorted(answers, key=lambda a: -a[1])
    seen = []
    for text, score in ordered:
        if text.strip() and text not in [t for t, _ in seen]:
            seen.append((text, score))

    assert texts(adjacent_pairs(ranked(*answers))) == slow_adjacent(seen)
    assert texts(all_pairs(ranked(*answers))) == slow_all(seen)


@given(answer_lists, st.sampled_from(["adjacent", "all"]))
def test_the_chosen_answer_always_scores_more_and_pairs_are_never_repeated_or_contradicted(answers, construction):
    found = pairs(ranked(*answers), construction)

    assert all(p.score_chosen > p.score_rejected for p in found)
    assert len({frozenset(pair) for pair in texts(found)}) == len(found)
    if construction == "adjacent":
        assert len(found) <= max(0, len(answers) - 1)
        assert set(texts(found)) <= set(texts(all_pairs(ranked(*answers))))


@given(st.lists(answer_lists, max_size=5))
def test_a_table_holds_the_pairs_of_its_prompts_in_order(prompts):
    records = [ranked(*answers, record_id=f"s:{i}") for i, answers in enumerate(prompts)]
    expected = [pair for record in records for pair in pairs(record, "all")]

    table = PairTable(records, "all")

    assert len(table) == len(expected) and list(table) == expected == table[:]
    assert list(table.without({0, 2} & set(range(len(table))))) == [pair for i, pair in enumerate(expected) if i not in (0, 2)]


def test_best_first_is_stable_and_leaves_unscored_answers_alone():
    scored = [ScoredAnswer("a", 1.0), ScoredAnswer("b", 2.0), ScoredAnswer("c", 1.0)]
    assert [a.answer for a in best_first(scored)] == ["b", "a", "c"]
    assert [a.answer for a in best_first([*scored, ScoredAnswer("d", None)])] == ["a", "b", "c", "d"]


def test_pairs_are_written_a_line_each(tmp_path):
    path = tmp_path / "pairs.jsonl"
    records = [ranked(("好", 1), ("坏 \udc80", 0)), ranked(("x", None), ("y", None), prompt=(Message("system", "S"), Message("user", "Q")))]

    assert write_pairs((p for r in records for p in pairs(r)), path) == 2

    first, second = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert first == {
        "record_id": "s:1/0-1", "source": "s", "language": "zh",
        "prompt": [{"role": "user", "content": "Q", "context": "C"}],
        "chosen": "好", "rejected": "坏 \udc80", "score_chosen": 1, "score_rejected": 0,
    }  # fmt: skip
    assert second["prompt"] == [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    assert second["score_chosen"] is None


def test_no_pairs_make_an_empty_file(tmp_path):
    assert write_pairs([], tmp_path / "pairs.jsonl") == 0
    assert (tmp_path / "pairs.jsonl").read_text() == ""
