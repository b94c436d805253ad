"""A translated set: what is written, what is kept aside, and that a second run changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message, Reject
from kinnari.translation.cached import CachedTranslator
from kinnari.translation.translated_set import SetSettings, TranslatedSet, windows
from tests.kinnari.translation.engines import Dictionary

THAI = {
    "What is a cat?": "แมวคืออะไร",
    "A small animal.": "สัตว์ตัวเล็ก",
    "What is a dog?": "What is a dog?",
    "Sort this list": "เรียงรายการนี้",
    "Like this:\n```\nsorted(x)\n```": "แบบนี้:\n```\nเรียง(x)\n```",
}


def row(number: int, question: str, answer: str, language: str = "en", source: str = "toy") -> Conversation:
    messages = (Message("user", question), Message("assistant", answer))
    return Conversation(messages=messages, record_id=f"{source}:{number}", source=source, language=language, licence="MIT")


ROWS: list[Conversation | Reject] = [
    row(0, "What is a cat?", "A small animal."),
    row(1, "What is a dog?", "A small animal."),
    row(2, "What is a cat?", "A small animal."),
    row(3, "แมวคืออะไร", "สัตว์", language="th"),
    row(4, "broken", "A small animal."),
    row(5, "Sort this list", "Like this:\n```\nsorted(x)\n```"),
    Reject(source="toy", file="f", line=3, reason="broken JSON", row={"a": "\ud800"}),
    row(7, "mahalo", "aloha", language="haw"),
    row(8, "42", "17", language="en"),
    row(9, "!?", "1 + 1", language=""),
    row(10, "half \ud800", "of a pair"),
    row(11, None, ["a list"]),  # type: ignore[arg-type]
]


def build(folder: Path, rows: Sequence[Conversation | Reject] = ROWS, **settings: Any) -> tuple[Any, dict[str, list[Any]], Dictionary]:
    engine = Dictionary({**THAI, "42": "42", "17": "17"}, fails={"broken"})
    cached = CachedTranslator(engine, folder / "t.sqlite")
    progress: list[int] = []
    with TranslatedSet(cached, SetSettings(**{"target": "th", **settings}), folder) as built:
        counts = built.build(rows, progress.append)
    assert progress == sorted(progress)
    files = {f.stem: [json.loads(line) for line in f.read_text(encoding="utf-8").splitlines()] for f in folder.glob("*.jsonl")}
    return counts, files, engine


def test_the_set_its_rejects_and_its_counts(tmp_path: Path) -> None:
    counts, files, _ = build(tmp_path)
    assert [r["record_id"] for r in files["conversations"]] == ["toy:0:th", "toy:3", "toy:8:th"]
    first = files["conversations"][0]
    assert first["messages"] == [{"role": "user", "content": "แมวคืออะไร"}, {"role": "assistant", "content": "สัตว์ตัวเล็ก"}]
    assert (first["language"], first["direction"], first["translated_from"]) == ("th", "en->th", "toy:0")
    why = [(r["file"], r["step"]) for r in files["rejects"]]
    assert why == [("toy:1", "checks"), ("toy:2", "duplicates"), ("toy:4", "translation"), ("toy:5", "checks"), ("f", "read"),
                   ("toy:7", "language"), ("toy:9", "language"), ("toy:10", "read"), ("toy:11", "read")]  # fmt: skip
    assert files["rejects"][0]["row"]["translation"] == "What is a dog?" and "code block" in files["rejects"][3]["reason"]
    assert files["failures"] == [{"text": "broken", "source": "en", "target": "th", "error": "no such word", "attempts": 1}]
    assert (counts.rows, counts.translated, counts.unchanged, counts.failed, counts.written) == (9, 2, 1, 1, 3)
    assert counts.rejected == {"checks": 2, "duplicates": 1, "translation": 1, "read": 3, "language": 2}


def test_joined_rows_go_by_record_id(tmp_path: Path) -> None:
    _, files, _ = build(tmp_path)
    assert [(r["record_id"], r["direction"]) for r in files["joined"]] == [("toy:0", "en->th"), ("toy:8", "en->th")]
    assert files["joined"][0]["messages"][1]["content"] == "A small animal."
    assert files["joined"][0]["messages_translated"][1]["content"] == "สัตว์ตัวเล็ก"


def test_both_languages_stand_one_after_the_other(tmp_path: Path) -> None:
    _, files, _ = build(tmp_path, ROWS[:1], mode="both")
    assert [(r["record_id"], r["language"]) for r in files["conversations"]] == [("toy:0", "en"), ("toy:0:th", "th")]


def test_translation_pairs_have_the_label_of_their_answer_and_no_duplicates(tmp_path: Path) -> None:
    rows = [row(0, "What is a cat?", "A small animal."), row(1, "Sort this list", "A small animal.")]
    counts, files, _ = build(tmp_path, rows, mode="translation_pairs")
    said = [(r["direction"], *(m["content"] for m in r["messages"]), r["messages"][0]["context"]) for r in files["conversations"]]
    assert said[:2] == [
        ("en->th", "แปลข้อความต่อไปนี้เป็นภาษาไทย", "แมวคืออะไร", "What is a cat?"),
        ("th->en", "Translate the following into English.", "What is a cat?", "แมวคืออะไร"),
    ]
    assert len(said) == 6 and counts.directions == {"en->th": 3, "th->en": 3}  # "A small animal." once


def test_translation_pairs_hold_no_row_as_it_was(tmp_path: Path) -> None:
    rows = [row(3, "แมวคืออะไร", "สัตว์", language="th"), row(4, " ", "")]
    counts, files, _ = build(tmp_path, rows, mode="translation_pairs")
    assert files["conversations"] == [] and counts.rejected == {"language": 1, "translation": 1}


def test_a_second_run_gives_the_same_files_without_the_engine(tmp_path: Path) -> None:
    _, files, _ = build(tmp_path, ROWS[:4])
    _, again, engine = build(tmp_path, ROWS[:4])
    assert again == files and engine.asked == []


def test_fields_choose_what_is_translated(tmp_path: Path) -> None:
    _, files, engine = build(tmp_path, ROWS[:1], fields=["assistant"])
    assert engine.asked == ["A small animal."]
    assert files["conversations"][0]["messages"][0]["content"] == "What is a cat?"


def test_the_language_is_told_where_a_row_does_not_say(tmp_path: Path) -> None:
    rows = [row(0, "고양이가 뭐예요?", "작은 동물입니다.", language=""), row(1, "猫是什么？", "一种小动物。", language="")]
    _, files, engine = build(tmp_path, rows, checks=_lenient())
    assert [source for _, source, _ in engine.calls] == ["ko", "zh"]
    _, _, stated = build(tmp_path / "stated", rows, source="ja", checks=_lenient())
    assert {source for _, source, _ in stated.calls} == {"ja"}
    assert [r["source_language"] for r in files["joined"]] == ["ko", "zh"]


def _lenient() -> Any:
    from kinnari.translation.checks import TranslationChecks

    return TranslationChecks(ratio=None, script=0.0, same_letters=10**9)


def test_windows_are_bounded_and_keep_the_order() -> None:
    rows = [row(n, "x" * 3_000_000 if n == 1 else "x", "y" * 2_000_000 if n == 1 else "y") for n in range(4003)]
    sizes = [len(window) for window in windows(rows)]
    assert sizes == [2, 2000, 2000, 1]
    assert [r for window in windows(rows) for r in window] == rows


@pytest.mark.parametrize(
    "values",
    [{"mode": "all"}, {"target": "xx"}, {"source": "thai"}, {"fields": ["answer"]}, {"directions": ["back"]}, {"directions": []}],
)
def test_settings_that_do_not_exist_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError):
        SetSettings(**{"target": "th", **values})
