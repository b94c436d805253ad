"""A round trip through a file that a person or a website fills in."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from kinnari.errors import ConfigError
from kinnari.translation.table import TableTranslator, read_table, text_id, write_table

TEXTS = ["Good morning", 'He said "no", twice.\nThen left.', "안녕", "a\r\nb"]


def fill(path: Path, translations: dict[str, str]) -> None:
    """What a person does in a spreadsheet: rows turned round, line breaks of the texts changed, translations written."""
    rows = [dict(row) for row in read_table(path)][::-1]
    for row in rows:
        row["translation"] = translations.get(row["text"], "")
        row["text"] = row["text"].replace("\r\n", "\n").strip('"')
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        if path.suffix == ".jsonl":
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("name", ["texts.csv", "texts.jsonl"])
def test_translations_come_back_to_their_texts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert write_table(path, [("en", "th", text) for text in [*TEXTS, "Good morning"]]) == 4
    fill(path, {"Good morning": "สวัสดีตอนเช้า", TEXTS[1]: "เขาบอกว่า\nไม่", "a\r\nb": "ก\nข"})
    engine = TableTranslator(path)
    results = engine.translate(TEXTS, "en", "th")
    assert [result.text for result in results] == ["สวัสดีตอนเช้า", "เขาบอกว่า\nไม่", None, "ก\nข"]
    assert results[2].error == f"{name} has no translation of it"
    assert engine.translate(["Good morning"], "en", "ko")[0].text is None  # another direction


def test_a_longer_file_is_another_engine(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    write_table(path, [("en", "th", "cat")])
    empty = TableTranslator(path).identity
    fill(path, {"cat": "แมว"})
    assert TableTranslator(path).identity != empty


def test_a_file_without_ids_is_joined_by_its_texts(tmp_path: Path) -> None:
    path = tmp_path / "wangchan.jsonl"
    rows = [
        '{"text": "Hello", "translated_text_replaced": "สวัสดี"}',
        "{broken",
        "[1]",
        '{"text": "Hello", "translated_text_replaced": "หวัดดี"}',
    ]
    path.write_text("\n".join(rows), encoding="utf-8")
    engine = TableTranslator(path, translation_column="translated_text_replaced")
    assert engine.translate(["Hello"], "en", "th")[0].text == "สวัสดี"


def test_long_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    write_table(path, [("en", "th", "x" * 300_000)])
    fill(path, {"x" * 300_000: "ย"})
    assert TableTranslator(path).translate(["x" * 300_000], "en", "th")[0].text == "ย"


def test_ids_name_text_and_direction() -> None:
    assert len({text_id("a", "en", "th"), text_id("a", "th", "en"), text_id("b", "en", "th")}) == 3


@pytest.mark.parametrize("content", ["id,text\n1,a\n", ""])
def test_files_that_hold_no_translations_are_refused_or_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(content)
    if content:
        with pytest.raises(ConfigError, match="no column 'translation', only id, text"):
            TableTranslator(path)
    else:
        assert TableTranslator(path).translate(["a"], "en", "th")[0].text is None


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_bytes("id,text,translation\n1,a,สวัสดี\n".encode("tis-620"))
    for path in (tmp_path / "texts.csv", tmp_path / "none.csv", tmp_path, None):
        with pytest.raises(ConfigError):
            TableTranslator(path)
    with pytest.raises(ConfigError, match=r"\.csv or \.jsonl"):
        write_table(tmp_path / "texts.txt", [])
