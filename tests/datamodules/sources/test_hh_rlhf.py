"""HH-RLHF as instruction data."""

from datamodules.sources import HHRlhf
from tests.datamodules.sources.read_source import kept, read, reasons, talk

GOOD = {"chosen": "\n\nHuman: Who wrote Emma?\n\nAssistant: Jane Austen.", "rejected": "\n\nHuman: Who wrote Emma?\n\nAssistant: Me."}


def test_the_chosen_dialogue_is_trained_on(tmp_path):
    (one,) = read(tmp_path, HHRlhf, GOOD)

    assert one.messages == talk("Who wrote Emma?", "Jane Austen.")
    assert (one.record_id, one.language, one.licence) == ("hh_rlhf:0", "en", "MIT")


def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path):
    records = read(tmp_path, HHRlhf, {"rejected": "x"}, {"chosen": 3}, ["x"], {"chosen": "\n\nHuman: Q\n\nAssistant:"}, GOOD)

    assert reasons(records) == [
        "column 'chosen' is missing; expected columns: chosen, rejected; found: rejected",
        "a dialogue must be text, this is a int",
        "a row must be an object with the columns chosen, rejected; this one is a list",
        "the dialogue does not end with an answer",
    ]
    assert kept(records)[0].record_id == "hh_rlhf:4"


def test_answers_that_hold_a_cue_are_kept_only_when_asked_for(tmp_path):
    row = {"chosen": "\n\nHuman: Q\n\nAssistant: Human: Q again", "rejected": ""}

    assert reasons(read(tmp_path, HHRlhf, row)) == ['an answer holds a cue ("Human:" or "Assistant:")']
    assert kept(read(tmp_path, HHRlhf, row, inner_cues=True))[0].messages == talk("Q", "Human: Q again")
