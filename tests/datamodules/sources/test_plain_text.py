"""Plain text: documents, and pieces of long ones that lose nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.sources import PlainText
from datamodules.sources.plain_text import pieces
from kinnari.errors import ConfigError
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons

TEXT = "วัดพระแก้ว\nกรุงเทพฯ\n\n\nเชียงใหม่\n \nลำพูน"


def texts(tmp_path, content, **options):
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    return [record.messages[0].content for record in PlainText(path=str(tmp_path / "a.txt"), **options).read()]


def test_every_document_is_one_trained_message(tmp_path):
    (tmp_path / "a.txt").write_text("one", encoding="utf-8")
    (record,) = PlainText(path=str(tmp_path / "a.txt"), language="en").read()

    assert record.messages == (Message("assistant", "one", trained=True),)
    assert (record.record_id, record.language) == ("plain_text:0", "en")


def test_documents_are_parted_as_asked(tmp_path):
    assert texts(tmp_path, TEXT) == ["วัดพระแก้ว\nกรุงเทพฯ", "เชียงใหม่", "ลำพูน"]
    assert texts(tmp_path, TEXT, documents="line") == ["วัดพระแก้ว", "กรุงเทพฯ", "เชียงใหม่", "ลำพูน"]
    assert texts(tmp_path, TEXT, documents="file") == [TEXT]


def test_the_files_of_a_folder_are_documents_of_their_own(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"{name} one\n{name} two")

    assert [r.messages[0].content for r in PlainText(path=str(tmp_path)).read()] == ["a one\na two", "b one\nb two"]


def test_rows_give_their_column(tmp_path):
    records = read(tmp_path, PlainText, {"text": "one\n\ntwo", "url": "x"}, {"body": "three"}, {"text": ""}, 7)

    assert [r.messages[0].content for r in kept(records)] == ["one\n\ntwo"] and len(reasons(records)) == 3
    assert len(kept(read(tmp_path, PlainText, {"body": "three"}, column="body"))) == 1


@pytest.mark.parametrize("documents", ["blank_line", "file"])
def test_a_long_document_becomes_several_records_and_nothing_is_lost(tmp_path, documents):
    paragraphs = [f"Paragraph {n}: " + "word " * 20 for n in range(300)]
    found = texts(tmp_path, "\n".join(paragraphs), documents=documents, max_characters=400)

    assert "".join("".join(found).split()) == "".join("".join(paragraphs).split())
    assert max(map(len, found)) <= 400 and len(found) > 50
    assert all(text.startswith("Paragraph") for text in found)


def test_text_is_parted_at_the_best_place_in_the_second_half():
    assert pieces("aaaa bbbb\n\ncc dd. ee ff", 16) == ["aaaa bbbb\n\n", "cc dd. ee ff"]
    assert pieces("aaaa bbbb cc dd. ee ff", 18) == ["aaaa bbbb cc dd. ", "ee ff"]
    assert pieces("aaaa bbbb cc dd ee ff", 16) == ["aaaa bbbb cc dd ", "ee ff"]
    assert pieces("ก" * 20, 16) == ["ก" * 16, "ก" * 4]
    assert pieces("กำ" * 7 + "กิก่า", 16)[0][-1] != "ก" or "ิ" not in pieces("กำ" * 7 + "กิก่า", 16)[1][:1]


@given(st.text(st.sampled_from("ab .\n。กิ่"), max_size=300), st.integers(16, 40))
def test_pieces_are_the_text(text, most):
    parts = pieces(text, most)

    assert "".join(parts) == text and all(len(part) <= most for part in parts)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match=r"documents=page is unknown\. Use one of: blank_line, line, file"):
        PlainText(path="x", documents="page")
    with pytest.raises(ConfigError, match="max_characters=3 is below 16"):
        PlainText(path="x", max_characters=3)
