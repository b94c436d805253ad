"""The end of a chain in the terminal."""

from kinnari.tasks.rlhf_table import print_chain

STAGES = [
    {"name": "sft", "status": "cached", "seconds": 86.9, "metrics": {"val/loss_before": 2.466, "val/loss_after": 2.061}},
    {"name": "reward", "status": "done", "seconds": 152.2, "metrics": {"val/reward_accuracy": 0.706}},
    {"name": "ppo", "status": "done", "seconds": 1516.5, "metrics": {"ppo/reward_before": None, "ppo/kl": 6.24}},
    {"name": "evaluation", "status": "done", "seconds": 99.7, "metrics": {"win_rate": 0.593}},
]
RESULT = {
    "stages": STAGES, "prompts": 91, "wins": 53, "ties": 2, "losses": 36, "reward_sft": 0.5216, "reward_ppo": 0.5932,
    "response_tokens_sft": 11.1, "response_tokens_ppo": 13.03, "eos_rate_sft": 0.868, "eos_rate_ppo": 0.791,
    "reward_gain": 0.0716, "reward_gain_low": -0.0486, "reward_gain_high": 0.1876, "reward_sign_p": 0.0893,
    "samples": [{"prompt": "[/INST] why", "before": "so :fire:", "after": "[x]", "score_before": 0.5, "score_after": 0.75}],
}  # fmt: skip


def test_the_stages_the_gain_and_how_sure_it_is_are_shown(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    print_chain(RESULT)
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("held-out loss before 2.466, after 2.061", "right order 0.706", "1,516", "cached", "0.522", "0.593", "79%",
                 "gain +0.072 (95 % -0.049 to +0.188); PPO is better 53 times, equal 2, worse 36, sign test p 0.089",
                 "[/INST] why", ":fire:", "(0.75)"):  # fmt: skip
        assert text in shown, text
    assert "greedy answers before" not in shown  # nothing was held out there


def test_a_gain_that_cannot_be_told_leaves_the_counts(capsys):
    print_chain(RESULT | {"reward_gain": None, "reward_gain_low": None, "reward_sign_p": None, "samples": []})
    assert "PPO is better 53 times, equal 2, worse 36" in " ".join(capsys.readouterr().out.split())
