"""Classification or not, instances, and the rules of what is kept, worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.bootstrap.candidates import Candidate, Rejected
from kinnari.bootstrap.instances import (
    classification_prompt,
    instances_prompt,
    keep_instances,
    read_classification,
    read_instances,
    shuffled_rows,
)
from kinnari.bootstrap.seeds import Instance, SeedTask
from kinnari.completion.completer import Completion


def seed(instruction, classification, *instances):
    return SeedTask(id=instruction, name="", instruction=instruction, instances=tuple(Instance(*i) for i in instances),
                    is_classification=classification, language="en")  # fmt: skip


SEEDS = [
    seed("Add", False, ("1 2", "3"), ("2 2", "4")),
    seed("Sing", False, ("", "La")),
    seed("Good or bad?", True, ("It rains.", "bad"), ("Sun!", "good")),
]


def test_the_question_whether_it_is_classification_shows_both_kinds():
    expected = (
        "H\n\nTask: Add\nClassification? No\n\nTask: Good or bad?\nClassification? Yes\n\nTask: Sing\nClassification? No\n\n"
        "Task: New\nClassification?"
    )
    assert classification_prompt("H\n", SEEDS, "New", shown=8) == expected


@pytest.mark.parametrize(
    ("text", "value"), [(" Yes", True), ("yes.", True), ("YES", True), (" No", False), ("yesterday", False), ("", False)]
)
def test_yes_is_yes_and_all_else_is_no(text, value):
    assert read_classification(Completion(text, "stop")) is value


def test_other_tasks_are_shown_with_the_input_first():
    expected = (
        "H\n\nTask: Add\nExample 1\nInput: 1 2\nOutput: 3\nExample 2\nInput: 2 2\nOutput: 4\n\nTask: Sing\nExample 1\nOutput: La\n\n"
        "Task: New\nExample 1"
    )
    assert instances_prompt("H", SEEDS, "New", False, shown=5) == expected


def test_classification_is_shown_with_the_label_first():
    expected = "H\n\nTask: Good or bad?\nClass label: bad\nInput: It rains.\nClass label: good\nInput: Sun!\n\nTask: New\nClass label:"
    assert instances_prompt("H", SEEDS, "New", True, shown=5) == expected


def test_instances_are_read():
    text = "\nInput: a\nb\nOutput: c\nExample 2\nOutput: d\n\nExample 3.\nInput: <noinput>\nOutput:\ne\n"
    assert read_instances(Completion(text, "stop"), False) == [Instance("a\nb", "c"), Instance("", "d"), Instance("", "e")]


def test_labelled_instances_are_read():
    text = " good\nInput: I like it.\nClass label: bad\nI do not.\nClass label: odd\n"
    found = read_instances(Completion(text, "stop"), True)
    assert found == [Instance("I like it.", "good"), Instance("I do not.", "bad"), Rejected("no_input", "odd")]


def test_what_was_cut_or_has_no_output_is_rejected():
    text = "\nInput: a\nOutput: b\nExample 2\nInput: c\nExample 3\nInput: d\nOutput: e"
    found = read_instances(Completion(text, "length"), False)
    assert found[0] == Instance("a", "b")
    assert [f.reason for f in found[1:] if isinstance(f, Rejected)] == ["malformed", "cut"]


def test_the_rules_of_what_is_kept():
    given = [
        Instance("a", "b"), Instance("a", "b"),  # the second is a duplicate
        Instance("c", "c"), Instance("d", ""), Instance("e:", "f"), Instance("g", "h："),
        Instance("i", "1"), Instance("i", "2"),  # contradict one another
        Instance("", "x"), Instance("", "y"),  # without an input they do not
        Instance("j", "k"), Instance("l", "m"), Instance("n", "o"),
    ]  # fmt: skip
    kept, dropped = keep_instances(given, most=5)
    assert kept == [given[0], given[8], given[9], given[10], given[11]]
    assert [reason for _, reason in dropped] == [
        "duplicate", "output_is_input", "no_output", "ends_with_colon", "ends_with_colon", "contradiction", "contradiction",
        "more_than_enough",
    ]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.builds(Instance, st.sampled_from(["", "a", "b:", "c"]), st.sampled_from(["", "a", "x", "y:"]))))
def test_every_instance_is_kept_or_dropped(instances):
    kept, dropped = keep_instances(instances)
    assert sorted([*kept, *(i for i, _ in dropped)], key=repr) == sorted(instances, key=repr)
    assert len(set(kept)) == len(kept) <= 5


def test_rows_are_unique_and_shuffled_the_same_way_each_time():
    tasks = [(f"t{i}", [Instance("", "a"), Instance("b", "c")]) for i in range(10)]
    rows = shuffled_rows([*tasks, tasks[0]])
    assert len(rows) == len(set(rows)) == 20
    assert rows == shuffled_rows(tasks)
    assert rows != [Candidate(t, i.input, i.output) for t, instances in tasks for i in instances]
