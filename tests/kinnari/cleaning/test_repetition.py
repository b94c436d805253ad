from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.cleaning import Repetition
from kinnari.cleaning.repetition import duplicate_characters, top_share
from kinnari.cleaning.words import pieces
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation
from tests.kinnari.cleaning.chats import chat

PROSE = {
    "en": "The old harbour lies quiet at dawn. Fishermen mend their nets, gulls circle above the pier, and one by one the boats leave for "
    "deeper water. By noon the market is loud; by evening only cats and lanterns keep watch over wet stones and empty crates.",
    "th": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย ตั้งอยู่บนฝั่งแม่น้ำเจ้าพระยา มีวัดวาอารามสวยงามมากมาย อาหารริมทางอร่อยและราคาถูก "
    "นักท่องเที่ยวจากทั่วโลกเดินทางมาเยี่ยมชมทุกปี ฤดูฝนเริ่มราวเดือนพฤษภาคม ส่วนฤดูหนาวอากาศเย็นสบายกว่าช่วงอื่น",
    "zh": "清晨的港口十分安静，渔夫们修补着渔网，海鸥在码头上空盘旋。太阳升起以后，小船陆续出海，市场渐渐热闹起来。"
    "到了傍晚，只剩下几只猫和昏黄的灯笼，守着潮湿的石板路与空木箱，远处传来教堂悠长的钟声。",
    "ko": "이른 아침 항구는 매우 조용하다. 어부들은 그물을 손질하고 갈매기는 부두 위를 맴돈다. 해가 뜨면 작은 배들이 하나둘 나간다. "
    "시장은 점점 활기를 띤다. 저녁이 되면 고양이 몇 마리와 희미한 등불만 남아 젖은 돌길을 지킨다.",
    "ja": "早朝の港はとても静かで、漁師たちは網を繕い、かもめが桟橋の上を旋回している。日が昇ると小舟が沖へ向かい、市場は賑わい始める。"
    "夕方には数匹の猫と薄暗い灯籠だけが残り、濡れた石畳を見守っている。",
}


@pytest.mark.parametrize("text", PROSE.values(), ids=PROSE)
def test_prose_stays_in_every_language(text):
    conversation = chat("Q", text)
    assert Repetition()(conversation) is conversation


@pytest.mark.parametrize("unit", ["yes it is ", "ครับผมไม่รู้ ", "我不知道。", "모르겠습니다 정말 ", "わかりません。", "ha", "ก", "好"])
def test_a_phrase_said_over_and_over_goes_in_every_language(unit):
    assert isinstance(Repetition()(chat("Q", unit * 500)), str)


def test_short_texts_are_not_judged():
    assert isinstance(Repetition(least_words=30)(chat("Q", "no " * 29)), Conversation)
    assert isinstance(Repetition(least_words=30)(chat("Q", "no " * 30)), str)


def test_repeated_lines_are_counted_from_the_second_on():
    lines = [f"line {word} of a list" for word in ("one", "two", "three", "four", "five", "six")]
    step = Repetition(least_words=1, lines=0.3, line_characters=1, top_ngram={}, duplicate_ngram={})
    assert isinstance(step(chat("Q", "\n".join([*lines, lines[0], lines[0]]))), Conversation)  # 2 of 8
    assert step(chat("Q", "\n".join([*lines, *lines[:3]]))).startswith("33% of the lines are repeats")


def test_the_share_of_the_commonest_ngram_by_hand():
    # a b a b c: "a b" twice, 4 of 5 characters; overlapping "a a a" covers three characters, not four.
    assert top_share(pieces("a b a b c"), 2) == 4
    assert top_share(pieces("a a a"), 2) == 3
    assert top_share(pieces("a b c d"), 2) == 0
    assert duplicate_characters(pieces("a b x a b c y b c"), 2) == 7  # all but x and y


def test_an_ngram_is_of_words_also_where_a_word_has_several_characters():
    # 我不 is one word; as 2-gram counts 我不知道, twice: 8 of 9 characters.
    assert top_share(pieces("我不知道了我不知道"), 2) == 8
    # Four characters of Thai are a word: the 1-gram กขคง twice, 8 of 9 characters.
    assert top_share(pieces("กขคงจกขคง"), 1) == 8


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=40), st.integers(1, 4))
def test_shares_agree_with_a_slow_count(words, n):
    cut = pieces(" ".join(words))
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(grams)
    inside = {j for i, gram in enumerate(grams) if counts[gram] > 1 for j in range(i, i + n)}
    assert duplicate_characters(cut, n) == sum(len(words[j]) for j in inside)
    most = max(counts.values(), default=0)
    covered = []
    for gram in [g for g, c in counts.items() if c == most and most > 1]:
        covered.append(sum(len(words[j]) for j in {j for i, g in enumerate(grams) if g == gram for j in range(i, i + n)}))
    assert top_share(cut, n) in (covered or [0])


def test_limits_that_are_no_shares_are_refused():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Repetition(top_ngram={2: 20})
    with pytest.raises(ConfigError, match="whole numbers from 1"):
        Repetition(duplicate_ngram={0: 0.2})


def test_a_huge_text_is_judged():
    assert isinstance(Repetition()(chat("Q", " ".join(map(str, np.arange(100_000))))), Conversation)
