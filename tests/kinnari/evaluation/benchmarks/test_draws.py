"""Draws depend on what is drawn and the seed alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kinnari.evaluation.benchmarks.draws import content, drawn, shuffled, with_some_candidates
from kinnari.evaluation.question import Candidate, Question


def question(words: list[str], gold: int = 0, name: str = "q") -> Question:
    return Question(id=name, candidates=tuple(Candidate("a ", word, ".") for word in words), gold=gold, labels=tuple(words))


WORDS = st.lists(st.text("abcde", min_size=1, max_size=3), min_size=2, max_size=12, unique=True)


@given(WORDS, st.data(), st.integers(0, 5))
def test_a_shuffled_question_is_the_same_question(words, data, seed):
    asked = question(words, data.draw(st.integers(0, len(words) - 1)))
    mixed = shuffled(asked, seed)
    assert sorted(content(mixed)) == sorted(content(asked))
    assert mixed.candidates[mixed.gold].label == asked.candidates[asked.gold].label
    assert mixed.labels == tuple(candidate.label for candidate in mixed.candidates)


@given(WORDS, st.randoms(), st.integers(0, 5))
def test_the_order_in_the_file_has_no_say(words, chance, seed):
    other = words[:]
    chance.shuffle(other)
    here, there = question(words, 0, "1"), question(other, other.index(words[0]), "2")
    assert shuffled(here, seed).candidates == shuffled(there, seed).candidates
    chosen = [{c.label for c in with_some_candidates(q, 3, seed).candidates} for q in (here, there)]
    assert chosen[0] == chosen[1] and words[0] in chosen[0] and len(chosen[0]) == min(3, len(words))


def test_the_right_candidate_stands_everywhere_equally_often():
    places = Counter(shuffled(question([f"x{i}", "b", "c", "d"]), 42).gold for i in range(2000))
    # Standard deviation of a count: sqrt(2000 * 1/4 * 3/4) = 19.4.
    assert all(abs(places[place] - 500) < 80 for place in range(4))


def test_another_seed_draws_otherwise():
    asked = question([str(i) for i in range(30)])
    assert shuffled(asked, 1) != shuffled(asked, 2)
    assert with_some_candidates(asked, 4, 1) != with_some_candidates(asked, 4, 2)


def test_a_smaller_limit_is_part_of_a_larger_one_and_keeps_the_order():
    items = [str(i) for i in range(50)]
    draws = [drawn(items, limit, 42, lambda item: (item,)) for limit in (5, 20, 50, 99, None)]
    assert [len(draw) for draw in draws] == [5, 20, 50, 50, 50]
    assert set(draws[0]) < set(draws[1]) and draws[1] == sorted(draws[1], key=int)
    assert set(drawn(items[::-1], 5, 42, lambda item: (item,))) == set(draws[0]) != set(items[:5])
