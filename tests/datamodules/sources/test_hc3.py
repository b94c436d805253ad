"""HC3, as OIG has it."""

from datamodules.sources import HC3
from tests.datamodules.sources.read_source import read, talk


def test_rows_keep_their_own_licence_and_name(tmp_path):
    (one,) = read(tmp_path, HC3, {"text": "<human>: Why?\n<bot>: Because.", "metadata": {"source": "unified_hc3_human"}})

    assert one.messages == talk("Why?", "Because.") and (one.record_id, one.licence) == ("hc3:0", "CC-BY-SA-4.0")
