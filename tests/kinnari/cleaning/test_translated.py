from __future__ import annotations

import pytest

from kinnari.cleaning import FirstWord, Replace, RestoreCode, StrayPrefix, StripLeading
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation
from tests.kinnari.cleaning.chats import answer_of, chat


def translation(original: str, translated: str, instruction: str = "다음을 한국어로 번역해.") -> Conversation:
    return chat(instruction, translated, context=original)


SURE = Replace(patterns={r"^물론,(?!\S)": "물론이죠.", r"^예,(?!\S)": "네."})


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("물론, 알려드릴게요.", "물론이죠. 알려드릴게요."),
        ("첫 줄\n예, 맞습니다.", "첫 줄\n네. 맞습니다."),
        ("그는 물론, 그녀도 왔다.", "그는 물론, 그녀도 왔다."),  # "not only he"
        ("과일(예, 사과)", "과일(예, 사과)"),  # "for example"
        ("물론,그래요", "물론,그래요"),
        ("물론,", "물론이죠."),
    ],
)
def test_replacements_reach_what_they_are_meant_for(text, mended):
    assert answer_of(SURE(chat("Q", text))) == mended


def test_replacements_know_groups_and_stop_where_there_is_no_end():
    assert answer_of(Replace(patterns={r"(\d+)년": r"\1 ปี"})(chat("Q", "3년"))) == "3 ปี"
    assert Replace(patterns={"a": "aa"})(chat("Q", "a")) == "the assistant turn cannot be cleaned in 8 passes"
    assert Replace(patterns={".*": ""})(chat("Q", "a")) == "nothing is left of the assistant turn"


@pytest.mark.parametrize("patterns", [{"(": ""}, {"a": r"\1"}, {"(a)": r"\2"}])
def test_expressions_that_are_none_are_refused(patterns):
    with pytest.raises(ConfigError, match="no regular expression"):
        Replace(patterns=patterns)


def test_leading_particles_come_off_however_many():
    step = StripLeading(prefixes=["은 ", "는 "])
    assert answer_of(step(chat("Q", "은 서울입니다."))) == "서울입니다."
    assert answer_of(step(chat("Q", "은 는 은 서울"))) == "서울"
    assert answer_of(step(chat("Q", "은행은 저기입니다."))) == "은행은 저기입니다."
    assert step(chat("Q", "은 " * 300_000)) == "nothing is left of the assistant turn"


def test_code_is_restored_block_by_block():
    original = "Add ```x = 1``` and ```print(x)``` please"
    result = RestoreCode()(translation(original, "```엑스 = 1``` 그리고 ```인쇄(엑스)``` 추가"))
    assert answer_of(result) == "```x = 1``` 그리고 ```print(x)``` 추가"


def test_code_holding_group_references_is_put_back_as_it_is():
    assert answer_of(RestoreCode()(translation(r"```s/\1/\g<0>/```", "```에스```"))) == r"```s/\1/\g<0>/```"


def test_a_translation_with_another_number_of_blocks_goes():
    result = RestoreCode()(translation("```a``` ```b```", "```가```"))
    assert result == "the original has 2 code blocks, its translation 1"


def test_text_without_code_on_one_side_is_left_alone():
    for pair in [("```a```", "코드 없음"), ("no code", "```가```"), ("```open", "```열림"), ("```a```", "```a```")]:
        conversation = translation(*pair)
        assert RestoreCode()(conversation) is conversation


def test_only_rows_that_ask_for_a_translation_are_touched_if_one_says_so():
    step = RestoreCode(instructions=["번역", "translate"])
    assert answer_of(step(translation("```x=1```", "```엑스```"))) == "```x=1```"
    fixed = translation("```x=1```", "```x = 1  # fixed```", instruction="Fix the code")
    assert step(fixed) is fixed


@pytest.mark.parametrize(("answer", "kept"), [("을 사용하세요.", False), ("을", False), (". 그리고", False), ("을지로에 있습니다.", True)])
def test_a_stray_prefix_is_a_whole_word(answer, kept):
    result = StrayPrefix(prefixes=["을", "."])(chat("Q", answer))
    assert isinstance(result, Conversation) == kept
    assert kept or result.startswith("begins with a stray")


@pytest.mark.parametrize(
    "answer", ["이것은 책입니다.", "가장 큰 도시", "의사입니다.", "에너지", ".NET은 플랫폼입니다.", "hello", "", "...", "的确"]
)
def test_words_that_begin_like_a_particle_stay(answer):
    # The original tested the first letters alone, and removed all of these but the last four.
    step = StrayPrefix(prefixes=["을", "를", "이", "가", "은", "는", "에", "으", "의", "h", ".", ","])
    assert isinstance(step(chat("Q", answer)), Conversation)


FIRST = FirstWord(restored={"론이죠": "물론이죠"}, removed=["h", "n"])


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("론이죠. 알려드릴게요.", "물론이죠. 알려드릴게요."),
        ("h  서울입니다", "서울입니다"),
        ("h n h 론이죠! 서울", "물론이죠! 서울"),
        ("A 회사는", "A 회사는"),
        ("hello", "hello"),
        ("", ""),
        (" \n", " \n"),
        ("물론이죠. 론이죠", "물론이죠. 론이죠"),
    ],
)
def test_first_words_are_restored_or_taken_off(text, mended):
    conversation = chat("Q", text)
    assert answer_of(FIRST(conversation)) == mended


def test_an_answer_of_debris_goes_in_no_time():
    assert FIRST(chat("Q", "h " * 300_000)) == "nothing is left of the assistant turn"


@pytest.mark.parametrize("restored", [{"a": "a b"}, {"a": "b", "b": "c"}, {"a": "h x"}])
def test_words_that_would_be_mended_for_ever_are_refused(restored):
    with pytest.raises(ConfigError, match="mends again"):
        FirstWord(restored=restored, removed=["h"])


def test_empty_words_are_refused():
    for make in (lambda: StripLeading(prefixes=[""]), lambda: StrayPrefix(prefixes=[]), lambda: FirstWord(removed=[" "])):
        with pytest.raises(ConfigError, match="not empty"):
            make()
