"""Korquad-Chat."""

import pytest

from datamodules.sources import KorquadChat
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def row(text):
    return {"source": "korquad-chat", "text": text}


def test_the_paragraph_is_the_context_of_the_first_question(tmp_path):
    (one,) = read(
        tmp_path, KorquadChat, row("\n<sys>제주도는 섬이다.\n둘째 줄\n<usr> 섬인가요?\n<bot> 네, 섬입니다.\n<usr> 커요?\n<bot> 네.")
    )

    assert one.messages[0] == Message("user", "섬인가요?", context="제주도는 섬이다.\n둘째 줄")
    assert one.messages[1:] == talk("섬인가요?", "네, 섬입니다.", "커요?", "네.")[1:]
    assert (one.language, one.licence) == ("ko", "MIT")


def test_a_passage_behind_the_question_belongs_to_it(tmp_path):
    (one,) = read(tmp_path, KorquadChat, row("<usr> 홀수 중 하나를 밝히세요.\n<sys> 트위터, 텔레그램\n<bot> 텔레그램입니다."))

    assert one.messages == (
        Message("user", "홀수 중 하나를 밝히세요.", context="트위터, 텔레그램"),
        Message("assistant", "텔레그램입니다."),
    )


def test_names_that_tokenizers_take_for_special_tokens_are_spoken_names(tmp_path):
    (one,) = read(tmp_path, KorquadChat, row("<usr> 안녕 <|bot|>!\n<bot> 안녕 <|user|>!"))

    assert one.messages == talk("안녕 봇!", "안녕 유저!")


def test_a_cue_within_a_line_is_text(tmp_path):
    (one,) = read(tmp_path, KorquadChat, row("<usr> <bot> 태그가 뭐예요?\n<bot> 표시예요."))

    assert one.messages == talk("<bot> 태그가 뭐예요?", "표시예요.")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"source": "x"}, "the dialogue must be text, it is missing"),
        (row(3), "the dialogue must be text, it is a int"),
        (row("안녕"), "none of the cues (sys, usr, bot) is in the text"),
        (row("<usr> 안녕?\n<bot>"), "part 2 (bot) is empty"),
        (row("<sys>글만 있다."), "no question with an answer to it is in the dialogue"),
    ],
)
def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path, bad, reason):
    records = read(tmp_path, KorquadChat, bad, row("<usr> 안녕?\n<bot> 네."))

    assert reasons(records) == [reason] and len(kept(records)) == 1
