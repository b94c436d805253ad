"""What the documentation points to is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COVERAGE = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


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


def test_the_options_that_coverage_names_exist():
    chosen = re.findall(r"`([a-z_/]+)=([a-z]\w*)`", COVERAGE)
    groups = [(group, option) for group, option in chosen if (ROOT / "conf" / group).is_dir()]
    assert len(groups) > 15
    assert [f"{group}={option}" for group, option in groups if not (ROOT / "conf" / group / f"{option}.yaml").is_file()] == []
