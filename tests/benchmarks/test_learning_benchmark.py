"""The curves of learning are read from what runs leave behind, and errors are those of seeds; whether PPO learns is for people to read."""

import importlib.util
import json
import statistics
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "learning.py"


@pytest.fixture(scope="module")
def learning():
    spec = importlib.util.spec_from_file_location("learning", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["learning"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def left_behind(folder: Path, scores: list[list[float]], before: float, after: float) -> None:
    """What task=ppo writes: a line for each answer, iteration by iteration, and its result."""
    folder.mkdir(parents=True)
    rows = [
        {"iteration": i, "record_id": f"r:{s}", "score": s, "kl": i / 2, "tokens": 10 - i} for i, part in enumerate(scores) for s in part
    ]
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {"reward_before": before, "reward_after": after, "reward_gain_se": 0.25, "reward_sign_p": 0.01}
    (folder / "result.json").write_text(json.dumps({"status": "done", "seconds": 60.0, **{f"ppo/{k}": v for k, v in told.items()}}))


def test_a_run_and_a_chain_are_read_alike(learning, tmp_path):
    left_behind(tmp_path / "rule-1", [[0.0, 1.0], [1.0, 3.0]], 0.5, 1.5)
    left_behind(tmp_path / "stages" / "ppo-01", [[0.0, 1.0], [1.0, 3.0]], 0.5, 1.5)
    (tmp_path / "model-1").mkdir()
    sampled = {"reward_sft": 0.25, "reward_ppo": 0.75, "reward_gain_se": 0.125, "reward_sign_p": 0.02}
    stage = {"name": "ppo", "folder": str(tmp_path / "stages" / "ppo-01")}
    (tmp_path / "model-1" / "result.json").write_text(json.dumps({"status": "done", "stages": [stage], **sampled}))

    run, chain = (learning.read(tmp_path, task, 1) for task in ("rule", "model"))
    assert run.score == [0.5, 2.0] and run.error == [0.5, 1.0] and run.kl == [0.0, 0.5] and run.tokens == [10, 9]
    assert chain.score == run.score and run.held_out == {"greedy": learning.Gain(0.5, 1.5, 0.25, 0.01)}
    assert chain.held_out == run.held_out | {"sampled": learning.Gain(0.25, 0.75, 0.125, 0.02)}
    assert learning.table([chain]).splitlines()[-1].startswith("| **model** | 1 seeds | sampled | 0.250 | 0.750 | +0.500 ± 0.125 |")


def test_answers_to_one_prompt_count_once_in_an_error(learning):
    rows = [{"record_id": name, "score": score} for name, scores in {"a": (0.0, 1.0), "b": (1.0, 4.0)}.items() for score in scores]
    assert learning.standard_error(rows) == 1.0  # means 0.5 and 2.5


def test_the_error_of_a_task_is_that_of_its_seeds(learning, tmp_path):
    for seed, after in ((1, 1.0), (2, 1.5), (3, 2.0)):
        left_behind(tmp_path / f"rule-{seed}", [[0.0, 1.0], [1.0, 3.0]], 0.5, after)
    runs = [learning.read(tmp_path, "rule", seed) for seed in (1, 2, 3)]
    found = learning.summary(runs)

    assert found["gain"] == 1.0 and found["gain_se"] == pytest.approx(statistics.stdev([0.5, 1.0, 1.5]) / 3**0.5)
    assert learning.summary(runs[:1])["gain_se"] == 0.25  # of its prompts
    lines = learning.table(runs).splitlines()
    assert len(lines) == 2 + 3 + 1 and len({line.count("|") for line in lines}) == 1
    assert "| **rule** | 3 seeds | greedy | 0.500 | 1.500 | +1.000 ± 0.289 |" in lines[-1]


def test_what_is_done_is_not_done_again(learning, tmp_path, monkeypatch):
    left_behind(tmp_path / "rule-1", [[0.0, 1.0]], 0.5, 1.5)
    monkeypatch.setattr(learning.subprocess, "run", lambda *words, **how: (_ for _ in ()).throw(AssertionError("ran again")))
    arguments = learning._parser().parse_args(["--runs", str(tmp_path)])
    learning.do(arguments, "rule", 1)
    with pytest.raises(AssertionError, match="ran again"):
        learning.do(arguments, "rule", 2)


def test_a_picture_is_drawn(learning, tmp_path):
    left_behind(tmp_path / "rule-1", [[0.0, 1.0], [1.0, 3.0]], 0.5, 1.5)
    learning.draw([learning.read(tmp_path, "rule", 1)], tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    assert "seed 1" in text and "KL, nats an answer" in text
