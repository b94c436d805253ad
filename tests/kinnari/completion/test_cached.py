"""Nothing is asked twice, whatever ended the first time."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from kinnari.completion.cached import GIVE_UP_AFTER, NOT_STORED, CachedCompleter
from kinnari.completion.completer import Completion, CompletionSettings
from kinnari.completion.cost import Spent
from kinnari.completion.endpoint import EndpointCompleter
from kinnari.completion.retrying import Backoff
from kinnari.text.content_store import ContentStore
from kinnari.text.conversation import Message
from tests.kinnari.completion.server import Reply, chat_answer, serving

SETTINGS = CompletionSettings(temperature=0.0, max_tokens=8)
AT_ONCE = Backoff(attempts=3, first_s=0.0, longest_s=0.2)


class Echo:
    """Answers in capitals; fails where a prompt says so."""

    name = "echo"

    def __init__(self):
        self.asked, self.calls = [], 0

    def complete(self, prompts, settings, on_progress=lambda done: None):
        self.asked += prompts
        self.calls += 1
        return [Completion("", "failed", "no") if "fail" in str(p) else Completion(str(p).upper(), "length", None, 3, 2) for p in prompts]


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "replies.sqlite")


def test_a_second_run_asks_nothing_and_says_the_same(store):
    first = CachedCompleter(Echo(), store, "echo")
    found = first.complete(["a", "b", "a"], SETTINGS)
    echo = Echo()
    second = CachedCompleter(echo, store, "echo")
    assert second.complete(["b", "a"], SETTINGS) == [found[1], found[0]] and echo.asked == []
    assert found == [Completion(t, "length", None, 3, 2) for t in "ABA"]
    assert (first.asked, first.stored) == (Spent(2, 0, 6, 4), Spent())
    assert (second.asked, second.stored) == (Spent(), Spent(2, 0, 6, 4))


@pytest.mark.parametrize(
    ("maker", "settings", "prompt"),
    [("other", SETTINGS, "a"), ("echo", dataclasses.replace(SETTINGS, temperature=0.2), "a"), ("echo", SETTINGS, "b"),
     ("echo", SETTINGS, (Message("user", "a"),)), ("echo", dataclasses.replace(SETTINGS, max_tokens=9), "a")],
)  # fmt: skip
def test_another_judge_setting_or_request_is_asked(store, maker, settings, prompt):
    CachedCompleter(Echo(), store, "echo").complete(["a"], SETTINGS)
    echo = Echo()
    CachedCompleter(echo, store, maker).complete([prompt], settings)
    assert len(echo.asked) == 1


def test_a_failure_is_not_kept(store):
    echo = Echo()
    cached = CachedCompleter(echo, store, "echo")
    assert cached.complete(["fail", "ok"], SETTINGS)[0].error == "no"
    cached.complete(["fail", "ok"], SETTINGS)
    assert echo.asked == ["fail", "ok", "fail"] and cached.asked.failed == 2


def test_a_replay_asks_nobody_and_says_what_is_missing(store):
    CachedCompleter(Echo(), store, "echo").complete(["a"], SETTINGS)
    there, missing = CachedCompleter(None, store, "echo").complete(["a", "b"], SETTINGS)
    assert there.text == "A" and (missing.error, missing.finish_reason) == (NOT_STORED, "failed")


def test_chunks_are_handed_over_together_and_progress_counts_all(store):
    echo, told = Echo(), []
    CachedCompleter(echo, store, "echo").complete(["0"], SETTINGS)
    CachedCompleter(echo, store, "echo", chunk=2).complete([str(i) for i in range(6)], SETTINGS, told.append)
    assert echo.calls == 1 + 3 and told == [1, 3, 5, 6]


def test_chunks_hold_prompts_of_like_length_and_results_keep_their_order(store):
    echo = Echo()
    prompts = ["a", "b" * 30, "cc", "d" * 31]
    found = CachedCompleter(echo, store, "echo", chunk=2).complete(prompts, SETTINGS)
    assert echo.asked == ["d" * 31, "b" * 30, "cc", "a"] and [one.text for one in found] == [p.upper() for p in prompts]


def test_who_never_answers_is_not_asked_a_thousand_times(store):
    echo = Echo()
    found = CachedCompleter(echo, store, "echo").complete([f"fail {i}" for i in range(100)], SETTINGS)
    assert len(echo.asked) == GIVE_UP_AFTER and found[-1].error.startswith(f"not asked after {GIVE_UP_AFTER} failures; the last: no")


def test_failures_after_a_success_stop_nothing(store):
    echo = Echo()
    CachedCompleter(echo, store, "echo").complete(["ok", *(f"fail {i}" for i in range(50)), "ok too"], SETTINGS)
    assert len(echo.asked) == 52


def test_an_endpoint_that_stumbles_is_asked_again_and_what_it_said_is_kept(store):
    """A timeout, a 429 that says how long to wait, broken json, an answer without choices: then the reply."""
    trouble = [Reply(body=chat_answer("late"), delay_s=1.0), Reply(429, "slow down", {"retry-after": "0.1"}), Reply(body='{"choices": [{'),
               Reply(body={"choices": []})]  # fmt: skip
    seen_prompts: dict[str, int] = {}
    lock = threading.Lock()

    def script(number, body):
        prompt = body["messages"][0]["content"]
        with lock:
            seen_prompts[prompt] = seen_prompts.get(prompt, 0) + 1
            first = seen_prompts[prompt] == 1
        return (
            trouble[int(prompt)]
            if first
            else Reply(body=chat_answer(f"reply {prompt}") | {"usage": {"prompt_tokens": 11, "completion_tokens": 2}})
        )

    with serving(script) as seen:
        endpoint = EndpointCompleter(seen.url, "m", timeout_s=0.4, parallel=4, backoff=AT_ONCE)
        cached = CachedCompleter(endpoint, store, endpoint.name, workers=4)
        found = cached.complete([str(i) for i in range(4)], SETTINGS)
        again = CachedCompleter(endpoint, store, endpoint.name).complete([str(i) for i in range(4)], SETTINGS)
    assert [one.text for one in found] == [f"reply {i}" for i in range(4)] == [one.text for one in again]
    assert seen_prompts == {str(i): 2 for i in range(4)}
    assert cached.asked == Spent(4, 0, 44, 8)


CHILD = """
import sys
from kinnari.completion.cached import CachedCompleter
from kinnari.completion.completer import CompletionSettings
from kinnari.completion.endpoint import EndpointCompleter
from kinnari.text.content_store import ContentStore
endpoint = EndpointCompleter(sys.argv[1], "m", parallel=2)
cached = CachedCompleter(endpoint, ContentStore(sys.argv[2]), "m", workers=2)
cached.complete([str(i) for i in range(30)], CompletionSettings())
"""


def test_after_a_kill_only_replies_under_way_are_asked_for_again(tmp_path):
    key = "sk-kinnari-test-0123456789abcdef"
    file = tmp_path / "replies.sqlite"
    with serving(lambda number, body: Reply(body=chat_answer(body["messages"][0]["content"]), delay_s=0.02)) as seen:
        command = [sys.executable, "-c", CHILD, seen.url, str(file)]
        child = subprocess.Popen(command, env=os.environ | {"OPENAI_API_KEY": key})
        while len(seen.bodies) < 10 and child.poll() is None:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        before = len(seen.bodies)
        kept = len(ContentStore(file).find(list(_keys(file))))
        subprocess.run(command, check=True, env=os.environ | {"OPENAI_API_KEY": key})
        subprocess.run(command, check=True, env=os.environ | {"OPENAI_API_KEY": key})
    assert 10 <= before < 30 and before - kept <= 2  # two were under way
    assert len(seen.bodies) == before + 30 - kept
    assert seen.keys[0] == f"Bearer {key}" and all(key.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def _keys(file):
    import sqlite3

    with sqlite3.connect(file) as database:
        yield from (key for (key,) in database.execute("SELECT key FROM entries"))
