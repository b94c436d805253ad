"""Every option of conf/benchmark builds a benchmark, and takes what all of them share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.utils import instantiate

from kinnari.evaluation.benchmarks import Benchmark, ChoiceBenchmark
from kinnari.tasks.compose import compose, conf_folder

NAMES = sorted(file.stem for file in (conf_folder() / "benchmark").glob("*.yaml"))
PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


@pytest.fixture(scope="module")
def section():
    """All benchmarks at once, as benchmark=[...] has them."""
    return compose(
        [f"benchmark=[{','.join(NAMES)}]", "benchmark.limit=3", "benchmark.shots=2", "benchmark.data_dir=DIR", "benchmark.seed=7"]
    ).benchmark


@pytest.mark.parametrize("name", NAMES)
def test_an_option_takes_what_all_benchmarks_share(section, name):
    made = instantiate(section[name], name=name, _convert_="all")
    assert isinstance(made, Benchmark)
    assert (made.name, made.limit, made.shots, made.data_dir, made.seed, made.split) == (name, 3, 2, "DIR", 7, None)
    if isinstance(made, ChoiceBenchmark):
        assert made.chosen_scoring == made.default_scoring


def test_a_setting_may_be_that_of_one_benchmark():
    chosen = compose(["benchmark=[tnews,ocnli]", "benchmark.limit=9", "benchmark.tnews.limit=5"]).benchmark
    assert (chosen.tnews.limit, chosen.ocnli.limit) == (5, 9)


def test_every_option_has_a_row_of_the_page_with_its_default_scoring(section):
    rows = {row[0].strip("`"): row for line in PAGE.read_text("utf-8").splitlines() if (row := _cells(line))}
    assert sorted(rows) == NAMES
    for name, row in rows.items():
        assert row[3] == f"`{section[name].get('default_scoring', 'generated')}`", name


def _cells(line: str) -> list[str] | None:
    cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
    return cells if len(cells) == 6 and re.fullmatch(r"`\w+`", cells[0]) else None
