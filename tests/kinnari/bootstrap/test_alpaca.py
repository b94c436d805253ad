"""Alpaca's prompt and how its answer is read."""

from __future__ import annotations

import random

import pytest

from kinnari.bootstrap.alpaca import AlpacaStyle
from kinnari.bootstrap.candidates import Candidate, Question, Rejected
from kinnari.bootstrap.seeds import Instance, SeedTask
from kinnari.completion.completer import Completion
from kinnari.errors import ConfigError

STYLE = AlpacaStyle(header="Tasks in {language}:\n", num_seeds=2)
ASKED = Question("...", 4, "en")


def seed(number, instruction, given="", output="out"):
    instances = (Instance(given, output), Instance("other", "other"))
    return SeedTask(id=str(number), name="", instruction=instruction, instances=instances, is_classification=False, language="en")


def read(text, reason="stop"):
    return STYLE.read(ASKED, Completion(text, reason))


def test_a_prompt_shows_whole_tasks_and_ends_where_the_next_begins():
    seeds = [seed(0, "Add  the\nnumbers:", "1 2", "3"), seed(1, "Say hello", "  ", "Hello")]
    rng = random.Random(0)
    first, second = random.Random(0).sample(seeds, 2)
    shown = {"0": ("Add the numbers", "1 2", "3"), "1": ("Say hello", "<noinput>", "Hello")}
    a, b = shown[first.id], shown[second.id]
    expected = (
        "Tasks in Thai:\n"
        f"###\n1. Instruction: {a[0]}\n1. Input:\n{a[1]}\n1. Output:\n{a[2]}\n"
        f"###\n2. Instruction: {b[0]}\n2. Input:\n{b[1]}\n2. Output:\n{b[2]}\n"
        "###\n3. Instruction:"
    )
    question = STYLE.question(seeds, ["never shown"], "th", rng)
    assert question == Question(expected, 3, "th")


WHOLE = " Name a fruit\n4. Input:\n<NoInput>\n4. Output:\nApple\n\n###\n5. Instruction: Add\n5. Input:\n1 2\n5. Output: 3\n###\n"


def test_tasks_are_read_in_order():
    assert read(WHOLE) == [Candidate("Name a fruit", "", "Apple"), Candidate("Add", "1 2", "3")]


@pytest.mark.parametrize("start", ["4. Instruction:", "\n4. Instruction:", "###\n4. Instruction:"])
def test_an_answer_that_repeats_where_it_begins_is_read_alike(start):
    assert read(start + WHOLE) == read(WHOLE)


def test_the_last_piece_of_a_cut_answer_is_rejected():
    found = read(WHOLE.removesuffix("\n###\n"), "length")
    assert found[0] == Candidate("Name a fruit", "", "Apple")
    assert isinstance(found[1], Rejected) and found[1].reason == "cut" and "5. Instruction: Add" in found[1].text


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        ("5. Instruction: Add\n5. Output: 3", "malformed"),  # no input
        ("5. Instruction: Add\n6. Input: 1\n5. Output: 3", "malformed"),  # another number
        ("5. Instruction: Add\n5. Output: 3\n5. Input: 1", "malformed"),  # another order
        ("5. Instruction: Add\n5. Input: 1\n5. Output: 3\n5. Output: 4", "malformed"),  # twice
        ("5. Instruction: Add\n5. Input: 1\n5. Output:\n", "no_output"),
    ],
)
def test_a_piece_without_its_three_parts_is_rejected_and_the_next_read(piece, reason):
    found = read(f" A\n4. Input:\n<noinput>\n4. Output:\nB\n###\n{piece}\n###\n6. Instruction: C\n6. Input: D\n6. Output: E")
    assert [type(f) for f in found] == [Candidate, Rejected, Candidate]
    assert found[1].reason == reason
    assert found[2] == Candidate("C", "D", "E")


def test_a_task_begins_at_its_number_where_the_border_was_forgotten():
    assert read(WHOLE.replace("###\n", "")) == read(WHOLE)


def test_a_heading_in_an_output_does_not_end_it():
    (found,) = read(" Write notes\n4. Input:\n<noinput>\n4. Output:\n### Notes\n1. one\n###### deep")
    assert found == Candidate("Write notes", "", "### Notes\n1. one\n###### deep")


@pytest.mark.parametrize("text", ["", "\n", "\x00", "I cannot do that.", "###", "4. Instruction:", "9" * 5000])
def test_an_answer_that_holds_no_task_is_kept_as_rejected_pieces(text):
    assert all(isinstance(found, Rejected) for found in read(text))


def test_a_prompt_without_a_seed_is_refused():
    with pytest.raises(ConfigError, match="num_seeds=0"):
        AlpacaStyle(header="", num_seeds=0)
