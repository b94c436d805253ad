"""OIG chip2."""

from datamodules.sources import OIGChip2
from tests.datamodules.sources.read_source import read, reasons, talk


def test_rows_of_one_turn_and_of_several(tmp_path):
    one, several = read(
        tmp_path, OIGChip2, {"text": "<human>: Name a fruit.\n<bot>: An apple.\nOr two."},
        {"text": "<human>: Hi\n<bot>: Hello!\n<human>: A joke?\n<bot>: No.\n<human>: Why?"},
    )  # fmt: skip

    assert one.messages == talk("Name a fruit.", "An apple.\nOr two.") and one.record_id == "oig_chip2:0"
    assert several.messages == talk("Hi", "Hello!", "A joke?", "No.")


def test_rows_without_an_answer_are_rejected(tmp_path):
    rows = read(tmp_path, OIGChip2, {"text": "<human>: Name a fruit."}, {"text": "<human>: Hi\n<bot>:"}, {"text": "apple"}, {"text": None})

    assert [reason.split(":")[0] for reason in reasons(rows)] == [
        "no question with an answer to it is in the dialogue",
        "part 2 (bot) is empty",
        "none of the cues (context, human, bot) is in the text",
        "column 'text' is missing, empty or not text; expected columns",
    ]
