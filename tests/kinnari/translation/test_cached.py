"""The memory on disk: nothing twice, nothing lost, the order of the texts whatever happens first."""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.translation.cached import CachedTranslator
from kinnari.translation.store import Keys, TranslationStore
from kinnari.translation.translator import Translation
from tests.kinnari.translation.engines import Dictionary

WORDS = {"Good morning": "สวัสดีตอนเช้า", "cat": "แมว", "안녕": "สวัสดี", "你好": "สวัสดี"}


def texts_of(results: list[Translation]) -> list[str | None]:
    return [result.text for result in results]


def test_a_text_is_translated_once_within_a_call_and_once_over_runs(tmp_path: Path) -> None:
    first = CachedTranslator(engine := Dictionary(WORDS), tmp_path / "t.sqlite")
    texts = ["cat", "Good morning", "cat", "안녕", "你好"]
    expected = ["แมว", "สวัสดีตอนเช้า", "แมว", "สวัสดี", "สวัสดี"]
    assert texts_of(first.translate(texts, "en", "th")) == expected
    assert engine.asked == ["cat", "Good morning", "안녕", "你好"]
    assert (first.counts.texts, first.counts.repeated, first.counts.translated, first.counts.cached) == (5, 1, 4, 0)
    assert first.counts.engine_characters == 3 + 12 + 2 + 2

    again = CachedTranslator(fresh := Dictionary(WORDS), tmp_path / "t.sqlite")
    assert texts_of(again.translate(texts, "en", "th")) == expected
    assert fresh.asked == [] and (again.counts.cached, again.counts.repeated, again.counts.engine_characters) == (4, 1, 0)


@pytest.mark.parametrize(("name", "source", "target"), [("other", "en", "th"), ("dictionary", "ko", "th"), ("dictionary", "en", "ko")])
def test_engine_and_both_languages_are_part_of_the_key(tmp_path: Path, name: str, source: str, target: str) -> None:
    CachedTranslator(Dictionary(), tmp_path / "t.sqlite").translate(["cat"], "en", "th")
    engine = Dictionary(name=name)
    CachedTranslator(engine, tmp_path / "t.sqlite").translate(["cat"], source, target)
    assert engine.asked == ["cat"]


def test_keys_do_not_run_together() -> None:
    assert Keys({}, "en", "th")("x") != Keys({}, "e", "nth")("x")
    assert Keys({"a": 1, "b": 2}, "en", "th")("x") == Keys({"b": 2, "a": 1}, "en", "th")("x")
    assert len(Keys({}, "en", "th")("x" * 10**6)) == 16


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=4), max_size=60), st.integers(1, 7), st.integers(1, 6))
def test_the_order_is_that_of_the_texts_whichever_chunk_ends_first(texts: list[str], chunk: int, workers: int) -> None:
    progress: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        engine = CachedTranslator(Dictionary(delays=True), Path(folder) / "t.sqlite", chunk=chunk, workers=workers)
        results = engine.translate(texts, "en", "th", progress.append)
    assert texts_of(results) == [t[::-1] if t.strip() else t for t in texts]
    assert progress[-1] == len(texts) and progress == sorted(progress)


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(100)]
    dying = CachedTranslator(Dictionary(dies_after=55), tmp_path / "t.sqlite", chunk=10)
    with pytest.raises(KeyboardInterrupt):
        dying.translate(texts, "en", "th")
    engine = Dictionary()
    rest = CachedTranslator(engine, tmp_path / "t.sqlite", chunk=10)
    assert texts_of(rest.translate(texts, "en", "th")) == [text[::-1] for text in texts]
    assert engine.asked == texts[50:]


def test_a_process_that_is_killed_leaves_whole_chunks(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_translate_for_ever, args=(tmp_path / "t.sqlite",))
    process.start()
    store = TranslationStore(tmp_path / "t.sqlite")
    keys = [Keys({"engine": "dictionary"}, "en", "th")(f"text {n}") for n in range(200)]
    while len(store.translations(keys)) < 100:
        assert process.is_alive()
    process.kill()
    process.join()
    kept = store.translations(keys)
    assert len(kept) % 5 == 0 and all(value.endswith(" txet") for value in kept.values())


