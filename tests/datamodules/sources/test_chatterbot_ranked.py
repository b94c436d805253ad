"""ChatterBot dialogues with worse answers."""

from collections import defaultdict

import pytest

from datamodules.sources import ChatterBot, ChatterBotRanked
from kinnari.text.conversation import Conversation, normalise_question
from kinnari.text.ranked import RankedAnswers


def ranked(source):
    return [item for item in source.read_ranked() if isinstance(item, RankedAnswers)]


@pytest.fixture(scope="module")
def source():
    return ChatterBotRanked(languages=["english", "korean"])


@pytest.fixture(scope="module")
def prompts(source):
    return ranked(source)


def test_the_true_answer_is_first_then_two_of_the_subject_then_two_of_others(prompts):
    full = [r for r in prompts if len(r.answers) == 5]

    assert len(full) > 0.95 * len(prompts)
    assert all([a.score for a in r.answers] == [1.0, 0.0, 0.0, -1.0, -1.0] for r in full)


def test_worse_answers_are_of_the_subject_or_of_another_one_in_the_same_language(prompts):
    subjects = defaultdict(set)
    for item in ChatterBot(languages=["english", "korean"]).read():
        if isinstance(item, Conversation):
            subjects[item.reference()].add(item.record_id.split(":")[1])
    for r in prompts:
        own = r.record_id.split(":")[1]
        for answer in r.answers[1:]:
            assert (own in subjects[answer.answer]) or answer.score == -1.0
            assert any(s.split("/")[0] == own.split("/")[0] for s in subjects[answer.answer])


def test_no_true_answer_of_the_same_question_is_a_worse_one(prompts):
    true = defaultdict(set)
    for r in prompts:
        true[normalise_question("\n".join(m.content for m in r.prompt))].add(r.answers[0].answer)
    assert max(map(len, true.values())) > 1  # the corpus answers some questions in several ways
    for r in prompts:
        asked = normalise_question("\n".join(m.content for m in r.prompt))
        assert not true[asked] & {a.answer for a in r.answers[1:]}


def test_a_dialogue_that_stands_twice_is_read_once_and_no_answer_is_repeated(prompts):
    keys = [(tuple(m.content for m in r.prompt), r.answers[0].answer) for r in prompts]
    assert len(set(keys)) == len(keys)
    assert all(len({a.answer for a in r.answers}) == len(r.answers) for r in prompts)


def test_what_is_drawn_depends_on_the_seed_alone(prompts):
    again = ranked(ChatterBotRanked(languages=["english", "korean"]))
    other = ranked(ChatterBotRanked(languages=["english", "korean"], seed=7))

    assert again == prompts
    assert [r.answers[0] for r in other] == [r.answers[0] for r in prompts] and other != prompts


def test_as_instructions_they_are_the_true_answers(source, prompts):
    read = [c for c in source.read() if isinstance(c, Conversation)]

    assert [c.reference() for c in read] == [r.answers[0].answer for r in prompts]
