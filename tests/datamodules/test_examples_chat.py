"""Every chat, Korean and Thai source as its option composes it: its example rows become conversations with declared licences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import instantiate

from datamodules.sources import Source
from kinnari.tasks.compose import conf_folder
from kinnari.text.conversation import Conversation
from tests.datamodules.examples_chat import EXAMPLES
from tests.datamodules.sources.read_source import written


def source(option: str, folder: Path) -> Source:
    """The source of an option over its example rows."""
    example = EXAMPLES[option]
    config: dict[str, Any] = yaml.safe_load((conf_folder() / "data" / f"{option}.yaml").read_text(encoding="utf-8"))[option]
    config["path"] = written(folder, example["rows"], example["suffix"])
    for argument, rows in example.get("others", {}).items():
        config[argument] = written(folder, rows, example["suffix"], name=argument)
    return instantiate(config, _convert_="all")


@pytest.mark.parametrize("option", EXAMPLES)
def test_every_example_is_a_conversation_of_its_option(option, tmp_path):
    records = list(source(option, tmp_path).read())

    assert records and all(isinstance(record, Conversation) for record in records), records
    assert all(record.source == option and record.record_id.startswith(f"{option}:") and record.licence for record in records)
    assert all(record.messages[0].role == "user" and record.messages[-1].role == "assistant" for record in records)


@pytest.mark.parametrize("option", EXAMPLES)
def test_the_option_states_the_defaults_of_its_class(option, tmp_path):
    built = source(option, tmp_path)
    default = type(built)(**{name: getattr(built, name) for name in ("path", "target_path") if name in built.__dict__})

    assert built.name == default.name == option
    assert built.language == default.language
    assert built.licence == default.licence


@pytest.mark.parametrize("option", EXAMPLES)
def test_two_readings_are_the_same(option, tmp_path):
    assert list(source(option, tmp_path).read()) == list(source(option, tmp_path).read())
