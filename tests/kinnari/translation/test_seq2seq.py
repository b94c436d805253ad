"""A translation model on disk: languages, batches, cuts, long texts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from kinnari.errors import ConfigError
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import build_toy
from kinnari.translation.seq2seq import Seq2SeqTranslator, load_seq2seq
from tests.kinnari.translation.engines import TAGS, WORDS

NLLB: dict[str, Any] = {"codes": "nllb", "source_tag": "{code}", "target_tag": "{code}", "num_beams": 1, "max_new_tokens": 40}


@pytest.fixture(scope="module")
def engine(m2m100: Path) -> Seq2SeqTranslator:
    return load_seq2seq(str(m2m100), **NLLB)


@pytest.mark.parametrize("pair", WORDS)
def test_the_first_token_forces_the_target_language(engine: Seq2SeqTranslator, pair: tuple[str, str]) -> None:
    words = WORDS[pair]
    assert [r.text for r in engine.translate(list(words), *pair)] == list(words.values())


def test_results_do_not_depend_on_the_batch_or_the_order(engine: Seq2SeqTranslator) -> None:
    texts = ["cat", "hello", "cat", "hello cat", "c"]
    together = engine.translate(texts, "en", "th")
    alone = [engine.translate([text], "en", "th")[0] for text in texts]
    assert together == alone
    assert engine.translate(texts[::-1], "en", "th") == together[::-1]


def test_batches_are_sorted_and_bounded_by_their_padded_tokens(engine: Seq2SeqTranslator) -> None:
    ids = {"a": [1] * 5, "b": [1] * 9, "c": [1] * 9, "d": [1] * 2, "e": [1] * 30}
    engine.batch_tokens, kept = 20, engine.batch_tokens
    try:
        assert list(engine._batches(ids)) == [["e"], ["b", "c"], ["a", "d"]]
    finally:
        engine.batch_tokens = kept


def test_lines_and_code_are_put_back_where_they_were(engine: Seq2SeqTranslator) -> None:
    text = "- hello\n- cat\n```python\nhello = 'cat'\n```\n  42\nhello"
    assert engine.translate([text], "en", "ko")[0].text == "- 안녕\n- 고양이\n```python\nhello = 'cat'\n```\n  42\n안녕"


def test_a_text_without_words_is_not_given_to_the_model(engine: Seq2SeqTranslator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_generate", None)
    assert engine.translate(["1 + 1 = 2", "https://example.org/a?b=c", ""], "en", "th")[1].text == "https://example.org/a?b=c"
    assert engine.translate([], "en", "th") == []


def test_a_translation_that_does_not_end_is_a_failure(m2m100: Path) -> None:
    engine = load_seq2seq(str(m2m100), **(NLLB | {"max_new_tokens": 5}))
    good, cut = engine.translate(["hello", "hello"], "en", "ko"), engine.translate(["hello"], "en", "th")[0]
    assert cut.text is None and cut.error is not None and "max_new_tokens=5" in cut.error
    assert good[0].text is None  # 안녕 takes a tag, six bytes and EOS


def test_a_forced_eos_of_the_checkpoint_does_not_pass_a_cut_for_an_end(m2m100: Path) -> None:
    engine = load_seq2seq(str(m2m100), **(NLLB | {"max_new_tokens": 5}))
    engine.model.generation_config.forced_eos_token_id = 2
    assert engine.translate(["hello"], "en", "th")[0].text is None


def test_a_language_the_tokenizer_has_no_token_for_is_refused(engine: Seq2SeqTranslator) -> None:
    with pytest.raises(ConfigError, match="no token 'deu_Latn'"):
        engine.translate(["hello"], "en", "de")
    with pytest.raises(ConfigError, match="'xx' is not known"):
        engine.translate(["hello"], "xx", "en")


def test_out_of_memory_halves_the_batch(engine: Seq2SeqTranslator, monkeypatch: pytest.MonkeyPatch) -> None:
    generate, sizes = engine._generate, []

    def small(rows: list[list[int]], config: GenerationConfig) -> list[list[int]]:
        sizes.append(len(rows))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(rows, config)

    monkeypatch.setattr(engine, "_generate", small)
    assert [r.text for r in engine.translate(["cat", "hello"], "en", "ko")] == ["고양이", "안녕"]
    assert sizes == [2, 1, 1]


def test_the_models_own_generation_settings_come_back(engine: Seq2SeqTranslator) -> None:
    own = engine.model.generation_config
    engine.translate(["cat"], "en", "th")
    assert engine.model.generation_config is own and own.forced_bos_token_id is None


def test_the_identity_follows_weights_and_settings_and_not_the_batch(m2m100: Path, tmp_path: Path) -> None:
    first = load_seq2seq(str(m2m100), **NLLB).identity
    assert load_seq2seq(str(m2m100), **NLLB, batch_tokens=7).identity == first
    assert load_seq2seq(str(m2m100), **(NLLB | {"num_beams": 2})).identity != first
    model = load_seq2seq(str(m2m100), **NLLB)
    with torch.no_grad():
        next(model.model.parameters()).add_(1)
    copy = tmp_path / m2m100.name
    model.model.save_pretrained(copy)
    model.tokenizer.save_pretrained(copy)
    assert load_seq2seq(str(copy), **NLLB).identity != first


def test_a_prefix_names_the_languages_to_a_t5() -> None:
    spec = ModelSpec(
        name="t5", architecture="seq2seq", path=None, package=None, lora_targets=[], block_classes=[], max_length=64, dtype="auto",
        attention="auto", packing="none", pad_token=None, licence="MIT", notice=None,
        toy={"model_type": "t5", "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0},
    )  # fmt: skip
    model, tokenizer = build_toy(spec, 0)
    engine = Seq2SeqTranslator(
        model, tokenizer, name="t5", codes="name", prefix="translate {source} to {target}: ", num_beams=1, max_new_tokens=4
    )
    assert tokenizer.decode(engine._head("en", "th")) == "translate English to Thai: "
    assert engine.translate(["hello", "1"], "en", "th")[1].text == "1"


def test_long_texts_are_cut_to_what_the_model_reads(engine: Seq2SeqTranslator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def echo(rows: list[list[int]], config: GenerationConfig) -> list[list[int]]:
        seen.extend(rows)
        return [row[1:] for row in rows]  # without the source tag: bytes and EOS

    monkeypatch.setattr(engine, "_generate", echo)
    text = "".join(f"ภาษาไทยไม่มีช่องว่างระหว่างคำ{number}" for number in range(40))
    assert "".join((engine.translate([text], "th", "en")[0].text or "").split()) == text
    assert len(seen) > 10 and max(map(len, seen)) <= engine.max_source_tokens


def test_more_positions_than_the_model_has_are_refused(m2m100: Path) -> None:
    engine = load_seq2seq(str(m2m100), **NLLB)
    engine.model.config.model_type = "marian"
    with pytest.raises(ConfigError, match="has 128"):
        Seq2SeqTranslator(engine.model, engine.tokenizer, name="x", max_source_tokens=200)


@pytest.mark.parametrize(("setting", "value"), [("num_beams", 0), ("batch_tokens", 0), ("max_source_tokens", 3)])
def test_settings_out_of_range_are_refused(m2m100: Path, setting: str, value: int) -> None:
    with pytest.raises(ConfigError, match=setting):
        load_seq2seq(str(m2m100), **{setting: value})


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_seq2seq(str(tmp_path / "nowhere"), codes="iso")


def test_tags_are_those_of_the_table() -> None:
    from kinnari.translation.languages import LANGUAGES

    assert {code: LANGUAGES[code].nllb for code in TAGS} == TAGS
    assert len({language.nllb for language in LANGUAGES.values()}) == len(LANGUAGES)
    assert dataclasses.is_dataclass(LANGUAGES["th"])