def _translate_for_ever(path: Path) -> None:
    engine = CachedTranslator(Dictionary(delays=True), path, chunk=5)
    for start in range(0, 10**6, 50):
        engine.translate([f"text {n}" for n in range(start, start + 50)], "en", "th")


def test_processes_write_to_one_file_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_translate_some, args=(tmp_path / "t.sqlite", begin)) for begin in (0, 50, 100)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    everything = CachedTranslator(engine := Dictionary(), tmp_path / "t.sqlite")
    everything.translate([f"text {n}" for n in range(200)], "en", "th")
    assert engine.asked == []


def _translate_some(path: Path, begin: int) -> None:
    CachedTranslator(Dictionary(), path, chunk=3).translate([f"text {n}" for n in range(begin, begin + 100)], "en", "th")


def test_failures_are_kept_aside_counted_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    for attempt in (1, 2):
        broken = CachedTranslator(Dictionary(WORDS, fails={"cat"}), path)
        good, bad = broken.translate(["Good morning", "cat"], "en", "th")
        assert good.text == "สวัสดีตอนเช้า" and bad == Translation(None, "no such word", attempt)
        assert (broken.counts.failed, broken.counts.cached) == (1, attempt - 1)
    assert [(f.text, f.error, f.attempts) for f in TranslationStore(path).failures()] == [("cat", "no such word", 2)]
    assert texts_of(CachedTranslator(Dictionary(WORDS), path).translate(["cat"], "en", "th")) == ["แมว"]
    assert TranslationStore(path).failures() == []


def test_blank_texts_and_texts_in_the_target_language_need_no_engine(tmp_path: Path) -> None:
    cached = CachedTranslator(engine := Dictionary(), tmp_path / "t.sqlite")
    assert texts_of(cached.translate(["", " \n"], "en", "th")) == ["", " \n"]
    assert texts_of(cached.translate(["สวัสดี"], "th", "th")) == ["สวัสดี"]
    assert engine.asked == [] and cached.counts.untouched == 3


def test_half_a_surrogate_pair_fails_alone_and_nul_survives(tmp_path: Path) -> None:
    cached = CachedTranslator(Dictionary({"b": "\udc00"}), tmp_path / "t.sqlite")
    for _ in range(2):
        broken, nul, made = cached.translate(["a\ud800", "a\x00b", "b"], "en", "th")
        assert broken.text is None and made.text is None and nul.text == "b\x00a"


@pytest.mark.parametrize("values", [{"chunk": 0}, {"workers": 0}, {"chunk": 1.5}, {"workers": True}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, values: dict) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        CachedTranslator(Dictionary(), tmp_path / "t.sqlite", **values)


def test_a_file_that_is_no_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.sqlite").write_text("not a database, and long enough to be read as one" * 10)
    with pytest.raises(ConfigError, match="moved away"):
        CachedTranslator(Dictionary(), tmp_path / "t.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        CachedTranslator(Dictionary(), tmp_path / "file" / "t.sqlite")


def test_another_process_that_only_reads_does_not_stop_a_writer(tmp_path: Path) -> None:
    cached = CachedTranslator(Dictionary(), tmp_path / "t.sqlite")
    cached.translate(["a b"], "en", "th")
    reader = sqlite3.connect(tmp_path / "t.sqlite")
    assert reader.execute("SELECT translation FROM translations").fetchall() == [("b a",)]
    cached.translate(["c d"], "en", "th")
    assert len(reader.execute("SELECT * FROM translations").fetchall()) == 2
    reader.close()


def test_an_engine_that_loses_texts_is_a_defect(tmp_path: Path) -> None:
    cached = CachedTranslator(engine := Dictionary(), tmp_path / "t.sqlite")
    engine.translate = lambda texts, *rest: []  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="0 translations for 1 texts"):
        cached.translate(["a"], "en", "th")
