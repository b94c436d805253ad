"""What holds for every step and any text."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kinnari.cleaning
from kinnari.cleaning import RowStep, SetStep
from kinnari.text.conversation import Conversation, Message

EVALUATION = Path(__file__).with_name("evaluation.txt")
STEPS = [
    kinnari.cleaning.BrokenText(),
    kinnari.cleaning.Characters(),
    kinnari.cleaning.CodeRows(keywords=["def", "ฟังก์ชัน"]),
    kinnari.cleaning.Decontamination(files=[{"name": "e", "path": str(EVALUATION)}], ngram=3),
    kinnari.cleaning.EndsWith(endings=["?", "？"]),
    kinnari.cleaning.ExactDuplicates(normalised=True),
    kinnari.cleaning.FirstWord(restored={"론이죠": "물론이죠", "a": "b"}, removed=["h", "는"]),
    kinnari.cleaning.Languages(languages=["th", "en"]),
    kinnari.cleaning.Length(least=2, most=50, unit="words", where=["questions", "answers"]),
    kinnari.cleaning.Markup(),
    kinnari.cleaning.MissingAnswer(),
    kinnari.cleaning.NearDuplicates(num_perm=32),
    kinnari.cleaning.PersonalData(),
    kinnari.cleaning.Phrases(phrases=["sure!", "作为"], at="start"),
    kinnari.cleaning.QuestionIsAnswer(),
    kinnari.cleaning.Repetition(least_words=1),
    kinnari.cleaning.Replace(patterns={"^물론,": "물론이죠.", r"(\d)(\d)": r"\2", "ab": ""}),
    kinnari.cleaning.RestoreCode(),
    kinnari.cleaning.StrayPrefix(prefixes=["을", "."]),
    kinnari.cleaning.StripLeading(prefixes=["은 ", "는 ", "h"]),
    kinnari.cleaning.TurnCount(least=1, most=2),
    kinnari.cleaning.Urls(replacement=""),
]
ODD = """http:// www. https://a.b/c <b> </b> <script> </script> <!-- --> &amp; &lt; &gt; lt; &#0; amp; ``` ` < > @ a@b.co +66 081-234-5678
สวัสดี น้ำ 안녕 은 는 을 물론, 론이죠 你好 作为 こんにちは が ab a b h 1 2 ? . Ã© [spoil] [/spoil] İ ß ﷺ"""
SNIPPETS = st.sampled_from([*ODD.split(), "\ufffd", "\u200b", "\x00", "\ud800", "\ufeff", " ", "\n"])
TEXTS = st.lists(SNIPPETS | st.text(st.characters(exclude_categories=()), max_size=4), max_size=12).map("".join)
MESSAGES = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXTS, TEXTS), max_size=4).map(tuple)
CONVERSATIONS = st.builds(
    Conversation, messages=MESSAGES, record_id=st.just("x:0"), source=st.just("x"), language=st.just(""), licence=st.just("")
)
NAMES = [type(step).__name__ for step in STEPS]


def test_every_step_there_is_stands_in_the_list():
    assert sorted(NAMES) == sorted(set(kinnari.cleaning.__all__) - {"RowStep", "SetStep", "Step"})


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_a_step_says_what_it_does_and_can_be_sent_to_a_worker(step):
    assert len(type(step).__doc__) > 60
    copy = pickle.loads(pickle.dumps(step))
    assert copy == step and copy.fingerprint == step.fingerprint


@pytest.mark.parametrize("step", [s for s in STEPS if isinstance(s, RowStep)], ids=lambda s: type(s).__name__)
def test_a_row_step_keeps_or_gives_a_reason_and_done_twice_is_done_once(step):
    @settings(max_examples=150, deadline=None)
    @given(CONVERSATIONS)
    def check(conversation):
        result = step(conversation)
        assert result == step(conversation)
        if isinstance(result, str):
            assert result and "\n" not in result
            result.encode()
        else:
            again = step(result)
            assert again == result, "an edit that is done twice is the edit that is done once"
            assert [m.role for m in result.messages] == [m.role for m in conversation.messages]

    check()


@pytest.mark.parametrize("step", [s for s in STEPS if isinstance(s, SetStep)], ids=lambda s: type(s).__name__)
def test_a_set_step_compares_any_conversations_and_keeps_the_first(step):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(CONVERSATIONS, min_size=1, max_size=8))
    def check(conversations):
        signatures = np.stack([step.signature(c) for c in [*conversations, conversations[0]]])
        assert signatures.dtype == np.uint64
        result = step.duplicate_of(signatures)
        assert result[0] == -1 and result[-1] == 0
        for i, earlier in enumerate(result):
            assert earlier == -1 or (0 <= earlier < i and result[earlier] == -1)

    check()
