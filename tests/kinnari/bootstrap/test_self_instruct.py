"""The prompt of instructions alone, and how its answer is read."""

from __future__ import annotations

import random

import pytest

from kinnari.bootstrap.candidates import Candidate, Question, Rejected
from kinnari.bootstrap.seeds import read_seed_tasks
from kinnari.bootstrap.self_instruct import SelfInstructStyle
from kinnari.completion.completer import Completion
from kinnari.errors import ConfigError

STYLE = SelfInstructStyle(header="Tasks in {language}:")
SEEDS = [seed for seed in read_seed_tasks() if seed.language == "th"]
ASKED = Question("...", 9, "en")


def read(text, reason="stop"):
    return STYLE.read(ASKED, Completion(text, reason))


@pytest.mark.parametrize(("machine", "shown"), [([], 0), (["m0"], 1), ([f"m{i}" for i in range(50)], 2)])
def test_a_prompt_shows_eight_instructions_at_most_two_of_the_models_own(machine, shown):
    question = STYLE.question(SEEDS, machine, "th", random.Random(1))
    head, *lines, last = question.prompt.split("\n")
    assert (head, last, question.next_number) == ("Tasks in Thai:", "9.", 9)
    texts = [line.split(". ", 1)[1] for line in lines]
    assert [line.split(".")[0] for line in lines] == [str(i) for i in range(1, 9)]
    assert sum(text in machine for text in texts) == shown
    assert sum(text in {seed.instruction for seed in SEEDS} for text in texts) == 8 - shown


def test_the_models_own_stand_anywhere():
    places = set()
    for number in range(40):
        lines = STYLE.question(SEEDS, ["m"], "th", random.Random(number)).prompt.split("\n")
        places.add(next(i for i, line in enumerate(lines) if line.endswith(". m")))
    assert places == set(range(1, 9))


def test_instructions_are_read_one_to_a_number():
    text = " translate into French:\n10. Find  the\nlonger word\n11 . 오늘 날씨를 설명해\n12.\n"
    assert read(text) == [Candidate("Translate into French"), Candidate("Find the longer word"), Candidate("오늘 날씨를 설명해 12.")]


def test_an_answer_that_repeats_its_number_is_read_alike():
    assert read("9. Name a fruit\n10. Name a tree") == [Candidate("Name a fruit"), Candidate("Name a tree")]


def test_a_cut_answer_is_rejected_whole():
    assert read("Name a fruit\n10. Na", "length") == [Rejected("cut", "Name a fruit\n10. Na")]


def test_an_empty_answer_holds_nothing():
    assert read(" \n ") == []


def test_a_prompt_needs_a_seed():
    with pytest.raises(ConfigError, match="num_machine=8"):
        SelfInstructStyle(header="", machine=8)
