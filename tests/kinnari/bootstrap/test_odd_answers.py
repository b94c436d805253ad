"""Whatever a model says, every part of it is a candidate or a reject, soon."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.bootstrap.alpaca import AlpacaStyle
from kinnari.bootstrap.candidates import Candidate, Question, Rejected
from kinnari.bootstrap.instances import read_classification, read_instances
from kinnari.bootstrap.seeds import Instance
from kinnari.bootstrap.self_instruct import SelfInstructStyle
from kinnari.completion.completer import Completion

ASKED = Question("", 4, "en")
STYLES = (AlpacaStyle(header=""), SelfInstructStyle(header=""))
MARKS = ["###", "\n", "4. Instruction:", "4. Input:", "4. Output:", "5. Instruction:", "<noinput>", "9.", "Example 1", "Output:", "Input:",
         "Class label:", "สวัสดี", "한국어", "中文", "\x00", "\ud800", "🙂", " ", "text", ":", "1" * 50]  # fmt: skip
ANSWERS = st.builds(Completion, st.lists(st.sampled_from(MARKS) | st.text(max_size=5), max_size=30).map("".join),
                    st.sampled_from(["stop", "length"]))  # fmt: skip


@settings(deadline=None, max_examples=500)
@given(ANSWERS)
def test_every_piece_is_a_candidate_or_a_reject(completion):
    for style in STYLES:
        for found in style.read(ASKED, completion):
            assert isinstance(found, Rejected) or (isinstance(found, Candidate) and (found.instruction or found.output))
    for classification in (False, True):
        assert all(isinstance(found, Instance | Rejected) for found in read_instances(completion, classification))
    assert read_classification(completion) in (True, False)


@pytest.mark.parametrize("piece", ["\n", "\n ", "#", "### ", "\n9", "9. ", "\n9. ", "Example 1\n", "4. Instruction:", "\nOutput:", "\t"])
def test_a_huge_answer_costs_no_more_than_its_length(piece):
    completion = Completion(piece * 100_000, "stop")
    began = time.monotonic()
    for style in STYLES:
        style.read(ASKED, completion)
    read_instances(completion, False)
    read_instances(completion, True)
    assert time.monotonic() - began < 10
