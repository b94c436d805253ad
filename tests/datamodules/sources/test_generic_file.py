"""Files of one's own."""

import pytest

from datamodules.sources import GenericFile
from kinnari.errors import ConfigError
from tests.datamodules.sources.read_source import kept, read, reasons, talk, written


def test_a_table_with_columns_of_its_own_names(tmp_path):
    rows = [{"Frage": "Was ist ein Wat?", "Antwort": "Ein Tempel."}]
    (one,) = read(tmp_path, GenericFile, *rows, suffix=".csv", columns={"input": "Frage", "output": "Antwort", "prompt": None})

    assert one.messages == talk("Was ist ein Wat?", "Ein Tempel.") and (one.record_id, one.licence) == ("file:0", "unknown")


def test_auto_takes_the_layout_of_the_first_rows_for_all(tmp_path):
    rows = ["broken", {"instruction": "a", "output": "b"}, {"prompt": "c"}]
    records = read(tmp_path, GenericFile, *rows)

    assert [r.messages for r in kept(records)] == [talk("a", "b")]
    assert "expected columns: instruction, output, input; found: prompt" in reasons(records)[1]


def test_a_file_of_no_layout_is_the_users_to_mend(tmp_path):
    with pytest.raises(ConfigError, match=r"which have text, url. The layouts need .*alpaca: instruction, output.*data=plain_text"):
        read(tmp_path, GenericFile, {"text": "a", "url": "b"})
    with pytest.raises(ConfigError, match="no columns"):
        read(tmp_path, GenericFile, "a", 3)


def test_a_chosen_format_rejects_rows_one_by_one(tmp_path):
    records = read(tmp_path, GenericFile, {"text": "a"}, {"input": "a", "output": "b"}, format="input_output")

    assert len(kept(records)) == len(reasons(records)) == 1


def test_names_that_do_not_exist_are_refused(tmp_path):
    path = written(tmp_path, [{"a": 1}])
    with pytest.raises(ConfigError, match=r"format=chatml is unknown. Use one of: auto, messages"):
        GenericFile(path=path, format="chatml")
    with pytest.raises(ConfigError, match=r"columns names question, which format=alpaca does not have. It has: history, input"):
        GenericFile(path=path, format="alpaca", columns={"question": "Frage"})
