"""oasst1_selected.csv."""

from datamodules.sources import Oasst1Selected
from tests.datamodules.sources.read_source import kept, read, reasons, talk

HEADING = {"message_tree_id": "t", "message_id": "m", "parent_id": "m", "prompt_nb_net_plus": "2", "answer_nb_net_plus": "2"}


def row(lang, prompt, answer):
    return {"lang": lang, **HEADING, "prompt": prompt, "answer": answer}


def test_rows_are_questions_with_answers_in_the_language_they_name(tmp_path):
    records = read(tmp_path, Oasst1Selected, row("ja", "猫は\n好き?", "はい"), row("th", "แมวกินอะไร", "ปลา"), suffix=".csv")

    assert [r.messages for r in records] == [talk("猫は\n好き?", "はい"), talk("แมวกินอะไร", "ปลา")]
    assert [r.language for r in records] == ["ja", "th"] and records[0].licence == "Apache-2.0"


def test_languages_can_be_chosen(tmp_path):
    records = read(tmp_path, Oasst1Selected, row("ja", "a", "b"), row("th", "c", "d"), languages=["th"])

    assert [r.language for r in kept(records)] == ["th"] and reasons(records) == ["its language 'ja' is not among those asked for"]


def test_a_row_without_an_answer_is_rejected(tmp_path):
    assert "'answer' is missing, empty or not text" in reasons(read(tmp_path, Oasst1Selected, row("th", "a", "")))[0]
