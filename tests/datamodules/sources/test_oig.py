"""Any file of OIG."""

from datamodules.sources.oig import OIGFile
from tests.datamodules.sources.read_source import read, reasons, talk


def test_text_with_cues_is_a_dialogue_and_metadata_is_left(tmp_path):
    one, bad = read(tmp_path, OIGFile, {"text": "\n<human>: Hi\n<bot>: Yo", "metadata": {"source": "x"}}, {"texts": "<human>: Hi"})

    assert one.messages == talk("Hi", "Yo") and one.licence == "Apache-2.0"
    assert "expected columns: text; found: texts" in reasons([bad])[0]
