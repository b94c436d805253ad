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
    with pytest.raises(ConfigError, match=r"columns=None must name columns"):
        GenericFile(path=path, columns=None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("instruction,output\n", "it holds no row, or a header alone; check data.file.path"),
        (b"instruction,output\nq\xe9,a\xe9\n", "none of the first 1 rows can be read. Line 2: the row holds bytes that are not UTF-8"),
        ("Frage,Antwort\nq,a\n", r"which have Frage, Antwort\..*data.file.format=alpaca data.file.columns.instruction=Frage"),
    ],
)
def test_a_file_without_a_layout_says_what_it_holds_and_what_to_write(tmp_path, content, told):
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(ConfigError, match=told):
        list(GenericFile(path=str(path)).read())


def test_a_list_of_files_is_one_source(tmp_path):
    (tmp_path / "more").mkdir()
    first, second = written(tmp_path, [{"input": "a", "output": "b"}]), written(tmp_path / "more", [{"input": "c", "output": "d"}])
    source = GenericFile(path=[first, second])

    assert [(c.record_id, c.messages[0].content) for c in source.read()] == [("file:0", "a"), ("file:1", "c")]
    assert [str(file) for file in source.files()] == [first, second]
    with pytest.raises(ConfigError, match=r"owner/set, one of 2 paths, does not exist.*a hub dataset stands alone"):
        list(GenericFile(path=[first, "owner/set"]).read())
