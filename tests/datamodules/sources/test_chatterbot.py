"""The ChatterBot corpus."""

import pytest

from datamodules.sources import ChatterBot
from datamodules.sources.chatterbot import alternate, dialogues
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation, Message


def corpus(**changes):
    return ChatterBot(**({"languages": ["english"], "subjects": None, "licence": "BSD-3-Clause", "limit": None, "weight": 1.0} | changes))


def test_english_has_thousands_of_dialogues_that_begin_with_a_question_and_end_with_an_answer():
    records = [r for r in corpus().read() if isinstance(r, Conversation)]

    assert len(records) == 2025  # chatterbot-corpus 1.3.3
    assert all(r.messages[0].role == "user" and r.messages[-1].role == "assistant" for r in records)
    assert len({r.record_id for r in records}) == len(records)


@pytest.mark.parametrize(("language", "code"), [("korean", "ko"), ("chinese", "zh"), ("japanese", "ja"), ("thai", "th")])
def test_languages_are_told_by_their_codes(language, code):
    records = [r for r in corpus(languages=[language]).read() if isinstance(r, Conversation)]

    assert records and {r.language for r in records} == {code}


def test_subjects_select_files():
    records = list(corpus(subjects=["coding", "tech_support"]).read())

    assert {r.record_id.split(":")[1] for r in records if isinstance(r, Conversation)} == {"english/coding", "english/tech_support"}


def test_an_unknown_language_or_subject_lists_what_there_is():
    with pytest.raises(ConfigError, match=r"\['klingon'\] not in the corpus; it has: .*korean"):
        corpus(languages=["klingon"]).files()
    with pytest.raises(ConfigError, match=r"\['chess'\] not in the corpus; it has: ai, .*trivia"):
        corpus(subjects=["chess"]).files()


def test_words_that_yaml_takes_for_values_stay_text(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("categories:\n- x\nconversations:\n- - Is it true?\n  - No\n- - In which year?\n  - 1984\n")

    assert list(dialogues(file)) == [(4, ["Is it true?", "No"]), (6, ["In which year?", "1984"])]


def test_a_last_question_without_answer_is_left_off():
    assert alternate(["A?", "a", "B?"]) == (Message("user", "A?"), Message("assistant", "a"))
    assert alternate(["A?"]) is None
    assert alternate(["A?", ""]) is None
    assert alternate(None) is None
