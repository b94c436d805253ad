from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.cleaning import Decontamination
from kinnari.cleaning.decontamination import _windows
from kinnari.cleaning.words import pieces
from kinnari.errors import ConfigError
from kinnari.text.conversation import Conversation
from tests.kinnari.cleaning.chats import chat, turns

TEXTS = {
    "en": "A farmer has seventeen sheep and all but nine of them run away one night; how many sheep are left in the field afterwards?",
    "th": "ชาวนามีแกะทั้งหมดสิบเจ็ดตัว คืนหนึ่งเกิดพายุ แกะหนีไปเหลือเพียงเก้าตัว ถามว่าเช้าวันต่อมาในทุ่งนามีแกะเหลืออยู่กี่ตัว",
    "zh": "一个农夫有十七只羊，暴风雨那天夜里除了九只以外全都跑掉了，请问第二天早上田野里还剩下多少只羊？",
    "ko": "어느 농부에게 양이 열일곱 마리 있었는데 밤에 아홉 마리만 빼고 모두 달아났다. 다음 날 들판에 남은 양은 모두 몇 마리인가?",
    "ja": "ある農夫が羊を十七匹飼っていたが、嵐の夜に九匹を除いてみんな逃げてしまった。翌朝、牧場に残っていた羊は全部で何匹か。",
}


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "puzzles.jsonl"
    rows = [{"question": "Is it?", "note": "unused"}, *({"question": text} for text in TEXTS.values())]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return [{"name": "puzzles", "path": str(path), "columns": ["question"]}]


@pytest.mark.parametrize(("number", "text"), enumerate(TEXTS.values(), start=2), ids=TEXTS)
def test_an_evaluation_row_is_found_wherever_it_stands(files, number, text):
    step = Decontamination(files=files)
    assert step(chat(text, "9")) == f"100% of row {number} of puzzles"
    for conversation in (
        chat(f"Think 仔细 first. {text.upper()} คิดก่อนตอบ", "9"),
        chat("Read this", "9", context=f"「{text}」"),
        turns("hello", "hi", f"And:\n{text}", "9"),
    ):
        assert step(conversation).endswith(f"of row {number} of puzzles")


@pytest.mark.parametrize("text", ["The farmer counts his sheep every evening.", "ชาวนาเลี้ยงแกะ", "农夫有羊", "농부와 양", "農夫と羊"])
def test_what_only_shares_a_subject_stays(files, text):
    conversation = chat(text, text)
    assert Decontamination(files=files)(conversation) is conversation


def test_a_changed_word_does_not_hide_a_row(files):
    # 24 words, the last changed: 23 lie in n-grams of 13 that both have.
    changed = TEXTS["en"].replace("afterwards", "then")
    assert Decontamination(files=files)(chat(changed, "9")) == "96% of row 2 of puzzles"


def test_the_share_decides(files):
    words = TEXTS["en"].split()  # 24
    half = " ".join(words[:13])
    assert isinstance(Decontamination(files=files, share=0.6)(chat(half, "x")), Conversation)
    assert Decontamination(files=files, share=0.5)(chat(half, "x")) == "54% of row 2 of puzzles"
    assert isinstance(Decontamination(files=files, share=0)(chat(" ".join(words[:12]), "x")), Conversation)
    assert isinstance(Decontamination(files=files, share=0, ngram=12)(chat(" ".join(words[:12]), "x")), str)


def test_a_row_shorter_than_an_ngram_counts_where_a_user_turn_is_the_same(files):
    step = Decontamination(files=files)
    assert step(chat("is it", "yes")) == "100% of row 1 of puzzles"
    assert isinstance(step(chat("Is it? Or not?", "yes")), Conversation)
    assert isinstance(step(chat("What did she ask?", "Is it?")), Conversation)


def test_the_fingerprint_follows_the_file_and_so_does_the_step(files, tmp_path):
    step = Decontamination(files=files)
    before = step.fingerprint
    assert before == Decontamination(files=files).fingerprint
    path = tmp_path / "puzzles.jsonl"
    assert isinstance(step(chat("A new row", "x")), Conversation)
    path.write_text('{"question": "A new row"}', encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert step.fingerprint != before
    assert isinstance(step(chat("A new row", "x")), str)


def test_it_can_be_sent_to_a_worker(files):
    step = Decontamination(files=files)
    assert pickle.loads(pickle.dumps(step))(chat(TEXTS["th"], "x")) == step(chat(TEXTS["th"], "x"))


def test_hashes_are_the_same_in_another_process():
    code = "from kinnari.cleaning.decontamination import _windows, pieces; print(_windows(pieces('a b c แมว'), 2)[0].tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(_windows(pieces("a b c แมว"), 2)[0].tolist())


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abก猫"), max_size=25), st.integers(1, 3))
def test_windows_are_equal_where_the_pieces_are(letters, ngram):
    text = " ".join(letters)
    weights = {"a": 4, "b": 4, "ก": 1, "猫": 2}
    hashes, begins, ends = _windows(pieces(text), ngram)
    seen = {}
    for value, begin, end in zip(hashes.tolist(), begins, ends, strict=True):
        window = tuple(letters[begin:end])
        assert sum(map(weights.__getitem__, window)) >= 4 * ngram > sum(map(weights.__getitem__, window[:-1]))
        assert seen.setdefault(value, window) == window
    assert len(set(seen.values())) == len(seen)


def test_settings_that_cannot_work_are_refused(files):
    for wrong in ({"ngram": 0}, {"share": 1.5}):
        with pytest.raises(ConfigError, match="Decontamination"):
            Decontamination(files=files, **wrong)
    for file in ({"path": "x"}, {"name": "x", "path": "nowhere.json"}, "x.json", {"name": "x", "path": "y", "column": "z"}):
        with pytest.raises(ConfigError, match=r"does not exist|must be"):
            Decontamination(files=[file])
