"""Figures as people read them in a terminal."""

from __future__ import annotations

import re

import pytest

from kinnari.evaluation.judging.figures import JudgedPair, by_language
from kinnari.evaluation.judging.readings import Reading
from kinnari.evaluation.judging.verdicts import judgement
from kinnari.tasks.judge_table import print_figures, print_people

FACTS = {"first": "[bold]a", "second": "b", "model": "m", "template": "t", "missing": 2}


@pytest.fixture
def printed(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")

    def shown(pairs, **facts):
        print_figures(FACTS | facts, by_language(pairs, seed=0))
        return capsys.readouterr().out

    return shown


def pair(verdict, language, scores=None):
    one = judgement([""], [Reading(verdict, scores)])
    return JudgedPair(language=language, judgement=one, verdict=verdict, scores=scores, lengths=(1, 1))


def test_each_language_has_a_line_and_names_are_no_markup(printed):
    out = printed([pair("second", "[red]", (1.0, 3.0)), pair("second", "th", (1.0, 2.0))] * 10)
    assert "b against [bold]a" in out and "2 rows lack replies" in out
    lines = {
        cells[0]: cells for line in out.splitlines() if (cells := [c.strip() for c in re.split("[│┃]", line)[1:-1]]) and len(cells) == 10
    }
    assert lines["[red]"][:6] == ["[red]", "10", "100.0", "0.0", "0.0", "100.0 [100-100]"]
    assert lines["all"][1] == "20" and lines["all"][7:] == ["<0.001", "1.000 2.500", "2.500"]


def test_what_cannot_be_told_is_a_dash(printed):
    one = judgement([""], [Reading()])
    out = printed([JudgedPair(language="", judgement=one, verdict=None, scores=None, lengths=(1, 1))])
    (line,) = [line for line in out.splitlines() if line.startswith("│ all") and line.count("│") == 9]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == ["all", "0", *["-"] * 6]


def test_an_estimate_of_tokens_is_called_one(printed):
    took = {
        "requests": 2,
        "from_cache": 1,
        "failed_requests": 0,
        "input_tokens": 1234,
        "output_tokens": 5,
        "cost": 0.1,
        "cost_of_this_run": 0.05,
    }
    assert "estimated" in printed([pair("tie", "th")], **took, estimated_tokens_in_requests=1)
    assert "1,234 tokens in, 5 out; cost 0.1000, of this run 0.0500" in printed([pair("tie", "th")], **took, estimated_tokens_in_requests=0)


def test_any_table_of_texts(capsys):
    print_people("t", ("", "n"), [("[x]", "1")])
    assert "[x]" in capsys.readouterr().out
