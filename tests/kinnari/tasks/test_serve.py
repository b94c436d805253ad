"""task=serve as a user starts it, and what it refuses before weights are read."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.serve import _listed, _warn_of_open_doors, address_of, bound, check_settings, is_loopback, serve

ROOT = Path(__file__).resolve().parents[3]
TINY = ["task=serve", "model=tiny_causal", "strategy=lora", "trainer.precision=32-true", "generation.max_new_tokens=8"]
KEY = "the-key-of-a-test"


def settings(*overrides: str):
    return compose([*TINY, *overrides])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen, Path]]:
    """Two models, a page and a key."""
    folder = tmp_path_factory.mktemp("serve")
    log = folder / "log"
    words = [*TINY, "serve.port=0", "serve.name=first", "serve.other.model=tiny_seq2seq", f"output_dir={folder}"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "launch.py", *words], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
            env=os.environ | {"KINNARI_API_KEY": KEY},
        )  # fmt: skip
    end = time.monotonic() + 300
    while not (found := re.search(r"API (http://\S+)/v1", log.read_text())) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
    assert found, log.read_text()
    yield found[1], process, folder
    if process.poll() is None:
        process.kill()
        process.wait()


def test_both_models_are_served_by_name(server) -> None:
    address, _, _ = server
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["first", "tiny_seq2seq"]
        for name in ("first", "tiny_seq2seq"):
            got = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hi"}], seed=1, max_tokens=4)
            assert 0 < got.usage.completion_tokens <= 4


def test_the_last_line_says_what_to_open(server) -> None:
    address, _, folder = server
    last = (folder / "log").read_text().splitlines()[-1]
    assert last.endswith(f"Ready: chat page {address}  API {address}/v1 (model first, tiny_seq2seq). Ctrl-C ends it.")


def test_the_page_is_mounted_and_behind_the_key(server) -> None:
    address, _, _ = server
    assert httpx2.get(address).status_code == 401
    page = httpx2.get(address, auth=("me", KEY))
    assert page.status_code == 200 and "text/html" in page.headers["content-type"]


def test_the_key_is_in_no_file(server) -> None:
    _, _, folder = server
    assert all(KEY not in path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_a_signal_ends_it_in_order_in_the_midst_of_an_answer(server) -> None:
    address, process, folder = server
    body = {"model": "first", "prompt": "a", "max_tokens": 2000, "min_tokens": 2000, "stream": True, "temperature": 0}
    with httpx2.stream("POST", f"{address}/v1/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        process.send_signal(signal.SIGTERM)
        last = [line for line in lines if line][-1]  # nothing is cut: the answer ends in time, or it is told that the server does
    assert last == "data: [DONE]" or "first was shut down" in last
    assert process.wait(60) == 0
    assert "Traceback" not in (folder / "log").read_text()
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["models"]) == ("done", ["first", "tiny_seq2seq"])
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{address}/v1/models")


def test_a_port_that_is_taken_is_told_before_weights_are_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"serve.port={port} cannot be used"):
            serve(settings(f"serve.port={port}"))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"serve.host=192.0.2.1"):
        bound("192.0.2.1", 0)
    with pytest.raises(ConfigError, match="no address of this machine"):
        bound("no.such.host.invalid", 0)


def test_the_address_is_one_to_write_into_a_browser() -> None:
    with bound("0.0.0.0", 0) as everywhere:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address_of(everywhere))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("serve.port=-1", "serve.port=-1"), ("serve.port=70000", "no port"), ("serve.max_running=0", "max_running=0"),
        ("serve.timeout_s=0", "timeout_s=0"), ("serve.max_tokens=many", "max_tokens=many"), ("serve.history=-1", "history=-1"),
        ("generation.temperature=0", "temperature=0"), ("serve.timeout_s=inf", "timeout_s=inf"), ("serve.timeout_s=nan", "timeout_s=nan"),
        ("serve.cache_tokens=1", "cache_tokens=1"), ("serve.language=fr", "serve.language=fr"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(settings(override))


def test_an_open_door_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _warn_of_open_doors("127.0.0.1", "", "A")
        _warn_of_open_doors("0.0.0.0", "key", "A")
        assert not caplog.records
        _warn_of_open_doors("0.0.0.0", "", "A")
    assert "environment variable A" in caplog.text


@pytest.mark.parametrize("name", ["tiny_causal", "serve.name"])
def test_two_models_of_one_name_are_refused_before_weights_are_read(name: str) -> None:
    same = [f"serve.name={name}", f"serve.other.name={name}"] if name == "serve.name" else [f"serve.other.name={name}"]
    with pytest.raises(ConfigError, match="Name them apart"):
        serve(settings("serve.other.model=tiny_seq2seq", "serve.port=0", *same))


def test_a_guard_without_an_encoder_is_told_before_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinnari.tasks.serve.engine", lambda *args, **limits: pytest.fail("weights were read"))
    with pytest.raises(Exception, match=r"guard\.model is not set"):
        serve(settings("guard=topics", "serve.port=0"))


def test_one_model_has_a_name_that_does_not_change_from_run_to_run() -> None:
    adapted = settings("model.adapter=runs/2026-01-01/adapter")
    assert _listed(adapted, ["tiny_causal+2026-01-01"]) == ["tiny_causal"]
    assert _listed(settings("serve.name=mine"), ["mine"]) == ["mine"]
    assert _listed(adapted, ["tiny_causal+2026-01-01", "base"]) == ["tiny_causal+2026-01-01", "base"]


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False)]
)
def test_loopback_is_known(host: str, local: bool) -> None:
    assert is_loopback(host) == local
