"""Which held-out questions are asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from callbacks.answers import HeldOutQuestions, as_settings
from kinnari.generation.settings import GenerationSettings
from tests.callbacks.conftest import toy_data, toy_llama

SETTINGS = GenerationSettings(max_new_tokens=4)


def questions(count: int, seed: int = 1, positions: int = 256, **changes: Any) -> HeldOutQuestions:
    data = toy_data(**changes)
    data.setup()
    model = toy_llama()
    model.config.max_position_embeddings = positions
    return HeldOutQuestions(SimpleNamespace(datamodule=data), SimpleNamespace(model=model), count, seed, SETTINGS)


def names(asked: HeldOutQuestions) -> list[str]:
    return [c.record_id for c in asked.conversations]


def test_the_draw_depends_on_the_seed_alone() -> None:
    assert names(questions(3)) == names(questions(3))
    assert len({tuple(names(questions(3, seed))) for seed in range(6)}) > 1
    assert len(questions(100).prompts) == len(names(questions(100)))


def test_records_that_were_dropped_are_not_asked() -> None:
    assert set(names(questions(100, max_length=17))) < set(names(questions(100)))


def test_prompts_without_room_for_the_answer_are_passed_over() -> None:
    lengths = sorted(len(p) for p in questions(100).prompts)
    assert sorted(len(p) for p in questions(100, positions=lengths[0] + 4).prompts) == [n for n in lengths if n == lengths[0]]
    assert questions(100, positions=5).prompts == []


def test_settings_may_be_a_mapping() -> None:
    assert as_settings({"max_new_tokens": 4}) == as_settings(SETTINGS) == SETTINGS
