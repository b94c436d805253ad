"""Equal descriptions are equal content; what cannot be described is not cached."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kinnari.models.toy import byte_tokenizer
from kinnari.preparation.fingerprints import Unknowable, code_sha256, described, digest, tokenizer_sha256, without
from tests.kinnari.preparation.fakes import Fake, Shout, Without
from tests.kinnari.text.test_template import chatml


def test_values_of_every_plain_kind_have_one():
    values = [None, 1, 1.5, "x", True, Path("a"), b"x", np.arange(3), {"b": 1, "a": {2, 1}}, (1, [2]), np.float32(1)]
    assert digest(described(values)) == digest(described(values))
    assert described({"a": 1, "b": 2}) != described({"b": 2, "a": 1}), "the order of steps matters"


def test_class_fields_and_declared_fingerprint_count():
    assert described(Without("x")) != described(Without("y"))
    assert described(Shout())["class"] != described(Without("x"))["class"]
    assert described(Shout())["declares"]
    assert described(chatml()) == described(chatml())


def test_fields_that_do_not_matter_can_be_left_out():
    one, other = Fake(count=3, weight=1.0), Fake(count=3, weight=2.0)
    assert described(one) != described(other) and without(described(one), "weight") == without(described(other), "weight")


def test_objects_without_content_are_refused():
    class Opaque:
        pass

    @dataclass(frozen=True)
    class Holder:
        held: object

    for value in (Opaque(), Holder(Opaque()), lambda: 0):
        with pytest.raises(Unknowable):
            described(value)


def test_a_tokenizer_is_known_by_its_content():
    one, other = byte_tokenizer(), byte_tokenizer()
    before = tokenizer_sha256(one)
    one(["a", "longer"], padding=True, truncation=True, max_length=4)
    assert tokenizer_sha256(one) == before == tokenizer_sha256(other), "padding and truncation of a call shape no token"
    other.add_tokens(["<new>"])
    assert tokenizer_sha256(other) != before
    one.chat_template = "{{ messages }}"
    assert tokenizer_sha256(one) != before


def test_code_is_part_of_it(tmp_path, monkeypatch):
    package = tmp_path / "some_rules"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_sha256(["some_rules"])
    (package / "rule.py").write_text("x = 1\n")
    assert code_sha256(["some_rules"]) != before
