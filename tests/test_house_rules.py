"""House rules a machine can check: file length, file names, nothing that belongs to one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("kinnari", "lightning_modules", "datamodules", "callbacks", "conf", "tests", "benchmarks")
FILES = [f for folder in FOLDERS for f in sorted((ROOT / folder).rglob("*")) if f.suffix in (".py", ".yaml")] + [ROOT / "launch.py"]
NAMES = [str(f.relative_to(ROOT)) for f in FILES]
MOST_LINES = 450
WORDS_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "tools"}


def lines(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_can_be_read_in_one_sitting(name):
    assert len(lines(name)) <= MOST_LINES


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_named_for_what_it_holds(name):
    assert not WORDS_THAT_SAY_NOTHING & set(Path(name).stem.split("_"))


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith(".py") and not n.startswith("tests/") and lines(n)])
def test_a_python_file_says_what_it_is(name):
    assert lines(name)[0].startswith(('"""', 'r"""')), "the first line is a docstring"


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith(".py") and not n.startswith("tests/")])
def test_no_attribute_is_probed_for(name):
    probe = "has" + "attr("
    assert not [line for line in lines(name) if probe in line]
