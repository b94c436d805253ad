"""Every plain source as its option composes it: its example rows become conversations with declared licences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import instantiate

from datamodules.sources import Source
from kinnari.tasks.compose import conf_folder
from kinnari.text.conversation import Conversation
from tests.datamodules.examples_plain import EXAMPLES
from tests.datamodules.sources.read_source import written

OPTIONS = [option for option in EXAMPLES if option != "wangchan_translated_parts"]  # its parts: sources/test_wangchan_translated.py


def source(option: str, folder: Path) -> Source:
    """The source of an option over its example rows."""
    example = EXAMPLES[option]
    config: dict[str, Any] = yaml.safe_load((conf_folder() / "data" / f"{option}.yaml").read_text(encoding="utf-8"))[option]
    config["path"] = written(folder, example["rows"], example["suffix"])
    return instantiate(config, _convert_="all")


@pytest.mark.parametrize("option", OPTIONS)
def test_every_example_is_a_conversation_of_its_option(option, tmp_path):
    records = list(source(option, tmp_path).read())

    assert records and all(isinstance(record, Conversation) for record in records), records
    assert len({record.record_id for record in records}) == len(records) >= len(EXAMPLES[option]["rows"])
    assert all(record.source == option and record.record_id.startswith(f"{option}:") and record.licence for record in records)
    assert all(record.messages[-1].role == "assistant" for record in records)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_option_states_the_defaults_of_its_class(option, tmp_path):
    built = source(option, tmp_path)
    default = type(built)(path=built.path)

    for name in ("name", "language", "licence", "limit", "limit_seed", "weight"):
        assert getattr(built, name) == getattr(default, name), name


@pytest.mark.parametrize("option", OPTIONS)
def test_two_readings_are_the_same(option, tmp_path):
    assert list(source(option, tmp_path).read()) == list(source(option, tmp_path).read())
