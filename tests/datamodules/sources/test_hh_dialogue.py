"""Dialogues of HH-RLHF."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources.hh_dialogue import parse_dialogue
from tests.datamodules.sources.read_source import talk


def test_turns_begin_behind_a_blank_line():
    text = "\n\nHuman: Is it red?\n\nAssistant: No.\n\nIt is:\n- blue\n\nHuman: Thanks\n\nAssistant: Any time."

    assert parse_dialogue(text) == talk("Is it red?", "No.\n\nIt is:\n- blue", "Thanks", "Any time.")
    assert parse_dialogue(text.replace("\n", "\r\n").lstrip())[2].content == "Thanks"


def test_two_turns_of_one_speaker_in_a_row_are_one():
    assert parse_dialogue("\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nAssistant: d") == talk("a\n\nb", "c\n\nd")


@pytest.mark.parametrize("answer", ["Human: So she said no", "It is. Human: And then? Assistant: Then nothing."])
def test_a_cue_inside_an_answer_is_text_or_refused_as_asked(answer):
    text = f"\n\nHuman: Q\n\nAssistant: {answer}"

    assert parse_dialogue(text) == talk("Q", answer)
    assert parse_dialogue(text, inner_cues=False) == 'an answer holds a cue ("Human:" or "Assistant:")'
    assert parse_dialogue("\n\nHuman: What does Human: mean?\n\nAssistant: A cue.", inner_cues=False) == talk(
        "What does Human: mean?", "A cue."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "must be text, this is a NoneType"),
        ({"Human": 1}, "must be text, this is a dict"),
        ("", 'no "Human:" or "Assistant:" begins a turn'),
        ("Hello Human: hi", 'no "Human:" or "Assistant:" begins a turn'),
        ("Preface\n\nHuman: Q\n\nAssistant: A", 'text before the first "Human:"'),
        ("\n\nAssistant: A", "begins with an answer"),
        ("\n\nHuman: Q\n\nAssistant: A\n\nHuman: R", "does not end with an answer"),
        ("\n\nHuman: Q\n\nAssistant: ", "does not end with an answer"),
        ("\n\nHuman: Q\n\nAssistant: \n\nHuman: R\n\nAssistant: B", "a turn is empty"),
    ],
)
def test_what_is_no_dialogue_is_refused_with_the_reason(text, reason):
    assert reason in parse_dialogue(text)


def test_a_million_blanks_cost_no_more_than_a_million_steps():
    begin = time.perf_counter()
    for blanks in ("\n" * 10**6, " " * 10**6, "\n \n" * 10**5):
        assert parse_dialogue("\n\nHuman: a" + blanks + "b\n\nAssistant: c" + blanks)[-1].content == "c"

    assert time.perf_counter() - begin < 5


@given(st.lists(st.text(alphabet="ab:\n ไ한").map(str.strip).filter(bool), min_size=2, max_size=6).filter(lambda t: len(t) % 2 == 0))
def test_what_is_written_in_the_format_comes_back(turns):
    text = "".join(f"\n\n{('Human', 'Assistant')[i % 2]}: {turn}" for i, turn in enumerate(turns))

    assert parse_dialogue(text) == talk(*turns)
