"""Answers that must begin in a script."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from kinnari.errors import ConfigError
from kinnari.generation.sampler import generate
from kinnari.generation.settings import GenerationSettings
from kinnari.generation.start_script import SCRIPTS, StartInScript, begins
from kinnari.tasks import build
from kinnari.tasks.compose import compose

SAMPLES = {"th": "ก๙", "ko": "가ㄱ", "zh": "中鿿", "ja": "あア々漢", "en": "aZ"}
THAI = re.compile("[ก-๙]")


@pytest.fixture(scope="module")
def tiny() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return build.load_for_inference(compose(["model=tiny_causal"]))


@pytest.mark.parametrize("script", SCRIPTS)
def test_letters_of_a_script_begin_it_and_those_of_others_do_not(script: str):
    for other, letters in SAMPLES.items():
        within = [begins(letter.encode() + b"...", script) for letter in letters]
        assert all(within) if other == script else not within[0] or {script, other} == {"zh", "ja"}


@given(st.text(min_size=1))
def test_a_text_begins_in_thai_where_its_first_character_is_thai(text: str):
    raw = text.encode("utf-8", "ignore")
    expected = bool(THAI.match(raw.decode())) if raw else None
    assert begins(raw, "th") is expected


@given(st.characters(min_codepoint=1, exclude_categories=["Cs"]), st.integers(1, 3))
def test_a_part_of_a_character_is_open_as_long_as_it_can_become_thai(character: str, length: int):
    raw = character.encode()
    if length >= len(raw):
        return
    openings = {chr(point).encode()[:length] for point in range(0x0E01, 0x0E5A)}
    assert begins(raw[:length], "th") is (None if raw[:length] in openings else False)


@pytest.mark.parametrize(("script", "pattern"), [("th", "[ก-๙]"), ("ko", "[가-힣ᄀ-ᇿㄱ-ㆎ]"), ("en", "[A-Za-z]")])
def test_sampled_answers_of_a_byte_vocabulary_begin_in_the_script(tiny, script: str, pattern: str):
    settings = GenerationSettings(do_sample=True, max_new_tokens=6, start_script=script, batch_size=3)
    answers = generate(*tiny, [[40, 41], [40], [50, 51, 52], [60]], settings, seed=1)
    assert all(re.match(pattern, answer.text.lstrip()) for answer in answers)


def test_beams_keep_to_the_script_and_without_it_these_answers_begin_otherwise(tiny):
    prompts = [[40, 41], [40]]
    beams = GenerationSettings(num_beams=3, max_new_tokens=6, start_script="th")
    assert all(THAI.match(answer.text.lstrip()) for answer in generate(*tiny, prompts, beams))
    free = GenerationSettings(num_beams=3, max_new_tokens=6)
    assert not any(THAI.match(answer.text.lstrip()) for answer in generate(*tiny, prompts, free))


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """▁ for spaces, <0xNN> for bytes."""
    words = ["<s>", "</s>", "▁", "▁ไทย", "ไทย", "▁Thai", "ไทยabc", *[f"<0x{byte:02X}>" for byte in range(256)]]
    core = Tokenizer(BPE({word: i for i, word in enumerate(words)}, []))
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


def test_sentencepiece_words_and_single_bytes_are_told_apart():
    tokenizer = sentencepiece_like()
    processor = StartInScript(tokenizer, "th")
    processor.begin = 1
    scores = processor(torch.tensor([[9]]), torch.zeros(1, len(tokenizer)))
    allowed = {tokenizer.convert_ids_to_tokens(i) for i in torch.isfinite(scores[0]).nonzero().flatten().tolist()}
    assert allowed == {"▁ไทย", "ไทย", "ไทยabc", "<0xE0>"}


def test_after_one_character_everything_is_free():
    tokenizer = sentencepiece_like()
    processor = StartInScript(tokenizer, "th")
    processor.begin = 1
    ids = tokenizer.convert_tokens_to_ids
    one_byte, whole = [9, ids("<0xE0>"), ids("<0xB8>")], [9, ids("▁"), ids("ไทย")]
    scores = processor(torch.tensor([one_byte, whole]), torch.zeros(2, len(tokenizer)))
    assert torch.isfinite(scores[1]).all()
    assert torch.isfinite(scores[0]).sum() == 0xBF - 0x81 + 1  # U+0E01 to U+0E3F


def test_a_vocabulary_without_the_script_is_refused():
    core = Tokenizer(BPE({"<s>": 0, "</s>": 1, "a": 2}, []))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    with pytest.raises(ConfigError, match=r"start_script=th: no token"):
        StartInScript(tokenizer, "th")


def test_an_unknown_script_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"start_script=xx is not known; choose one of th, ko, zh, ja, en"):
        GenerationSettings(start_script="xx")
