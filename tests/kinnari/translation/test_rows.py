"""Conversations apart and together again; the label of a translation pair is always that of its answer."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message
from kinnari.translation import rows

ASKED = Conversation(
    messages=(
        Message("system", "Be brief."),
        Message("user", "Summarise", context="A long text."),
        Message("assistant", "Short.", trained=True),
        Message("user", " "),
    ),
    record_id="alpaca:7",
    source="alpaca",
    language="en",
    licence="MIT",
)
THAI = {"Be brief.": "ตอบสั้น ๆ", "Summarise": "สรุป", "A long text.": "ข้อความยาว", "Short.": "สั้น"}


def test_each_field_is_a_text_of_its_own() -> None:
    assert rows.texts(ASKED, rows.FIELDS) == ["Be brief.", "Summarise", "A long text.", "Short."]
    assert rows.texts(ASKED, ["assistant"]) == ["Short."]
    assert rows.texts(ASKED, ["context", "system"]) == ["Be brief.", "A long text."]


def test_translations_go_back_to_their_fields_and_nothing_else_changes() -> None:
    thai = rows.translated(ASKED, THAI, rows.FIELDS, "th")
    assert [(m.role, m.content, m.context, m.trained) for m in thai.messages] == [
        ("system", "ตอบสั้น ๆ", "", None),
        ("user", "สรุป", "ข้อความยาว", None),
        ("assistant", "สั้น", "", True),
        ("user", " ", "", None),
    ]
    assert (thai.record_id, thai.source, thai.language, thai.licence) == ("alpaca:7:th", "alpaca", "th", "MIT")
    assert rows.translated(ASKED, THAI, ["user"], "th").language == "en"  # the answers are English still


def test_a_joined_row_names_its_direction() -> None:
    row = rows.joined_row(ASKED, rows.translated(ASKED, THAI, rows.FIELDS, "th"), "en", "th")
    assert (row["record_id"], row["direction"], row["source_language"], row["target_language"]) == ("alpaca:7", "en->th", "en", "th")
    assert row["messages"][1] == {"role": "user", "content": "Summarise", "context": "A long text."}
    assert row["messages_translated"][1] == {"role": "user", "content": "สรุป", "context": "ข้อความยาว"}


@pytest.mark.parametrize(
    ("source", "target", "text", "translation", "requests"),
    [
        ("en", "ko", "Hello", "안녕", ("다음을 한국어로 번역해.", "Translate the following into English.")),
        ("ko", "en", "안녕", "Hello", ("Translate the following into English.", "다음을 한국어로 번역해.")),
        ("zh", "th", "你好", "สวัสดี", ("แปลข้อความต่อไปนี้เป็นภาษาไทย", "请把下面的内容翻译成中文。")),
        ("de", "en", "Hallo", "Hello", ("Translate the following into English.", "Translate the following into German.")),
    ],
)
def test_the_request_names_the_language_of_the_answer_in_both_directions(
    source: str, target: str, text: str, translation: str, requests: tuple[str, str]
) -> None:
    original = Conversation(messages=(Message("assistant", text),), record_id="r", source="s", language=source, licence="MIT")
    pairs = list(rows.translation_pairs(original, {text: translation}, rows.FIELDS, source, target))
    assert [direction for direction, _ in pairs] == [f"{source}->{target}", f"{target}->{source}"]
    (_, forward), (_, backward) = pairs
    assert forward.messages == (Message("user", requests[0], context=text), Message("assistant", translation))
    assert backward.messages == (Message("user", requests[1], context=translation), Message("assistant", text))
    assert (forward.language, backward.language) == (target, source)
    assert (forward.record_id, backward.record_id) == (f"r:0:{source}-{target}", f"r:0:{target}-{source}")


def test_one_direction_alone_and_equal_texts_none() -> None:
    original = Conversation(messages=(Message("user", "cat"), Message("assistant", "GPT")), record_id="r", source="s", language="en",
                            licence="MIT")  # fmt: skip
    pairs = rows.translation_pairs(original, {"cat": "แมว", "GPT": "GPT"}, rows.FIELDS, "en", "th", ["backward"])
    assert [direction for direction, _ in pairs] == ["th->en"]


def test_fields_that_no_message_has_are_refused() -> None:
    for fields in (["answer"], []):
        with pytest.raises(ConfigError, match=r"task\.fields"):
            rows.check_fields(fields)


def test_a_digest_is_of_what_is_said() -> None:
    other = Conversation(messages=ASKED.messages, record_id="other", source="x", language="", licence="y")
    assert rows.digest(other) == rows.digest(ASKED)
    moved = Conversation(messages=(Message("user", "a", context="b"),), record_id="", source="", language="", licence="")
    assert rows.digest(moved) != rows.digest(Conversation(messages=(Message("user", "b", context="a"),), record_id="", source="",
                                                          language="", licence=""))  # fmt: skip
