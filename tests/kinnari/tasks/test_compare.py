"""Which of two models' answers are better: counts worked by hand."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.rollouts.rollout import Rollout
from kinnari.tasks.compare import compare, counted, gained, side_by_side, told, with_model
from kinnari.tasks.compose import compose
from kinnari.text.conversation import Message
from kinnari.text.prompts import Prompt


def answer(text: str, score: float, finished: bool = True) -> Rollout:
    prompt = Prompt((Message("user", "why?"),), [1, 2], "r1", "because")
    return Rollout(prompt, list(range(len(text))), text, finished, score)


def test_equal_answers_are_a_tie_whatever_rounding_made_of_their_scores():
    assert side_by_side(answer("same", 1.0), answer("same", 1.0000001))["better"] == "tie"
    assert side_by_side(answer("one", 1.0), answer("two", 1.0))["better"] == "tie"
    assert side_by_side(answer("one", 1.0), answer("two", 1.1))["better"] == "after"
    assert side_by_side(answer("one", 1.0), answer("two", 0.9))["better"] == "before"


def test_a_tie_is_half_a_win():
    lines = [{"better": side} for side in ("after", "after", "tie", "before", "tie")]
    assert counted(lines) == {"win_rate": 0.6, "wins": 2, "ties": 2, "losses": 1}
    assert counted([{"judge": "before"}], "judge", "judge_")["judge_win_rate"] == 0.0


def test_a_gain_that_shorter_answers_explain_is_told_from_one_they_do_not():
    longer = answer("abcdef", 0.0)
    shorter = [side_by_side(longer, answer("a" * n, (6 - n) / 2)) for n in (1, 2, 3, 4, 5)]  # half a point a token saved
    found = gained(shorter)
    assert found["reward_gain"] == 1.5 and found["reward_gain_low"] > 0 and found["reward_sign_p"] == 0.0625
    assert found["reward_gain_at_equal_length"] == pytest.approx(0.0, abs=1e-9)
    better = gained([line | {"score_after": line["score_after"] + 2} for line in shorter])
    assert better["reward_gain_at_equal_length"] == pytest.approx(2.0)


def test_means_of_a_model():
    assert told([answer("abcd", 1.0), answer("ab", 2.0, finished=False)]) == {"reward": 1.5, "response_tokens": 3.0, "eos_rate": 0.5}


def test_a_folder_is_an_adapter_or_a_whole_model(tmp_path):
    cfg = compose(["model=tiny_causal"])
    with pytest.raises(ConfigError, match=r"neither adapter_config\.json nor config\.json"):
        with_model(cfg, str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    whole = with_model(cfg, str(tmp_path))
    assert whole.model.path == str(tmp_path) and whole.model.toy is None and whole.model.adapter is None
    (tmp_path / "adapter_config.json").write_text("{}")
    adapted = with_model(cfg, str(tmp_path))
    assert adapted.model.adapter == str(tmp_path) and adapted.model.toy is not None
    assert with_model(cfg, None) is cfg and cfg.model.adapter is None


def test_two_models_and_a_reward_model_are_needed():
    with pytest.raises(ConfigError, match=r"task\.after=DIR, and a reward model"):
        compare(compose(["task=compare", "model=tiny_causal"]))
