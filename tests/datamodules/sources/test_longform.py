"""LongForm."""

from datamodules.sources import LongForm
from tests.datamodules.sources.read_source import read, reasons, talk


def test_input_is_the_question(tmp_path):
    one, bad = read(
        tmp_path, LongForm, {"input": "Why?", "output": "Long.", "source": "C4", "subset": "c4"}, {"input": "", "output": "Long."}
    )

    assert one.messages == talk("Why?", "Long.") and one.licence == "MIT"
    assert "'input' is missing, empty" in reasons([bad])[0]
