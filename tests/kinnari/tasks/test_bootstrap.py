"""task=bootstrap from the configuration on: endpoint, toy model, kill -9, both styles."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kinnari.bootstrap.seeds import SHIPPED
from kinnari.errors import ConfigError, RunStopped
from kinnari.tasks.bootstrap import bootstrap
from kinnari.tasks.compose import compose
from kinnari.tasks.run import run
from tests.kinnari.completion.server import Reply, chat_answer, serving, text_answer

ROOT = Path(__file__).resolve().parents[3]
WORDS = ["river", "mountain", "poem", "recipe", "letter", "garden", "robot", "teacher", "ocean", "winter", "market", "lamp"]


def alpaca_text(prompt):
    parts = []
    for number in range(4, 8):
        code = zlib.crc32(f"{prompt}{number}".encode())
        words = " ".join(WORDS[code // 12**i % 12] for i in range(6))
        parts.append(f"{number}. Instruction: Describe {words} {code}\n{number}. Input:\n<noinput>\n{number}. Output:\nfine\n")
    return "###\n".join(parts)


def alpaca_server(number, body):
    return Reply(body=chat_answer(alpaca_text(body["messages"][0]["content"])), delay_s=0.02)


def overrides(url, folder, *more):
    return [
        "task=bootstrap",
        "model=tiny_causal",
        f"bootstrap.generator={url}",
        "bootstrap.generator_model=m",
        f"output_dir={folder}",
        *more,
    ]


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_endpoint_fills_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
    with serving(alpaca_server) as seen:
        run(compose(overrides(seen.url, tmp_path, f"bootstrap.seed_tasks={SHIPPED}", "bootstrap.num_instructions=20")))
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["complete"], result["instructions"], result["rows"]) == ("done", True, 20, 20)
    assert 0 < result["acceptance_rate"] <= 1
    assert len(rows(tmp_path / "instructions.jsonl")) == 20
    assert sum(result["rejected"].values()) == len(rows(tmp_path / "rejects.jsonl"))
    ElementTree.parse(tmp_path / "summary.svg")
    assert {body["max_tokens"] for body in seen.bodies} == {3072} and seen.bodies[0]["stop"] == ["\n20", "20."]
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"sk-secret" in file.read_bytes()]


def test_a_prompt_is_of_one_language_and_names_it(tmp_path):
    with serving(alpaca_server) as seen:
        bootstrap(compose(overrides(seen.url, tmp_path, "bootstrap.languages=[ko,th]", "bootstrap.max_requests=8")))
    prompts = [body["messages"][0]["content"] for body in seen.bodies]
    assert {("written in Korean" in p, "written in Thai" in p) for p in prompts} == {(True, False), (False, True)}


def test_the_toy_model_ends_with_reasons_and_words(tmp_path, caplog):
    settings = ["bootstrap.max_requests=3", "bootstrap.decoding.max_tokens=12", "bootstrap.header=Tasks", "bootstrap.languages=[en]"]
    cfg = compose(["task=bootstrap", "model=tiny_causal", "model.toy.max_position_embeddings=8192", f"output_dir={tmp_path}", *settings])
    result = bootstrap(cfg)
    assert (result["complete"], result["instructions"], result["requests"]) == (False, 0, 3)
    assert sum(result["rejected"].values()) == 3
    assert result["acceptance_rate"] == 0.0
    assert "bootstrap.max_requests=3 is reached with 0 of 100" in caplog.text


def test_the_original_way_through_a_completion_endpoint(tmp_path):
    def script(number, body):
        prompt = body["prompt"]
        if prompt.endswith("Classification?"):
            return Reply(body=text_answer(" No"))
        if prompt.endswith("Example 1"):
            return Reply(body=text_answer("\nInput: a\nOutput: b\nExample 2\nOutput: c\n"))
        code = zlib.crc32(prompt.encode())
        texts = [f"describe the {WORDS[code // 12**i % 12]} of {WORDS[code // 7**i % 12]} {code} {i}" for i in range(3)]
        return Reply(body=text_answer("\n".join(f"{n}. {text}" for n, text in enumerate(texts, 9)).removeprefix("9.")))

    with serving(script) as seen:
        cfg = compose(overrides(seen.url, tmp_path, "bootstrap=self_instruct", "bootstrap.chat=false", "bootstrap.num_instructions=4"))
        result = bootstrap(cfg)
    assert (result["instructions"], result["rows"]) == (4, 8)
    first = seen.bodies[0]
    assert (first["max_tokens"], first["temperature"], first["top_p"], first["presence_penalty"]) == (1024, 0.7, 0.5, 2.0)
    assert first["stop"] == ["\n\n", "\n16", "16.", "16 ."]
    kept = rows(tmp_path / "instructions.jsonl")
    assert {(row["input"], row["output"]) for row in kept} == {("a", "b"), ("", "c")}
    assert all(row["instruction"].startswith("Describe the") for row in kept)


def test_classification_alone_can_be_asked_for(tmp_path):
    seeds = [json.loads(line) for line in SHIPPED.read_text(encoding="utf-8").splitlines()]
    (tmp_path / "s.jsonl").write_text("\n".join(json.dumps({**seed, "language": "en"}) for seed in seeds), encoding="utf-8")
    more = ["bootstrap=self_instruct", "bootstrap.classification_only=true", f"bootstrap.seed_tasks={tmp_path / 's.jsonl'}"]
    with serving(lambda number, body: Reply(body=chat_answer(""))) as seen:
        bootstrap(compose(overrides(seen.url, tmp_path / "out", *more, "bootstrap.max_requests=1")))
    (body,) = seen.bodies
    shown = [line.split(". ", 1)[1] for line in body["messages"][0]["content"].split("\n")[1:-1]]
    assert set(shown) <= {seed["instruction"] for seed in seeds if seed["is_classification"]} and len(shown) == 8


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["bootstrap.seed_tasks=none.jsonl"], "cannot be read"),
        (["bootstrap.num_instructions=0"], "num_instructions=0"),
        (["bootstrap.num_instructions=many"], "num_instructions=many"),
        (["bootstrap.languages=[fr]"], "languages"),
        (["bootstrap.style=other"], "style=other"),
        (["bootstrap.filters.most_similar=2"], "most_similar=2"),
        (["+bootstrap.decoding.beams=4"], "settings of decoding"),
        (["bootstrap=self_instruct", "bootstrap.num_machine=8"], "num_machine=8"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(tmp_path, more, says):
    cfg = compose(overrides("http://127.0.0.1:9/v1", tmp_path, *more))
    with pytest.raises(ConfigError, match=says):
        bootstrap(cfg)


def test_an_endpoint_that_answers_nothing_is_no_success(tmp_path):
    settings = ["bootstrap.max_requests=2", "bootstrap.attempts=1", "bootstrap.timeout_s=2"]
    with pytest.raises(RunStopped, match="answered none of 2 requests"):
        bootstrap(compose(overrides("http://127.0.0.1:9/v1", tmp_path, *settings)))


def test_a_configuration_without_the_section_is_told_what_to_add(tmp_path):
    cfg = compose(["task=bootstrap", f"output_dir={tmp_path}"])
    cfg.bootstrap = None
    with pytest.raises(ConfigError, match="alpaca, self_instruct"):
        bootstrap(cfg)


def test_another_style_in_the_same_folder_is_refused(tmp_path):
    with serving(alpaca_server) as seen:
        bootstrap(compose(overrides(seen.url, tmp_path, "bootstrap.num_instructions=1")))
        with pytest.raises(ConfigError, match="other settings"):
            bootstrap(compose(overrides(seen.url, tmp_path, "bootstrap.num_instructions=1", "bootstrap.num_seeds=2")))


@pytest.mark.slow
def test_a_killed_process_goes_on_with_the_same_command(tmp_path):
    with serving(alpaca_server) as seen:
        given = overrides(seen.url, tmp_path, "bootstrap.num_instructions=100", "bootstrap.requests_per_round=1")
        process = subprocess.Popen([sys.executable, "launch.py", *given], cwd=ROOT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(seen.bodies) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        asked = len(seen.bodies)
        assert 5 <= asked < 20
        result = bootstrap(compose(given))
    assert result["instructions"] == len({row["instruction"] for row in rows(tmp_path / "instructions.jsonl")}) == 100
    prompts = [body["messages"][0]["content"] for body in seen.bodies]
    assert len(prompts) - len(set(prompts)) <= 1  # at most the one under way was asked twice
    assert result["requests"] == len(set(prompts))
