"""From the fields of the page to a request, and languages by what a browser asks for."""

from __future__ import annotations

import dataclasses
import string

import pytest

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.page_settings import Chosen, given
from kinnari.serving.page_texts import TEXTS, preferred_language

BASE = GenerationSettings(no_repeat_ngram_size=2, min_new_tokens=20, max_new_tokens=64)
CHOSEN = Chosen("", 2.0, "", 0.7, 0.9, 40.0, 1.1, 128.0, "5", "END\n\n###")


def test_every_field_is_part_of_the_request():
    request = CHOSEN.request(BASE, (), "hello")
    assert request.settings == GenerationSettings(
        do_sample=True, temperature=0.7, top_p=0.9, top_k=40, repetition_penalty=1.1, max_new_tokens=128, no_repeat_ngram_size=2,
        min_new_tokens=20,
    )  # fmt: skip
    assert (request.seed, request.stop) == (5, ("END", "###"))
    kept = given("one", request, "yes")
    assert kept.settings["top_k"] == 40 and kept.settings["seed"] == 5 and kept.settings["stop"] == ["END", "###"]


def test_temperature_nought_is_greedy_and_needs_no_other_field_changed():
    settings = dataclasses.replace(CHOSEN, temperature=0, max_new_tokens=8, start_script="ko").request(BASE, (), "hello").settings
    assert (settings.do_sample, settings.temperature, settings.top_p, settings.top_k) == (False, 1.0, 1.0, 0)
    assert (settings.min_new_tokens, settings.start_script) == (8, "ko")


def test_an_empty_seed_is_a_new_one_each_time():
    seeds = {dataclasses.replace(CHOSEN, seed=" ").request(BASE, (), "hello").seed for _ in range(5)}
    assert len(seeds) > 1


@pytest.mark.parametrize("seed", ["-1", "x", "1.5", str(2**31)])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ConfigError, match="must be a whole number"):
        dataclasses.replace(CHOSEN, seed=seed).request(BASE, (), "hello")


def test_a_value_out_of_its_range_is_refused_as_anywhere():
    with pytest.raises(ConfigError, match=r"generation\.top_p=2\.0"):
        dataclasses.replace(CHOSEN, top_p=2).request(BASE, (), "hello")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("ko", "ko"), ("zh-TW,en;q=0.8", "zh"), ("th-TH,th;q=0.9,en;q=0.8", "th"), ("fr,de;q=0.9", "en"),
        ("fr,ko;q=0.3,zh;q=0.7", "zh"), ("en;q=0.1, KO ; q=0.5", "ko"), ("ko;q=0,th;q=0.1", "th"), ("*;q=0.5, nonsense;;", "en"),
    ],
)  # fmt: skip
def test_the_first_known_language_that_is_asked_for(header, language):
    assert preferred_language(header) == language


def test_every_language_has_every_text_with_the_same_gaps():
    assert set(TEXTS) == {"ko", "th", "zh", "en"}
    english = vars(TEXTS["en"])
    gaps = {name: [field for _, field, _, _ in string.Formatter().parse(text) if field] for name, text in english.items()}
    for language, texts in TEXTS.items():
        said = vars(texts)
        assert [name for name, text in said.items() if not text.strip()] == []
        assert {name: [f for _, f, _, _ in string.Formatter().parse(text) if f] for name, text in said.items()} == gaps
        same = [name for name, text in said.items() if text == english[name] and name not in ("top_p", "top_k")]
        assert language == "en" or same == [], "left in English"
