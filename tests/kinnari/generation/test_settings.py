"""Decoding settings are checked where they are made."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings

CONF = Path(__file__).parents[3] / "conf" / "generation"


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_option_file_is_accepted_and_complete(file: Path) -> None:
    values = yaml.safe_load(file.read_text())
    assert vars(GenerationSettings(**values)) == values


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_beams": 0},
        {"batch_size": 0},
        {"max_new_tokens": 0},
        {"top_k": -1, "do_sample": True},
        {"temperature": 0.0, "do_sample": True},
        {"top_p": 0.0, "do_sample": True},
        {"top_p": 1.1, "do_sample": True},
        {"repetition_penalty": 0.0},
        {"min_new_tokens": 49},
        {"temperature": 0.7},
    ],
)
def test_values_that_cannot_work_are_refused_by_name(wrong: dict) -> None:
    name = "temperature" if wrong == {"temperature": 0.7} else next(iter(wrong))
    with pytest.raises(ConfigError, match=rf"generation\.{name}="):
        GenerationSettings(**wrong)
