"""Every source of ranked answers as its option composes it, over its example rows, and over these rows after damage."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import instantiate

from datamodules.sources import RankedSource
from kinnari.errors import ConfigError
from kinnari.tasks.compose import conf_folder
from kinnari.text.conversation import Conversation, Reject
from kinnari.text.pairs import all_pairs
from kinnari.text.ranked import RankedAnswers
from tests.datamodules.examples_ranked import EXAMPLES
from tests.datamodules.sources.read_ranked import put
from tests.datamodules.sources.read_source import written


def config(option: str) -> dict[str, Any]:
    return yaml.safe_load((conf_folder() / "data" / f"{option}.yaml").read_text(encoding="utf-8"))[option]


def source(option: str, folder: Path) -> RankedSource:
    """The source of an option over its example rows."""
    example = EXAMPLES[option]
    path = put(folder, example["files"]) if "files" in example else written(folder, example["rows"], example["suffix"])
    return instantiate(config(option) | {"path": path}, _convert_="all")


@pytest.mark.parametrize("option", EXAMPLES)
def test_every_example_is_a_prompt_with_ranked_answers(option, tmp_path):
    records = list(source(option, tmp_path).read_ranked())

    assert records and all(isinstance(record, RankedAnswers) and record.answers for record in records), records
    assert all(record.source == option and record.record_id.startswith(f"{option}:") and record.licence for record in records)
    assert len({record.record_id for record in records}) == len(records)
    scores = [[a.score for a in record.answers] for record in records]
    assert all(s == sorted(s, reverse=True) for s in scores if None not in s)
    assert bool([p for record in records for p in all_pairs(record)]) == (option != "baike")


@pytest.mark.parametrize("option", EXAMPLES)
def test_every_example_serves_fine_tuning_too(option, tmp_path):
    records = list(source(option, tmp_path).read())
    assert records and all(isinstance(record, Conversation) and record.reference() for record in records)


@pytest.mark.parametrize("option", EXAMPLES)
def test_the_option_states_the_defaults_of_its_class(option, tmp_path):
    built = source(option, tmp_path)
    default = type(built)(path=built.path)

    assert built.name == option
    plain = lambda value: list(value) if isinstance(value, tuple) else value  # noqa: E731
    assert {k: plain(v) for k, v in vars(built).items()} == {k: plain(v) for k, v in vars(default).items()}


@pytest.mark.parametrize("option", EXAMPLES)
def test_two_readings_are_the_same(option, tmp_path):
    assert list(source(option, tmp_path).read_ranked()) == list(source(option, tmp_path).read_ranked())


@pytest.mark.parametrize("option", EXAMPLES)
def test_damaged_files_give_rejects_and_never_an_error(option, tmp_path):
    good = source(option, tmp_path)
    files = [(file, file.read_bytes()) for file in good.files()]
    draw = random.Random(option)
    for _ in range(60):
        for file, content in files:
            file.write_bytes(damaged(content, draw))
        try:
            items = list(good.read_ranked())
        except ConfigError:  # nothing left to read at all: an empty file, a header without columns
            continue
        assert all(isinstance(item, RankedAnswers) or item.reason for item in items)
        assert all(isinstance(item, Conversation | Reject) for item in good.read())
        assert all(answer.answer.strip() for item in items if isinstance(item, RankedAnswers) for answer in item.answers)


PIECES = [
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b'"',
    b"{",
    b"[[",
    b"null",
    b",,",
    b"\n",
    b"1e999",
    b"\xe5\x8f\xa4",
    b"[" * 2000,
    b"x" * 100_000,
]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The bytes with one to four places cut, doubled or overwritten."""
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(content) + 1), draw.randrange(20)
        change = draw.choice([b"", content[at : at + length] * 2, draw.choice(PIECES)])
        content = content[:at] + change + content[at + length :]
    return content


ODD = [None, True, 7, -1.5, 10**30, "", " ", "\x00", "x\udc80", "長" * 50_000, [], [[]], {}, {"": None}, ["a", 1], {"answer": 3}, "nan"]


@pytest.mark.parametrize("option", [o for o, example in EXAMPLES.items() if example.get("suffix") in (".json", ".jsonl")])
def test_odd_values_in_any_place_give_rejects_and_never_an_error(option, tmp_path):
    draw = random.Random(option)
    rows = [mutated(draw.choice(EXAMPLES[option]["rows"]), draw) for _ in range(400)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = list(instantiate(config(option) | {"path": str(tmp_path / "rows.jsonl")}, _convert_="all").read_ranked())

    assert items and all(isinstance(item, RankedAnswers) or item.reason for item in items)


def mutated(value: Any, draw: random.Random) -> Any:
    """A copy of a row with one of its values, at any depth, replaced or removed."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.1:
        return draw.choice(ODD)
    if isinstance(value, dict):
        key = draw.choice(list(value))
        rest = {k: v for k, v in value.items() if k != key}
        return rest if draw.random() < 0.2 else rest | {key: mutated(value[key], draw)}
    place = draw.randrange(len(value))
    return [mutated(item, draw) if i == place else item for i, item in enumerate(value)]
