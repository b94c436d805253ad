"""OIG abstract_infill."""

from datamodules.sources import OIGInfillDBpedia
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import read, talk


def test_the_background_is_the_context_of_the_first_question(tmp_path):
    text = "Background: Ayutthaya fell in 1767.\nIt was large.\n<human>: When?\n<bot>: In 1767.\n<human>: Large?\n<bot>: Yes."
    (one,) = read(tmp_path, OIGInfillDBpedia, {"text": text})

    first = Message("user", "When?", context="Ayutthaya fell in 1767.\nIt was large.")
    assert one.messages == (first, *talk("When?", "In 1767.", "Large?", "Yes.")[1:])


def test_a_background_within_an_answer_stays_there(tmp_path):
    (one,) = read(tmp_path, OIGInfillDBpedia, {"text": "<human>: An abstract?\n<bot>: Sure.\nBackground: cats.\nMethods: none."})

    assert one.messages == talk("An abstract?", "Sure.\nBackground: cats.\nMethods: none.")
