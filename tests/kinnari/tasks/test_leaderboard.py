"""Runs side by side: numbers as they are in the files, a page without scripts, mistakes told."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.run import run

HOW = {"scoring": "label", "prompt": "label_last", "shots": 0, "calibration": "none", "chat": False, "template": None, "seed": 42,
       "limit": None, "model": "tiny", "path": None, "adapter": None, "checkpoint": None, "dtype": "float32"}  # fmt: skip
JUDGED = {"judge/first": "base", "judge/second": "tuned", "judge/model": "somebody", "judge/n": 40, "judge/win": 0.6, "judge/tie": 0.2,
          "judge/loss": 0.2, "judge/win_rate": 0.7, "judge/win_rate_low": 0.55, "judge/win_rate_high": 0.8}  # fmt: skip


def evaluated(folder: Path, hits: str, name: str = "tnews", **how: Any) -> Path:
    """A run with a question for each letter of `hits`: r for right, w for wrong."""
    folder.mkdir(parents=True)
    share = hits.count("r") / len(hits)
    numbers = {"accuracy": share, "ci_low": share - 0.1, "ci_high": share + 0.1, "majority": 0.4, "n": len(hits), "ties": 0, "stderr": 0.05}
    entry = {"metric": "accuracy", "how": HOW | how, "numbers": {f"{name}/{key}": value for key, value in numbers.items()}}
    (folder / "summary.json").write_text(json.dumps({name: entry}))
    (folder / "result.json").write_text(json.dumps({"task": "evaluate", "status": "done"}))
    rows = [
        {"benchmark": name, "id": f"q{i}", "prompt": f"<b>Frage</b> {i}\n", "candidates": ["It is red", "It is green"],
         "prediction": int(hit == "w"), "gold": 0}
        for i, hit in enumerate(hits)
    ]  # fmt: skip
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def judged(folder: Path) -> Path:
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"task": "judge", "status": "done", **JUDGED}))
    return folder


def board(tmp_path: Path, runs: list[Path], *overrides: str) -> dict[str, Any]:
    out = tmp_path / "board"
    run(compose(["task=leaderboard", f"task.runs=[{','.join(map(str, runs))}]", f"output_dir={out}", *overrides]))
    return json.loads((out / "leaderboard.json").read_text("utf-8"))


def html(tmp_path: Path) -> str:
    return (tmp_path / "board" / "leaderboard.html").read_text("utf-8")


class Tags(HTMLParser):
    """Tags that were opened, their attributes, and whether all were closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))
        if tag not in ("meta", "rect", "line"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_two_models_are_compared_on_the_same_questions(tmp_path):
    told = board(tmp_path, [evaluated(tmp_path / "a", "rrwwww"), evaluated(tmp_path / "b", "wrrrrw", model="other")])
    assert [(one["model"], one["accuracy"]) for one in told["scores"]] == [("tiny", pytest.approx(1 / 3)), ("other", pytest.approx(2 / 3))]
    (pair,) = told["comparisons"]
    assert (pair["first"], pair["second"], pair["n"]) == ("tiny", "other", 6)
    assert (pair["better"], pair["worse"]) == (["q2", "q3", "q4"], ["q0"])
    assert pair["difference"] == pytest.approx(1 / 3) and pair["mcnemar_p"] == pytest.approx(2 * 5 / 16)
    assert pair["asked_differently"] == []


def test_the_page_has_bars_intervals_and_questions_and_runs_nothing(tmp_path):
    board(tmp_path, [evaluated(tmp_path / "a", "rrwwww"), evaluated(tmp_path / "b", "wrrrrw", model="<i>"), judged(tmp_path / "j")])
    text = html(tmp_path)
    tags = Tags(text)
    assert not tags.stack and "<b>Frage" not in text and "&lt;b&gt;Frage" in text and "<i>" not in text
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags.opened} and "http" not in text and "url(" not in text
    assert "prefers-color-scheme: dark" in text
    bars = [attrs for tag, attrs in tags.opened if tag == "rect" and "class" not in attrs]
    assert [float(attrs["width"] or 0) for attrs in bars] == pytest.approx([140.0, 280.0, 294.0], abs=0.1)  # of 420
    ends = [
        (float(a["x1"] or 0), float(a["x2"] or 0)) for tag, a in tags.opened if tag == "line" and "class" not in a and a["x1"] != a["x2"]
    ]
    assert ends[0] == pytest.approx((300 + 420 * (1 / 3 - 0.1), 300 + 420 * (1 / 3 + 0.1)), abs=0.1)
    assert "4 questions on which tiny and &lt;i&gt; differ" in text


