"""iapp-wiki-qa-dataset."""

from datamodules.sources import ThaiWikiQA
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons

ROW = {"question_id": "a_0", "question": "เกิดวันที่เท่าไร", "context": "เกิด 3 ธันวาคม พ.ศ. 2533"}
EXPECTED = (Message("user", ROW["question"], context=ROW["context"]), Message("assistant", "3 ธันวาคม"))


def test_the_passage_is_the_context_of_the_question(tmp_path):
    (one,) = read(tmp_path, ThaiWikiQA, ROW | {"answer": "3 ธันวาคม"})

    assert one.messages == EXPECTED and (one.language, one.licence) == ("th", "MIT")


def test_the_first_of_several_answers_is_taken(tmp_path):
    (one,) = read(tmp_path, ThaiWikiQA, ROW | {"answers": {"text": ["3 ธันวาคม", "3 ธันวาคม พ.ศ. 2533"], "answer_start": [5, 5]}})

    assert one.messages == EXPECTED


def test_a_row_without_an_answer_is_rejected(tmp_path):
    records = read(tmp_path, ThaiWikiQA, ROW, ROW | {"answers": {"text": []}}, ROW | {"answer": "3 ธันวาคม"})

    assert ["'answer' is missing" in reason for reason in reasons(records)] == [True, True] and len(kept(records)) == 1
