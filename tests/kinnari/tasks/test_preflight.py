"""The check before training: it passes sound data, shows it, and stops what would train the wrong thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datamodules import InstructionDataModule
from datamodules.sources import Alpaca
from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.tasks.preflight import Preflight, preflight
from tests.kinnari.text.test_template import chatml

ROWS = [{"instruction": f"question {i}", "output": "x" * (10 + i)} for i in range(8)]


def data(folder: Path, **changes) -> InstructionDataModule:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    settings = {"max_length": 200, "held_out_fraction": 0.0, "workers": 1, "global_size": 4, "micro_size": 2}
    module = InstructionDataModule({"alpaca": Alpaca(path=str(path))}, byte_tokenizer(), chatml(), **(settings | changes))
    module.setup()
    return module


def test_sound_data_passes_and_is_measured(tmp_path):
    found = preflight(data(tmp_path), 5, seed=1)
    assert isinstance(found, Preflight)
    assert (found.checked, found.end_share, found.cut_share) == (5, 1.0, 0.0) and 0.1 < found.trained_share < 0.9


def test_no_record_is_looked_at_twice(tmp_path):
    found = preflight(data(tmp_path), 100, seed=1)
    assert found is not None and found.checked == 8


def test_the_page_shows_what_was_checked(tmp_path):
    preflight(data(tmp_path), 3, seed=1, page_path=tmp_path / "a" / "preflight.html")
    assert (tmp_path / "a" / "preflight.html").read_text(encoding="utf-8").count('class="record"') == 3


def test_it_can_be_left_out(tmp_path):
    assert preflight(data(tmp_path), 0, seed=1, page_path=tmp_path / "p.html") is None
    assert not (tmp_path / "p.html").exists()


def test_data_whose_answers_are_all_cut_stops_the_run(tmp_path):
    shortest = int(data(tmp_path).train_records.lengths.min())
    with pytest.raises(ConfigError, match=r"In none of 8 sampled records .* 8 of them are cut at max_length=.*preflight.records=0"):
        preflight(data(tmp_path, max_length=shortest - 5), 8, seed=1)


def test_a_mask_that_covers_the_prompt_against_the_configuration_stops_the_run(tmp_path):
    module = data(tmp_path, loss_on="everything")
    assert preflight(module, 8, seed=1) is not None
    module.loss_on = "answers"
    with pytest.raises(ConfigError, match=r"broken rules in 8 records; the first: .*every token is trained, the prompt too"):
        preflight(module, 8, seed=1, page_path=tmp_path / "p.html")
    assert (tmp_path / "p.html").exists()
