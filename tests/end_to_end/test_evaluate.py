"""task=evaluate from the command's words to its files: the same scores wherever the model lies, however it is asked, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinnari.errors import ConfigError
from kinnari.evaluation.likelihood import scorer as likelihood
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.run import run

TOY = ("callbacks=none", "logger=none", "trainer.precision=32-true", "data.chatterbot.limit=40", "held_out.fraction=0.1", "task.samples=0")
KEYS = {"accuracy", "stderr", "majority", "n", "ci_low", "ci_high", "ties"}
FIELDS = {"benchmark", "id", "subject", "prompt", "candidates", "scores", "scoring", "prediction", "tie", "gold"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Four small benchmarks in their public layouts."""
    folder = tmp_path_factory.mktemp("benchmarks")
    nli = [
        {"sentence1": f"第{i}句", "sentence2": "有人", "label": ("entailment", "neutral", "contradiction", "-")[i % 4]} for i in range(16)
    ]
    news = [{"id": i, "label": str(100 + i % 5), "sentence": f"新闻{i}"} for i in range(10)]
    for name, rows in (
        ("ocnli/dev.json", nli),
        ("tnews/dev.json", news),
        ("tnews/train.json", [{**r, "sentence": f"旧{r['id']}"} for r in news]),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "ceval" / "test").mkdir(parents=True)
    (folder / "ceval" / "test" / "law_test.csv").write_text("id,question,A,B,C,D\n0,q,a,b,c,d\n1,r,a,b,c,d\n")
    (folder / "cmrc2018").mkdir()
    asked = [{"id": str(i), "question": "谁?", "answers": [{"text": "a"}]} for i in range(3)]
    (folder / "cmrc2018" / "cmrc2018_dev.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": "文", "qas": asked}]}]}))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A short run of the toy, with adapter, merged folder and checkpoints."""
    folder = tmp_path_factory.mktemp("sft")
    run(compose(["model=tiny_causal", *TOY, "optimizer.lr=2e-2", "trainer.max_steps=4", f"output_dir={folder}"]))
    return folder


@pytest.fixture
def evaluate(data, tmp_path) -> Any:
    """evaluate(*overrides) -> (result, examples)"""

    def asked(*overrides: str, out: str = "out") -> tuple[dict[str, Any], list[dict[str, Any]]]:
        fixed = ["task=evaluate", f"benchmark.data_dir={data}", f"benchmark.cache_dir={tmp_path}", f"output_dir={tmp_path / out}"]
        run(compose([*fixed, *overrides]))
        examples = (tmp_path / out / "examples.jsonl").read_text("utf-8").splitlines()
        return json.loads((tmp_path / out / "result.json").read_text("utf-8")), [json.loads(line) for line in examples]

    return asked


def scores(examples: list[dict[str, Any]]) -> np.ndarray:
    return np.concatenate([row["scores"] for row in examples])


def test_keys_and_fields_are_the_promised_ones(evaluate, tmp_path):
    result, examples = evaluate("model=tiny_causal", "benchmark=[tnews,ocnli]", "benchmark.limit=6")
    assert {f"{name}/{key}" for name in ("tnews", "ocnli") for key in KEYS} <= result.keys()
    assert result["questions_per_second"] > 0 and (result["tnews/n"], result["ocnli/n"]) == (6, 6)
    assert [row["benchmark"] for row in examples] == ["tnews"] * 6 + ["ocnli"] * 6
    assert all(row.keys() == FIELDS and row["candidates"][row["prediction"]].startswith(row["prompt"]) for row in examples)
    right = np.mean([row["prediction"] == row["gold"] for row in examples[:6]])
    assert result["tnews/accuracy"] == pytest.approx(right)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert summary["tnews"]["how"]["scoring"] == "label" and summary["tnews"]["numbers"]["tnews/n"] == 6


def test_anyone_can_compute_a_score_again_from_what_is_written(evaluate):
    _, examples = evaluate("model=tiny_causal", "benchmark=ocnli", "benchmark.scoring=sequence", "benchmark.limit=2")
    model, tokenizer = build.load_for_inference(compose(["model=tiny_causal", "model.dtype=float32"]))
    for row in examples:
        for text, score in zip(row["candidates"], row["scores"], strict=True):
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            with torch.no_grad():
                logprobs = model(ids).logits[0, :-1].double().log_softmax(-1)
            assert score == pytest.approx(float(logprobs.gather(1, ids[0, 1:, None]).sum()), abs=1e-4)


def test_adapter_folder_checkpoint_run_and_gguf_score_alike(evaluate, trained, tmp_path):
    run(compose(["task=export", f"checkpoint={trained}", "export.format=gguf", "export.gguf=F32", f"output_dir={tmp_path / 'gguf'}"]))
    (gguf,) = (tmp_path / "gguf").rglob("*.gguf")
    (state,) = (trained / "checkpoints").glob("step_*.ckpt")
    ways = {
        "adapter": ("model=tiny_causal", f"model.adapter={trained / 'adapter'}"),
        "folder": ("model=tiny_causal", f"model.path={trained / 'merged'}"),
        "run": (f"checkpoint={trained}",),
        "file": (f"checkpoint={state}",),
        "checkpointed adapter": (f"checkpoint={trained / 'adapter'}",),
        "checkpointed folder": (f"checkpoint={trained / 'merged'}",),
        "gguf": ("model=tiny_causal", f"model.path={gguf}"),
    }  # fmt: skip
    found = {name: evaluate(*way, "benchmark=tnews", "benchmark.limit=4", "benchmark.shots=1")[1] for name, way in ways.items()}
    base = evaluate("model=tiny_causal", "benchmark=tnews", "benchmark.limit=4", "benchmark.shots=1")[1]
    assert np.abs(scores(base) - scores(found["run"])).max() > 1e-2  # training moved them
    for name, examples in found.items():
        assert [row["candidates"] for row in examples] == [row["candidates"] for row in found["run"]], name
        np.testing.assert_allclose(scores(examples), scores(found["run"]), atol=1e-3, err_msg=name)


def test_legacy_follows_system_rs_rule_to_the_end(evaluate):
    result, examples = evaluate("model=tiny_causal", "benchmark=tnews", "benchmark.scoring=legacy")
    model, tokenizer = build.load_for_inference(compose(["model=tiny_causal", "model.dtype=float32"]))
    hits = []
    for row in examples:
        perplexities = []
        for text in row["candidates"]:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            with torch.no_grad():
                losses = torch.nn.functional.cross_entropy(model(ids).logits[0].double(), ids[0], reduction="none")  # not shifted
            perplexities.append(float(losses.mean().exp()))
        assert row["gold"] == 0 and row["prediction"] == int(np.argmin(perplexities))
        np.testing.assert_allclose(row["scores"], -np.log(perplexities), atol=1e-4)
        hits.append(int(np.argmin(perplexities)) == 0)
    assert result["tnews/accuracy"] == pytest.approx(np.mean(hits))


def test_other_families_and_readers(evaluate):
    result, _ = evaluate("model=tiny_seq2seq", "benchmark=[ocnli,cmrc2018]", "benchmark.limit=2", "benchmark.cmrc2018.max_new_tokens=2")
    assert result["ocnli/n"] == 2 and {"cmrc2018/exact_match", "cmrc2018/f1", "cmrc2018/stderr", "cmrc2018/majority"} <= result.keys()
    result, examples = evaluate("model=glm335m", "model.shrunk=true", "benchmark=ocnli", "benchmark.limit=2")
    assert result["ocnli/n"] == 2 and np.isfinite(scores(examples)).all()
    with pytest.raises(ConfigError, match="scoring=legacy"):
        evaluate("model=tiny_seq2seq", "benchmark=ocnli", "benchmark.scoring=legacy")


def test_an_examination_without_answers_leaves_a_file_for_its_site(evaluate, tmp_path):
    result, examples = evaluate("model=tiny_causal", "benchmark=ceval", "benchmark.split=test")
    assert result["ceval/accuracy"] is None and result["ceval/n"] == 2
    letters = json.loads((tmp_path / "out" / "ceval_submission.json").read_text("utf-8"))
    said = [row["candidates"][row["prediction"]][-1] for row in examples]
    assert letters == {"law": dict(zip("01", said, strict=True))} and set(said) <= set("ABCD")


def test_a_chat_is_another_prompt_and_calibration_another_score(evaluate):
    asked = ("model=tiny_causal", "benchmark=ocnli", "benchmark.limit=3")
    plain, chat, fair = (evaluate(*asked, f"benchmark.{how}")[1] for how in ("chat=false", "chat=true", "calibration=prior"))
    assert np.abs(scores(plain) - scores(chat)).min() > 1e-4 and np.abs(scores(plain) - scores(fair)).max() > 1e-4


@pytest.mark.slow
def test_two_ranks_write_what_one_does(evaluate, tmp_path):
    asked = ("model=tiny_causal", "benchmark=[tnews,cmrc2018]", "benchmark.shots=0", "benchmark.cmrc2018.max_new_tokens=2")
    alone, one = evaluate(*asked, "benchmark.cache=false", out="one")
    both, two = evaluate(*asked, "benchmark.cache=false", "hw=cpux2", out="two")
    np.testing.assert_allclose(scores(one[:10]), scores(two[:10]), atol=1e-4)
    assert [row["prediction"] for row in one] == [row["prediction"] for row in two]
    assert {k: v for k, v in alone.items() if "/" in k} == {k: v for k, v in both.items() if "/" in k}


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(evaluate, data, tmp_path, monkeypatch):
    """Killed with some questions answered; the next run asks the model for the others alone."""
    rows = [{"id": i, "label": str(100 + i % 5), "sentence": f"新闻{i}" + "长" * 60} for i in range(800)]
    (tmp_path / "many.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["task=evaluate", "model=tiny_causal", "benchmark=tnews", f"benchmark.data_dir={tmp_path}", "benchmark.tnews.file=many.json",
             f"benchmark.cache_dir={tmp_path}", f"output_dir={tmp_path / 'killed'}"]  # fmt: skip
    process = subprocess.Popen([sys.executable, "launch.py", *words], cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    store = tmp_path / "likelihoods.sqlite"
    deadline = time.monotonic() + 120
    while kept(store) < 100 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = kept(store)
    assert 100 <= before < 4 * len(rows) and not (tmp_path / "killed" / "examples.jsonl").exists()

    asked: list[int] = []
    plain = likelihood.CausalEngine.score
    monkeypatch.setattr(
        likelihood.CausalEngine, "score", lambda self, groups, *rest: asked.extend(map(len, groups)) or plain(self, groups, *rest)
    )
    run(compose(words))
    assert sum(asked) == 4 * len(rows) - before and kept(store) == 4 * len(rows)
    assert len((tmp_path / "killed" / "examples.jsonl").read_text("utf-8").splitlines()) == len(rows)


def kept(store: Path) -> int:
    """Candidates on the disk."""
    import sqlite3

    if not store.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10) as connection:
            (table,) = [name for (name,) in connection.execute("select name from sqlite_master where type='table'")][:1]
            return connection.execute(f"select count(*) from {table}").fetchone()[0]
    except (sqlite3.OperationalError, ValueError):
        return 0


TRAINED = {
    "sft": ("data.chatterbot.limit=40",),
    "dpo": ("data=chatterbot_ranked", "data.chatterbot_ranked.limit=40"),
    "ppo": ("ppo.reward=rule", "ppo/rule=answer_overlap", "data.chatterbot.limit=40", "generation.max_new_tokens=4",
            "ppo.iterations=1"),
}  # fmt: skip


@pytest.mark.parametrize("task", TRAINED)
def test_a_training_is_asked_as_it_goes_and_its_last_scores_are_in_the_result(task, data, tmp_path):
    common = ["model=tiny_causal", "logger=none", "trainer.precision=32-true", "trainer.max_steps=2", "batch.global_size=4",
              "held_out.most=4", "callbacks=benchmarks", "callbacks.benchmarks.every_n_steps=1", "benchmark=tnews", "benchmark.limit=5",
              f"benchmark.data_dir={data}", f"output_dir={tmp_path}"]  # fmt: skip
    run(compose([f"task={task}", *common, *TRAINED[task]]))
    lines = [json.loads(line) for line in (tmp_path / "benchmarks.jsonl").read_text("utf-8").splitlines()]
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert lines[0]["step"] == 0 and lines[-1]["step"] > 0 and {line["benchmark/tnews/n"] for line in lines} == {5}
    assert result["benchmark/tnews/accuracy"] == pytest.approx(lines[-1]["benchmark/tnews/accuracy"])
    assert {"benchmark/tnews/n", "benchmark/tnews/stderr"} <= result.keys()
