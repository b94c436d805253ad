"""What the documentation points to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
COVERAGE = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def folder_of(group: str) -> str:
    """Of `strategy.tuning` as of `strategy/tuning`."""
    return group.replace(".", "/")


def test_coverage_has_every_row_once_and_in_order():
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", COVERAGE, re.MULTILINE)] == list(range(1, 102))


def test_every_row_says_where_or_not_yet():
    rows = re.findall(r"^\| \d+ \|[^|]+\|([^|]+)\|$", COVERAGE, re.MULTILINE)
    assert len(rows) == 101
    assert [row for row in rows if "`" not in row and "not yet" not in row] == []


def test_the_tests_that_coverage_names_exist():
    files = set(re.findall(r"`[\w/]*?(test_\w+\.py)`", COVERAGE))
    assert files <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    functions = re.findall(r"`(test_\w+)`", COVERAGE)
    assert [name for name in functions if f"def {name}(" not in TESTS] == []


@pytest.mark.parametrize(("text", "fewest"), [(COVERAGE, 60), (DATA, 1)])
def test_the_options_that_are_named_exist(text, fewest):
    chosen = re.findall(r"(?<=[` ])([a-z_/]+)=([a-z]\w*)(?=[` ])", text)
    groups = [(folder_of(group), option) for group, option in chosen if (ROOT / "conf" / folder_of(group)).is_dir()]
    assert len(groups) >= fewest
    assert [f"{group}={option}" for group, option in groups if not (ROOT / "conf" / group / f"{option}.yaml").is_file()] == []


def test_every_source_has_one_row_with_the_languages_and_licences_of_its_option():
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in DATA.splitlines() if re.match(r"\| `\w+` \|", line)]
    named = {row[0].strip("`"): row for row in rows if len(row) >= 5}
    assert sorted(named) == options("data") and len(rows) == len({row[0] for row in rows})
    for option, (_, _, languages, licences, *_) in named.items():
        sources = OmegaConf.load(ROOT / "conf" / "data" / f"{option}.yaml").values()
        assert licences.split(", ") == list(dict.fromkeys(source.licence for source in sources))
        assert all(source.get("language", "") in languages.split(", ") or not source.get("language") for source in sources), option


def test_every_choice_of_cleaning_is_named():
    cleaning = (ROOT / "docs" / "cleaning.md").read_text(encoding="utf-8")
    assert [option for option in options("cleaning") if not re.search(rf"`(cleaning=)?{option}`", cleaning)] == []


def test_pages_point_to_files_that_are_there():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        links = re.findall(r"\]\(([\w/.-]+)\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name
