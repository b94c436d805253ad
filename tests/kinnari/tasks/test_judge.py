"""task=judge end to end: an endpoint, a model in this process, a replay, stored replies."""

from __future__ import annotations

import json

import pytest

from kinnari.errors import ConfigError, RunStopped
from kinnari.tasks.compose import compose
from kinnari.tasks.judge import judge, judge_template
from kinnari.text.tables import read_table, write_table
from tests.kinnari.completion.server import Reply, chat_answer, serving

ROWS = [
    {"lang": "th", "id": "t1", "prompt": "ถาม", "a": "good", "b": "bad", "people": "A"},
    {"lang": "th", "id": "t2", "prompt": "ถามอีก", "a": "bad", "b": "good", "people": "B"},
    {"lang": "ja", "id": "j1", "prompt": "質問", "a": "bad", "b": "good", "people": "tie"},
    {"lang": "ja", "id": "j2", "prompt": "質問二", "a": "same", "b": "same", "people": "tie"},
]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A composed config over ROWS with words of a command line added."""
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "cache"))
    write_table(tmp_path / "answers.csv", ROWS)

    def made(*words: str, out: str = "run"):
        base = ["task=judge", f"judge.input={tmp_path}/answers.csv", "judge.columns=[a,b]", f"output_dir={tmp_path}/{out}"]
        return compose([*base, *words])

    return made


def knows_good(number, body):
    """Two scores by what the answers are; the reply counts tokens as hosted models do."""
    text = body["messages"][-1]["content"]
    better_first = text.index("good") < text.index("bad")
    return Reply(
        body=chat_answer("9 3\nbecause" if better_first else "3, 9\nbecause") | {"usage": {"prompt_tokens": 50, "completion_tokens": 4}}
    )


PRICED = ("judge=scores_1_10", "judge.judge_model=m", "judge.price_per_million_input=2", "judge.price_per_million_output=10")


def test_an_endpoint_judges_and_the_same_command_asks_nothing_more(config, tmp_path, capsys):
    with serving(knows_good) as seen:
        words = (*PRICED, f"judge.judge={seen.url}", "judge.human_column=people")
        result = judge(config(*words))
        again = judge(config(*words, out="again"))
        assert len(seen.bodies) == 6  # three pairs in both orders; equal answers are a tie without asking
    assert (seen.bodies[0]["temperature"], seen.bodies[0]["max_tokens"]) == (0.2, 1024)
    assert (result["judge/win"], result["judge/tie"], result["judge/loss"]) == (0.5, 0.25, 0.25)
    assert (result["judge/th/win"], result["judge/th/loss"], result["judge/ja/tie"]) == (0.5, 0.5, 0.5)
    assert (result["judge/score_first"], result["judge/score_second"]) == (5.0, 7.0)
    assert (result["judge/consistency"], result["judge/position_bias"], result["judge/identical"]) == (1.0, 0.0, 1)
    assert (result["judge/human_n"], result["judge/human_agreement"]) == (4, 0.75)
    assert (result["judge/input_tokens"], result["judge/output_tokens"]) == (300, 24)
    assert result["judge/cost"] == result["judge/cost_of_this_run"] == pytest.approx((300 * 2 + 24 * 10) / 1e6)
    assert (again["judge/from_cache"], again["judge/cost_of_this_run"]) == (6, 0.0)
    assert (tmp_path / "run" / "verdicts.jsonl").read_bytes() == (tmp_path / "again" / "verdicts.jsonl").read_bytes()
    assert "6 of them from the cache" in capsys.readouterr().out


def test_verdicts_and_summary_are_written(config, tmp_path):
    with serving(knows_good) as seen:
        judge(config(*PRICED, f"judge.judge={seen.url}", "judge.human_column=people"))
    lines = read_table(tmp_path / "run" / "verdicts.jsonl", "o")
    assert [(line["id"], line["verdict"], line["better"]) for line in lines] == [
        ("t1", "first", "a"), ("t2", "second", "b"), ("j1", "second", "b"), ("j2", "tie", "tie")]  # fmt: skip
    assert (lines[0]["scores"], lines[0]["orders"], lines[0]["replies"]) == (
        [9.0, 3.0],
        ["first", "first"],
        ["9 3\nbecause", "3, 9\nbecause"],
    )
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert (summary["first"], summary["second"], summary["model"], summary["template"]) == ("a", "b", "m", "scores_1_10")
    assert summary["languages"]["th"]["n"] == 2 and summary["human_table"]["tie"] == {"first": 0, "second": 1, "tie": 1}


def test_a_replay_asks_nobody_and_lists_what_is_missing(config, tmp_path):
    with serving(knows_good) as seen:
        judge(config(*PRICED, f"judge.judge={seen.url}", "judge.limit=2"))
    result = judge(config(*PRICED, "judge.judge=replay", out="replay"))
    assert (result["judge/n"], result["judge/missing"], result["judge/th/win"], result["judge/ja/n"]) == (3, 1, 0.5, 1)
    assert read_table(tmp_path / "replay" / "missing.jsonl", "o") == [{"id": "j1", "orders": ["given", "swapped"]}]


def test_a_replay_of_somebody_who_never_answered_is_refused(config):
    with pytest.raises(ConfigError, match="judge_model does not say which one is meant whose replies it holds: nobody's"):
        judge(config("judge.judge=replay"))
    with serving(knows_good) as seen:
        judge(config(*PRICED, f"judge.judge={seen.url}", "judge.limit=1"))
    with pytest.raises(ConfigError, match=r"judge_model=other is not among those whose replies it holds: m \(2\)"):
        judge(config("judge.judge=replay", "judge.judge_model=other"))


def test_one_order_costs_half(config):
    with serving(knows_good) as seen:
        result = judge(config(*PRICED, f"judge.judge={seen.url}", "judge.both_orders=false"))
        assert len(seen.bodies) == 3
    assert (result["judge/win"], result["judge/consistency"]) == (0.5, None)


def test_replies_that_cannot_be_read_are_counted_and_left_out(config):
    with serving(
        lambda number, body: Reply(body=chat_answer("I would rather not say." if "ถามอีก" in str(body["messages"]) else "7 7"))
    ) as seen:
        result = judge(config("judge=scores_1_10", "judge.judge_model=m", f"judge.judge={seen.url}"))
    assert (result["judge/n"], result["judge/unread_rows"], result["judge/unread_replies"], result["judge/tie"]) == (3, 1, 2, 1.0)
    assert result["judge/estimated_tokens_in_requests"] == 6


def test_no_reply_at_all_ends_the_run(config):
    with (
        serving(lambda number, body: Reply(401, {"error": "who are you"})) as seen,
        pytest.raises(RunStopped, match=r"answered none of 6 requests.*401"),
    ):
        judge(config("judge.judge_model=m", f"judge.judge={seen.url}"))


def test_the_key_is_in_no_file(config, tmp_path, monkeypatch):
    key = "sk-kinnari-test-0123456789abcdef"
    monkeypatch.setenv("JUDGE_KEY", key)
    script = [Reply(401, f"bad key {key}"), *[Reply(body=chat_answer("A"))] * 5]
    with serving(lambda number, body: script[number]) as seen:
        judge(config("judge.judge_model=m", f"judge.judge={seen.url}", "judge.api_key_env=JUDGE_KEY", "judge.parallel=1"))
    assert seen.keys == [f"Bearer {key}"] * 6
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) >= 4 and all(key.encode() not in file.read_bytes() for file in files)


def test_a_model_in_this_process_judges_and_other_weights_are_another_judge(config, tmp_path):
    words = ("model=tiny_causal", "judge.template.max_tokens=4", "trainer.precision=32-true")
    result = judge(config(*words))
    assert (result["judge/requests"], result["judge/from_cache"], result["judge/failed_requests"]) == (6, 0, 0)
    assert judge(config(*words, out="again"))["judge/from_cache"] == 6
    assert judge(config(*words, "trainer.precision=bf16-true", out="other"))["judge/from_cache"] == 0


@pytest.mark.parametrize(("style", "share"), [("scores_0_1", 0.5), ("three_class", 0.25)])
def test_stored_replies_are_read_and_nobody_is_asked(config, tmp_path, style, share):
    said = {"scores_0_1": ["0.9 0.1\nx", "0.2 0.3", "Scores: 0 1", "0.5 0.5"], "three_class": ["so\n1", "so\n2", "no idea", "so\n3"]}[style]
    write_table(tmp_path / "answers.csv", [row | {"eval": reply} for row, reply in zip(ROWS, said, strict=True)])
    result = judge(config(f"judge={style}", "judge.replies_column=eval"))
    assert result["judge/model"] == "eval" and not (tmp_path / "cache").exists()
    assert result["judge/win"] * result["judge/n"] / 4 == pytest.approx(share)
    if style == "scores_0_1":
        assert (result["judge/th/score_first"], result["judge/th/ratio"]) == (pytest.approx(0.55), pytest.approx(0.2 / 0.55))
    else:
        assert result["judge/unread_rows"] == 1


def test_a_part_that_no_template_has_is_named():
    with pytest.raises(ConfigError, match="instructions"):
        judge_template({"name": "x", "prompt": "y"})
