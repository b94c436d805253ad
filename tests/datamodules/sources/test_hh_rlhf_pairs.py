"""HH-RLHF as pairs."""

import gzip
import json

import pytest

from datamodules.sources import HHRlhfPairs
from kinnari.text.pairs import pairs
from tests.datamodules.sources.read_ranked import answers, ranked, rejected
from tests.datamodules.sources.read_source import talk, written

START = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Who wrote Emma?\n\nAssistant:"
ROW = {"chosen": f"{START} Jane Austen.", "rejected": f"{START} No idea."}


def test_the_common_beginning_is_the_prompt_and_the_last_answers_are_the_pair(tmp_path):
    (record,) = ranked(HHRlhfPairs(path=written(tmp_path, [ROW])))

    assert record.prompt == talk("Hi", "Hello!", "Who wrote Emma?")
    assert answers(record) == [("Jane Austen.", None), ("No idea.", None)]
    (pair,) = pairs(record)
    assert (pair.chosen.reference(), pair.rejected.reference()) == ("Jane Austen.", "No idea.")


def test_packed_files_are_read_as_they_are_published(tmp_path):
    with gzip.open(tmp_path / "test.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(ROW) + "\n")
    assert len(ranked(HHRlhfPairs(path=str(tmp_path / "test.jsonl.gz")))) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW | {"rejected": ROW["chosen"]}, "the two answers are the same"),
        (ROW | {"rejected": "\n\nHuman: Hi\n\nAssistant: Bye."}, "differ before the last answer"),
        (ROW | {"chosen": START}, "the better one: the dialogue does not end with an answer"),
        (ROW | {"rejected": f"{START} Human: me"}, "the worse one: an answer holds a cue"),
        ({"chosen": ROW["chosen"]}, "columns chosen, rejected"),
        (ROW | {"rejected": None}, "the worse one: a dialogue must be text"),
    ],
)
def test_dialogues_that_are_no_pair_are_rejected(tmp_path, row, reason):
    ((_, why),) = rejected(HHRlhfPairs(path=written(tmp_path, [row])))
    assert reason in why


def test_cues_inside_answers_are_text_when_asked_for(tmp_path):
    row = ROW | {"rejected": f"{START} Human: me"}
    (record,) = ranked(HHRlhfPairs(path=written(tmp_path, [row]), inner_cues=True))
    assert answers(record)[1] == ("Human: me", None)
