"""What is saved is found again by its content, whoever saved it."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.text.content_store import ContentStore, content_key


def test_what_was_saved_is_found_by_another_object_and_the_rest_is_not(tmp_path):
    path = tmp_path / "new" / "store.sqlite"
    keys = [content_key("m", i) for i in range(3)]
    ContentStore(path).save("m", [(keys[0], {"text": "ก"}), (keys[1], [0.1, 1e-300])])
    assert ContentStore(path).find(keys) == {keys[0]: {"text": "ก"}, keys[1]: [0.1, 1e-300]}


def test_a_value_saved_twice_is_the_later_one(tmp_path):
    store = ContentStore(tmp_path / "s")
    store.save("m", [(b"k", 1)])
    store.save("m", [(b"k", 2)])
    assert store.find([b"k"]) == {b"k": 2} and store.makers() == {"m": 1}


def test_makers_are_counted(tmp_path):
    store = ContentStore(tmp_path / "s")
    store.save("b", [(b"1", 0)])
    store.save("a", [(b"2", 0), (b"3", 0)])
    assert list(store.makers().items()) == [("a", 2), ("b", 1)]


def test_more_keys_than_one_select_takes(tmp_path):
    store = ContentStore(tmp_path / "s")
    rows = [(content_key("m", i), i) for i in range(2000)]
    store.save("m", rows)
    assert store.find([key for key, _ in rows]) == dict(rows)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(allow_nan=False), st.text())
def test_floats_come_back_to_the_last_bit_and_texts_to_the_last_character(tmp_path, number, text):
    store = ContentStore(tmp_path / "s")
    store.save("m", [(b"k", [number, text])])
    assert store.find([b"k"]) == {b"k": [number, text]}


def test_a_key_depends_on_maker_and_question_alone():
    assert content_key("m", {"a": 1, "b": 2}) == content_key("m", {"b": 2, "a": 1})
    assert len({content_key("m", "q"), content_key("n", "q"), content_key("m", "p"), content_key("m", ["q"])}) == 4
    assert len(content_key("m", "\ud800")) == 16  # half a character is a question as well


def test_threads_write_at_once_and_nothing_is_lost(tmp_path):
    store = ContentStore(tmp_path / "s")
    threads = [threading.Thread(target=lambda n=n: [store.save("m", [(bytes([n, i]), i)]) for i in range(10)]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.makers() == {"m": 60}


def test_a_file_that_is_no_store_is_named_with_its_setting(tmp_path):
    (tmp_path / "s").write_text("not a database, whatever its name says, and long enough to be looked at" * 20)
    with pytest.raises(ConfigError, match=r"judge\.cache=.*cannot be used"):
        ContentStore(tmp_path / "s", "judge.cache")
    with pytest.raises(ConfigError, match="cannot be made"):
        ContentStore(tmp_path / "s" / "below" / "store")
