"""Korean Wizard of Wikipedia."""

import pytest

from datamodules.sources import KoWoW
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def wizard(text, **chosen):
    return {"speaker": "1_Wizard", "text": text, "checked_sentence": chosen, "retrieved_passages": [{"커피": ["..."]}]}


def apprentice(text):
    return {"speaker": "0_Apprentice", "text": text, "retrieved_passages": []}


def dialogue(*turns, **more):
    return {"chosen_topic": "커피", "wizard_eval": 5, "chosen_topic_passage": ["커피는 음료이다."], "dialog": list(turns), **more}


def test_the_wizard_answers_and_the_chosen_sentence_is_the_context_of_the_question(tmp_path):
    row = dialogue(
        apprentice("커피가 뭐예요?"), wizard("음료예요.", self_커피_0="커피는 음료이다."), apprentice("맛있나요?"), wizard("네!")
    )
    (one,) = read(tmp_path, KoWoW, row, suffix=".json")

    assert one.messages == (
        Message("user", "커피가 뭐예요?", context="커피는 음료이다."),
        *talk("커피가 뭐예요?", "음료예요.", "맛있나요?", "네!")[1:],
    )
    assert (one.language, one.licence) == ("ko", "unknown")


def test_the_sentence_can_be_left_out_and_no_sentence_is_none(tmp_path):
    row = dialogue(apprentice("커피?"), wizard("네.", self_커피_0="커피는 음료이다."))

    assert kept(read(tmp_path, KoWoW, row, knowledge=False))[0].messages == talk("커피?", "네.")
    row = dialogue(apprentice("커피?"), wizard("네.", no_passages_used="no_passages_used"))
    assert kept(read(tmp_path, KoWoW, row))[0].messages == talk("커피?", "네.")


def test_where_the_wizard_begins_the_topic_stands_for_the_question(tmp_path):
    (one,) = read(tmp_path, KoWoW, dialogue(wizard("커피 좋아하세요?"), apprentice("네"), wizard("저도요."), apprentice("오")))

    assert one.messages == talk("커피", "커피 좋아하세요?", "네", "저도요.")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([], "'dialog' is missing, empty or not a list"),
        ({"chosen_topic": "x"}, "'dialog' is missing, empty or not a list"),
        (dialogue("안녕"), "turn 1 has no speaker or no text"),
        (dialogue(apprentice(" "), wizard("네")), "turn 1 has no speaker or no text"),
        (
            dialogue(apprentice("안녕"), {"speaker": "2_Moderator", "text": "그만"}),
            "turn 2 has the speaker '2_Moderator', neither Wizard nor Apprentice",
        ),
        (dialogue(apprentice("안녕")), "no question with an answer to it is in the dialogue"),
    ],
)
def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path, bad, reason):
    records = read(tmp_path, KoWoW, bad, dialogue(apprentice("안녕"), wizard("네")), suffix=".json")

    assert reasons(records) == [reason] and len(kept(records)) == 1