def test_questions_shown_are_limited_and_counted(tmp_path):
    board(tmp_path, [evaluated(tmp_path / "a", "wwwww"), evaluated(tmp_path / "b", "rrrrr", model="other")], "task.shown=2")
    assert "5 questions on which tiny and other differ (2 shown)" in html(tmp_path)


def test_models_asked_differently_are_marked(tmp_path):
    told = board(tmp_path, [evaluated(tmp_path / "a", "rw"), evaluated(tmp_path / "b", "rw", shots=5, scoring="pmi")])
    assert told["comparisons"][0]["asked_differently"] == ["scoring", "shots"]
    assert [one["model"] for one in told["scores"]] == ["tiny (a)", "tiny (b)"]


def test_benchmarks_of_one_model_in_several_runs_are_one_row(tmp_path):
    told = board(tmp_path, [evaluated(tmp_path / "a", "rw"), evaluated(tmp_path / "b", "rr", "ocnli")])
    assert {one["model"] for one in told["scores"]} == {"tiny"} and told["comparisons"] == []


def test_names_may_be_given_and_judgements_stand_beside(tmp_path):
    told = board(tmp_path, [evaluated(tmp_path / "a", "rw"), judged(tmp_path / "j")], "task.names=[mine,chats]")
    assert told["scores"][0]["model"] == "mine" and told["judgements"][0]["run"] == "chats"
    assert "70.0 [55.0-80.0]" in html(tmp_path)


@pytest.mark.parametrize(
    ("made", "overrides", "message"),
    [
        ([], (), "task.runs=.* must be a list of folders"),
        (["nowhere"], (), "result.json does not exist"),
        (["a"], ("task.names=[x,y]",), "a name for each of the 1 folders"),
        (["a", "b"], ("task.names=[x,x]",), "twice"),
        (["a"], ("task.shown=-1",), "task.shown=-1"),
    ],
)
def test_mistakes_are_told(tmp_path, made, overrides, message):
    for name in ("a", "b"):
        evaluated(tmp_path / name, "rw")
    with pytest.raises(ConfigError, match=message):
        board(tmp_path, [tmp_path / name for name in made], *overrides)


def test_runs_of_other_tasks_and_unfinished_ones_are_told(tmp_path):
    for content, message in (
        ({"task": "sft", "status": "done"}, "run of task=sft"),
        ({"task": "evaluate", "status": "failed"}, "'failed'"),
    ):
        folder = tmp_path / content["task"]
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=message):
            board(tmp_path, [folder])
    broken = evaluated(tmp_path / "broken", "rw")
    (broken / "examples.jsonl").write_text('{"benchmark": "tnews"}\n{"bench')
    with pytest.raises(ConfigError, match=r"examples\.jsonl line 2"):
        board(tmp_path, [broken])


def test_a_summary_that_lacks_something_is_named(tmp_path: Path):
    run_folder = evaluated(tmp_path / "a", "rw")
    (run_folder / "summary.json").write_text(json.dumps({"tnews": {"how": HOW, "numbers": {}}}))
    with pytest.raises(ConfigError, match=r"summary\.json is not what task=evaluate writes \(KeyError\('metric'\)\)"):
        board(tmp_path, [run_folder, evaluated(tmp_path / "b", "rr")])
