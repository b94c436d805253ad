"""OPELA."""

import pytest

from datamodules.sources import Opela
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def row(speaker, text, document="도넛_user0001_15_60", pause="0"):
    return {"doc_id": document, "sent_id": "1", "person_type": speaker, "turn_notation": "1", "is_pause": pause, "text": text}


GOOD = [row("user", "안녕", "b"), row("persona", "네", "b")]


def test_messages_that_one_person_sends_in_a_row_are_lines_of_one_turn(tmp_path):
    rows = row("user", "안녕하세요"), row("user", "반가워요"), row("persona", "저도요"), row("persona", "뭐 하세요?")
    (one,) = read(tmp_path, Opela, *rows, suffix=".csv")

    assert one.messages == talk("안녕하세요\n반가워요", "저도요\n뭐 하세요?")
    assert (one.record_id, one.language, one.licence) == ("opela:0:0", "ko", "unknown")


def test_every_document_is_a_dialogue_and_the_persona_may_begin(tmp_path):
    records = read(tmp_path, Opela, row("persona", "어서 오세요"), row("User", "안녕"), row("persona", "네"), *GOOD)

    assert [r.messages for r in records] == [talk("안녕", "네")] * 2


@pytest.mark.parametrize("pause", ["1", 1, "1.0", True])
def test_rows_that_only_let_time_pass_are_left_out(tmp_path, pause):
    (one,) = read(tmp_path, Opela, row("user", "안녕"), row("persona", "1시간 경과", pause=pause), row("persona", "네"))

    assert one.messages == talk("안녕", "네")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("bot", "안녕"), "person_type 'bot' is neither user nor persona"),
        (row("user", ""), "column 'text' is missing, empty or not text"),
        ({"person_type": "user", "text": "안녕"}, "column 'doc_id' is missing, empty or not text"),
        (["x"], "a row must be an object with the columns doc_id, person_type, text"),
        (row("user", "안녕"), "no question with an answer to it is in the dialogue"),
    ],
)
def test_odd_rows_spoil_their_document_and_the_rest_goes_on(tmp_path, bad, reason):
    records = read(tmp_path, Opela, bad, *GOOD)

    assert reason in reasons(records)[0] and [r.messages for r in kept(records)] == [talk("안녕", "네")]
