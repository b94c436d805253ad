"""Every Kinnari word of the migration tables exists and composes."""

from __future__ import annotations

import re
import shlex

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import groups
from tests.docs.commands import ROOT, first_of_sweep

PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROOTS = {name.partition("/")[0] for name in groups()} | {str(key) for key in compose()}


def settings(section: str) -> list[list[str]]:
    """The words of each `code` that is ours: in the middle column all, in the notes those that begin as ours do."""
    found = []
    for row in re.findall(r"^\| .*\|$", section, re.MULTILINE)[1:]:  # without the heading
        columns = re.split(r" \|(?= )", row[1:-1])
        assert len(columns) == 3, row
        for column, text in enumerate(columns[1:]):
            for code in re.findall(r"`([^`]+)`", text):
                words = [first_of_sweep(word) for word in shlex.split(code) if word != "-m"]
                ours = all(re.match(r"\w", word) and re.split(r"[./=]", word)[0] in ROOTS and "=" in word for word in words)
                assert ours or column == 1, f"{code} is no word for launch.py: {row}"
                if ours and not any(word.endswith("=") for word in words):
                    found.append(words)
    return found


def together(all_words: list[list[str]]) -> list[list[str]]:
    """As few configurations as hold everything: words that choose the same file, or set the same name, differently stay apart.

    Composing takes 0.2 s, and there are a hundred rows. A row that chooses files is composed with them; one that only sets names goes
    where nothing contradicts it.
    """
    composed: list[dict[str, str]] = []
    for words in sorted(all_words, key=lambda words: -len(words)):
        wanted = dict(word.split("=", 1) for word in words)
        home = next((c for c in composed if all(c.get(key, value) == value for key, value in wanted.items()) and fits(c, wanted)), None)
        if home is None:
            home = {}
            composed.append(home)
        home.update(wanted)
    return [[f"{key}={value}" for key, value in c.items()] for c in composed]


def fits(held: dict[str, str], wanted: dict[str, str]) -> bool:
    """Whether choices of both can stand in one command: one task, one way to tune, one way to spread."""
    families = (("task", "experiment"), ("strategy", "strategy/tuning"), ("strategy", "strategy/parallel"), ("model", "model/family"))
    both = {**held, **wanted}
    if "checkpoint" in both and any(key.startswith("checkpoint.") for key in both):  # of task=export it is a folder
        return False
    mixed = ((a, b) for a, b in families if a in both and b in both)
    return all({a, b} <= set(held) or {a, b} <= set(wanted) for a, b in mixed)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_word_of_a_table_composes(name):
    found = settings(SECTIONS[name])
    assert len(found) > 10
    for words in together(found):
        try:
            compose(words)
        except ConfigError as problem:
            pytest.fail(f"{words}: {problem}")


def test_the_tables_are_those_of_the_programs_people_come_from():
    assert [re.match(r"[\w.-]+", name).group() for name in SECTIONS] == [
        "alpaca-lora",
        "qlora.py",
        "TRL",
        "OpenRLHF",
        "LLaMA-Factory",
        "Axolotl",
    ]


def test_a_word_that_does_not_exist_is_found():
    wrong = "| theirs | ours | note |\n|---|---|---|\n| `--x 1` | `optimizer.lrr=1` | |\n"
    with pytest.raises(ConfigError, match=r"optimizer\.lrr"):
        compose(together(settings(wrong))[0])
    with pytest.raises(AssertionError, match=r"no word for launch\.py"):
        settings("| a | b | c |\n|---|---|---|\n| `--x 1` | `lr=1` | |\n")


def test_contradicting_words_are_composed_apart():
    assert together([["optimizer.lr=1"], ["optimizer.lr=2"], ["seed=0"]]) == [["optimizer.lr=1", "seed=0"], ["optimizer.lr=2"]]
    assert len(together([["strategy=lora"], ["strategy/tuning=lora_int8"]])) == 2
