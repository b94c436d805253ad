"""The page of a chain: self-contained, and text of models stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from kinnari.tasks.rlhf_page import page

STAGES = [
    {"name": name, "folder": f"/runs/{name}-0123", "status": status, "seconds": 61.5, "metrics": metrics, "command": "python launch.py <x>"}
    for name, status, metrics in (
        ("sft", "cached", {"val/loss_before": 2.5, "val/loss_after": 2.25, "steps": 40}),
        ("reward", "cached", {"val/reward_accuracy": 0.8125}),
        ("ppo", "done", {"ppo/reward_before": 0.5, "ppo/reward_after": 1.0, "ppo/kl": None}),
        ("evaluation", "done", {"win_rate": 0.75}),
    )
]
TOLD = {
    "temperature": None,
    "win_rate": 0.75, "wins": 1, "ties": 1, "losses": 0, "prompts": 2, "judge_win_rate": None,
    "reward_before": 0.5, "reward_after": 1.0, "response_tokens_before": 8.0, "response_tokens_after": 9.0, "eos_rate_before": 0.0,
    "eos_rate_after": 1.0, "reward_gain": 0.25, "reward_gain_low": 0.0, "reward_gain_high": 0.5, "reward_sign_p": 1.0,
    "reward_gain_at_equal_length": None,
    "samples": [
        {"prompt": "<script>alert(1)</script>", "reference": "a & b", "before": "old\x07", "after": "<b>new</b>", "score_before": 0.5,
         "score_after": 1.0, "better": "after"},
        {"prompt": "สวัสดี", "reference": "r", "before": "same", "after": "same", "score_before": 1.0, "score_after": 1.0, "better": "tie"},
    ],
}  # fmt: skip
RESULTS = {"evaluation": TOLD, "ppo": {"curves": {"score": [0.0, 1.0, 0.5], "kl": [0.1], "entropy": [1.0, None, 3.0]}}}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_the_page_is_whole_and_asks_the_network_for_nothing():
    html = page(STAGES, RESULTS)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {name for name, _ in tags.seen} & {"script", "img", "link", "iframe", "a", "b"}
    assert not re.search(r"https?:|url\(|src=", html)


def test_what_models_and_data_say_stays_text():
    html = page(STAGES, RESULTS)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "&lt;b&gt;new&lt;/b&gt;" in html and "a &amp; b" in html
    assert "old\u2407" in html and "python launch.py &lt;x&gt;" in html and "สวัสดี" in html


def test_numbers_and_the_winner_are_told():
    html = page(STAGES, RESULTS)
    assert "PPO wins 75% of 2 held-out prompts against SFT (1 wins, 1 ties, 0 losses; mean score 0.500 before, 1.000 after)" in html
    assert "accuracy on held-out pairs 0.812" in html and "ppo-0123" in html
    assert html.count('class="better"') == 1


def test_a_curve_spans_its_box_and_one_point_is_no_curve():
    html = page(STAGES, RESULTS)
    lines = re.findall(r'points="([^"]*)"', html)
    assert lines == ["8.0,112.0 130.0,8.0 252.0,60.0", "8.0,112.0 252.0,8.0"]


def test_the_page_says_how_the_answers_were_made():
    assert "Greedy answers to held-out prompts" in page(STAGES, RESULTS)
    sampled = page(STAGES, RESULTS | {"evaluation": TOLD | {"temperature": 0.7}})
    assert "Answers sampled at temperature 0.7 to held-out prompts" in sampled and "Greedy" not in sampled.split("<h2>")[1]


def test_a_judges_count_is_shown_where_one_was_asked():
    judged = TOLD | {"judge_win_rate": 0.5, "judge_wins": 1, "judge_ties": 0, "judge_losses": 1, "judge_unread": 3, "judge_model": "j<1>"}
    html = page(STAGES, RESULTS | {"evaluation": judged})
    assert "judged by j&lt;1&gt;" in html and "replies that name no answer" in html


def test_the_page_says_whether_chance_or_length_would_do():
    assert "0.250 (95 % interval 0.000 to 0.500), which chance explains; sign test p = 1." in page(STAGES, RESULTS)
    surely = {"reward_gain_low": 0.125, "reward_sign_p": 0.012}
    at_equal_length = {f"reward_gain_at_equal_length{end}": value for end, value in (("", 0.0), ("_low", -0.5), ("_high", 0.5))}
    html = page(STAGES, RESULTS | {"evaluation": TOLD | surely | at_equal_length})
    assert "beyond what chance explains; sign test p = 0.012." in html
    assert "Where both answers are equally long it is 0.000 (95 % interval -0.500 to 0.500)." in html
