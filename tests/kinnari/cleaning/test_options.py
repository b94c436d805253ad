"""The shipped options of `cleaning`: they build, in order, and do what their comments say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from kinnari.cleaning import RowStep, Step
from kinnari.text.conversation import Conversation, Message
from tests.kinnari.cleaning.chats import chat, turns

CONF = Path(__file__).resolve().parents[3] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "cleaning").glob("*.yaml"))


def steps_of(option: str, *overrides: str) -> dict[str, Step]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return instantiate(compose(f"cleaning/{option}", [*overrides]).cleaning.steps, _convert_="all")


def run(steps: dict[str, Step], conversations: list[Conversation]) -> tuple[list[Conversation], dict[str, str]]:
    """What is left, and record id -> the step that removed it; in one process and without any of the pipeline."""
    removed: dict[str, str] = {}
    for name, step in steps.items():
        if isinstance(step, RowStep):
            results = [step(c) for c in conversations]
            removed |= {c.record_id: name for c, r in zip(conversations, results, strict=True) if isinstance(r, str)}
            conversations = [r for r in results if isinstance(r, Conversation)]
        elif conversations:
            duplicate = step.duplicate_of(np.stack([step.signature(c) for c in conversations]))
            removed |= {c.record_id: name for c, d in zip(conversations, duplicate, strict=True) if d >= 0}
            conversations = [c for c, d in zip(conversations, duplicate, strict=True) if d < 0]
    return conversations, removed


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_builds_steps_of_plain_values(option):
    for step in steps_of(option).values():
        assert isinstance(step, Step)
        assert "Config" not in step.fingerprint


def test_the_options_are_these():
    assert OPTIONS == ["default", "korean", "none", "strict", "wangchan"]
    assert steps_of("none") == {}
    assert list(steps_of("default")) == ["characters", "missing_answer", "damaged", "exact_duplicates"]


def test_steps_are_overridden_removed_and_added_by_name():
    assert steps_of("strict", "cleaning.steps.near_duplicates.threshold=0.9")["near_duplicates"].threshold == 0.9
    assert "near_duplicates" not in steps_of("strict", "~cleaning.steps.near_duplicates")
    added = steps_of("default", "+cleaning.steps.length={_target_: kinnari.cleaning.Length, least: 5}")
    assert list(added)[-1] == "length" and added["length"].least == 5


GOOD = [
    chat("คุณชื่ออะไร", "ผมชื่อสมชาย", number=1),
    chat("이름이 뭐예요?", "네", number=2),
    chat("你叫什么？", "我叫小明", number=3),
    chat("お名前は?", "太郎です", number=4),
    chat("Spell it", "Ã©", number=5),
    chat("Hello", "Hello", number=6),
    chat("Write HTML", "<b>hi</b> &amp; bye", number=7),
    chat("def f(): pass", "```python\ndef f(): pass\n```", number=8),
    chat("😀", "👨‍👩‍👧", number=9),
]


def test_default_leaves_healthy_rows_of_every_language_exactly_as_they_are():
    kept, removed = run(steps_of("default"), GOOD)
    assert kept == GOOD and removed == {}


def test_default_removes_empty_damaged_and_repeated_rows():
    bad = [
        chat("a", "", number=11),
        chat("ทำไม", "à¸ªà¸§à¸±à¸ª", number=12),
        chat("คุณชื่ออะไร", "ผมชื่อ\u200bสมชาย\x00", number=13),
        chat("b", "\ufffd\ufffd", number=14),
    ]
    kept, removed = run(steps_of("default"), [*GOOD, *bad])
    assert kept == GOOD
    assert removed == {"s:11": "missing_answer", "s:12": "damaged", "s:13": "exact_duplicates", "s:14": "damaged"}


@pytest.mark.parametrize("phrase", steps_of("strict")["refusals"].phrases)
def test_strict_removes_every_refusal_it_lists(phrase):
    _, removed = run(steps_of("strict"), [chat("Tell me", f"… {phrase}, …")])
    assert removed == {"s:0": "refusals"}


def to_korean(original: str, translated: str, number: int) -> Conversation:
    return chat("translate the following into English", translated, context=original, number=number)


# (English, Korean) as the translated ShareGPT rows have them, and what becomes of them: a step's name, or the answer.
KOREAN = [
    ("Sure! Here is a list of fruits.", "물론이죠! 과일 목록입니다.", "openers"),
    ("Are you Sure! that it is right?", "정말 맞는지 확실한가요?", "정말 맞는지 확실한가요?"),
    ("Hi", "안녕하세요", "length"),
    ("Hello there", "안녕", "length"),
    ("Can you help me?", "물론, 도와드릴 수 있습니다.", "물론이죠. 도와드릴 수 있습니다."),
    ("Is it right?", "예, 맞습니다 그대로예요.", "네. 맞습니다 그대로예요."),
    ("It is certain", "확실히, 그것은 사실입니다.", "그것은 사실입니다."),
    ("The capital?", "은 서울입니다 그렇죠.", "서울입니다 그렇죠."),
    ("Run ```a = 1``` then ```b = 2``` now", "먼저 ```가 = 1``` 다음 ```나 = 2``` 실행", "먼저 ```a = 1``` 다음 ```b = 2``` 실행"),
    ("Run ```a``` then ```b``` now", "먼저 ```가``` 실행합니다", "code_blocks"),
    ("The capital?", "는 서울입니다 그렇죠.", "duplicates"),
    ("Untranslated text", "Untranslated text", "untranslated"),
    ("Use the tool.", "을 사용하면 됩니다.", "stray_prefixes"),
    ("This is a book.", "이것은 책입니다 정말로.", "이것은 책입니다 정말로."),
    ("Of course I will", "론이죠. 그렇게 하겠습니다.", "물론이죠. 그렇게 하겠습니다."),
    ("What is it?", "h 그것은 책입니다.", "그것은 책입니다."),
    ("Which company?", "A 회사가 만들었습니다.", "A 회사가 만들었습니다."),
]


def test_the_eight_korean_steps_do_to_each_row_what_was_meant():
    rows = [to_korean(original, translated, i) for i, (original, translated, _) in enumerate(KOREAN)]
    kept, removed = run(steps_of("korean"), rows)
    fate = {c.record_id: c.reference() for c in kept} | removed
    assert [fate[row.record_id] for row in rows] == [expected for _, _, expected in KOREAN]


def test_korean_steps_leave_an_answer_that_repairs_code_alone():
    fixed = chat("이 코드를 고쳐줘", "```x = 1```로 고쳤습니다.", context="```x == 1```")
    assert run(steps_of("korean"), [fixed]) == ([fixed], {})


def test_wangchan_removes_code_of_one_source_and_repeated_rows():
    rows = [
        chat("a", "ต่อไปนี้เป็นโค้ด", source="oig_chip2", language="th", number=0),
        chat("b", "Python", source="oig_chip2", language="th", number=1),
        chat("b", "Python", source="dolly", language="th", number=2),
        chat("b", "Python", source="dolly", language="th", number=3),
    ]
    kept, removed = run(steps_of("wangchan"), rows)
    assert kept == [rows[2]]
    assert removed == {"oig_chip2:0": "code_rows", "oig_chip2:1": "code_rows", "dolly:3": "exact_duplicates"}


def test_what_is_kept_does_not_depend_on_the_order_of_other_rows():
    rows = [turns("q", "a"), *GOOD]
    kept, _ = run(steps_of("strict"), rows)
    shuffled, _ = run(steps_of("strict"), rows[::-1])
    assert {json.dumps([(m.role, m.content) for m in c.messages]) for c in kept} == {
        json.dumps([(m.role, m.content) for m in c.messages]) for c in shuffled
    }
    assert all(isinstance(m, Message) for c in kept for m in c.messages)
