"""The questions of OpenAssistant with the best-liked answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.oasst1 import net_votes, select
from kinnari.tasks.compose import compose
from kinnari.tasks.oasst1_evaluation import oasst1_evaluation


def message(name: str, parent: str | None, text: str, *, lang: str = "th", date: str = "2023-01-01", **votes: int) -> dict[str, Any]:
    emojis = {"name": list(votes), "count": list(votes.values())} if votes else None
    return {"message_id": name, "parent_id": parent, "message_tree_id": "t", "created_date": date, "text": text, "lang": lang,
            "role": "prompter" if parent is None else "assistant", "emojis": emojis}  # fmt: skip


TREE = [
    message("q", None, "ถาม", **{"+1": 3, "-1": 1}),
    message("a", "q", "liked twice", **{"+1": 2}),
    message("b", "q", "liked three times, disliked twice", **{"+1": 3, "-1": 2}),
    message("later", "q", "also liked twice, later", date="2023-02-01", **{"+1": 2}),
    message("deep", "a", "an answer further down", **{"+1": 9}),
]


def test_votes_are_thumbs_up_less_thumbs_down_in_either_layout():
    assert net_votes({"emojis": {"+1": 4, "-1": 1, "_skip_reply": 7}}) == 3
    assert net_votes({"emojis": {"name": ["red_flag", "-1", "+1"], "count": [9, 5, 2]}}) == -3
    assert net_votes({"emojis": None}) == net_votes({}) == 0


def test_the_opening_message_gets_its_best_liked_reply():
    (row,) = select(TREE)
    assert row == {"lang": "th", "message_tree_id": "t", "message_id": "q", "parent_id": "q", "prompt_nb_net_plus": 2,
                   "answer_nb_net_plus": 2, "prompt": "ถาม", "answer": "liked twice"}  # fmt: skip


def test_the_opening_message_is_the_earliest_and_not_the_first_row():
    follow_up = message("q2", None, "later question", date="2023-03-01") | {"parent_id": "a"}
    assert select([follow_up, *reversed(TREE)])[0]["prompt"] == "ถาม"


def test_disliked_questions_and_disliked_best_answers_are_left_out():
    assert select([message("q", None, "x", **{"-1": 1}), message("a", "q", "y")]) == []
    assert select([message("q", None, "x"), message("a", "q", "y", **{"-1": 1})]) == []
    assert select([message("q", None, "x")]) == []
    assert len(select([message("q", None, "x"), message("a", "q", "y"), message("b", "q", "z", **{"-1": 1})])) == 1


def test_deleted_replies_answer_nothing():
    assert select([message("q", None, "x"), message("a", "q", "y") | {"deleted": True}]) == []


def nested(name: str, lang: str, replies: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "message_tree_id": name,
        "prompt": {"message_id": name, "role": "prompter", "lang": lang, "text": f"?{name}", "replies": replies},
    }


def test_nested_trees_are_read_as_well_and_languages_stand_in_the_order_asked_for():
    answers = [
        {"message_id": "1", "role": "assistant", "text": "plain"},
        {"message_id": "2", "role": "assistant", "text": "liked", "emojis": {"+1": 1}},
    ]
    trees = [nested("v", "vi", answers), nested("t", "th", answers[:1]), nested("e", "en", answers), nested("u", "th", answers)]
    rows = select(trees, ["th", "vi"])
    assert [(row["prompt"], row["answer"]) for row in rows] == [("?t", "plain"), ("?u", "liked"), ("?v", "liked")]


def test_the_task_writes_the_published_columns(tmp_path: Path):
    file = tmp_path / "oasst.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in TREE), encoding="utf-8")
    words = ["task=oasst1_evaluation", "data=oasst1", f"data.oasst1.path={file}", f"output_dir={tmp_path}/run"]
    assert oasst1_evaluation(compose(words))["languages"] == {"th": 1}
    header = (tmp_path / "run" / "oasst1_selected.csv").read_text(encoding="utf-8-sig").splitlines()[0]
    assert header == "lang,message_tree_id,message_id,parent_id,prompt_nb_net_plus,answer_nb_net_plus,prompt,answer"
    with pytest.raises(ConfigError, match=r"task\.languages=\['ja'\]"):
        oasst1_evaluation(compose([*words, "task.languages=[ja]"]))
    with pytest.raises(ConfigError, match=r"reads data=oasst1 alone"):
        oasst1_evaluation(compose(["task=oasst1_evaluation"]))
