"""task=prepare: its files, its numbers, and training that starts from what it made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.prepare import prepare
from kinnari.tasks.run import run

ROWS = [
    {"instruction": "Say hello in Thai", "input": "", "output": "สวัสดีครับ"},
    {"instruction": "인사해 주세요", "input": "", "output": "안녕하세요"},
    {"instruction": "Repeat", "input": "", "output": "x" * 300},
    {"instruction": "y" * 300, "input": "", "output": "dropped"},
    {"instruction": "No answer", "input": "", "output": ""},
    {"instruction": "Say hello in Thai", "input": "", "output": "สวัสดีครับ"},
    *({"instruction": f"Count to {i}", "input": "slowly", "output": " ".join(map(str, range(i)))} for i in range(2, 12)),
]


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    data = ["data=[alpaca]", f"data.alpaca.path={tmp_path / 'rows.jsonl'}", "data.alpaca.language=''", "data.alpaca.licence=MIT"]
    sizes = ["model=tiny_causal", "model.max_length=200", "held_out.fraction=0.2", "cleaning=default"]
    return [*data, *sizes, f"preparation.cache_dir={tmp_path / 'cache'}"]


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_counts_of_every_step_and_language(settings: list[str], tmp_path: Path) -> None:
    run(compose(["task=prepare", *settings, f"output_dir={tmp_path / 'out'}", "task.conversations=true"]))

    result = result_of(tmp_path / "out")
    assert result["rows_read"] == 16 and result["rows_kept"] == 13
    assert {step: n for step, n in result["rows_rejected"].items() if n} == {"read": 1, "exact_duplicates": 1, "tokenise": 1}
    assert result["rows_read"] == result["rows_kept"] + sum(result["rows_rejected"].values())
    assert result["train"] + result["held_out"] == 13 and result["cut"] == 1 and 0 < result["trained_tokens"] < result["tokens"]
    assert result["seconds"] > 0

    card = json.loads((tmp_path / "out" / "data_card.json").read_text(encoding="utf-8"))
    assert card["records_by_language"]["alpaca"].items() >= {"th": 1, "ko": 1}.items()
    assert card["sources"]["alpaca"]["removed"]["exact_duplicates"] == {"th": 1} and card["sources"]["alpaca"]["licence"] == "MIT"
    assert len(card["sources"]["alpaca"]["files"][0]["sha256"]) == 64
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert steps == ["read", "exact_duplicates", "tokenise"]
    text = (tmp_path / "out" / "data_card.md").read_text(encoding="utf-8")
    assert (
        "exact_duplicates" in text
        and "token_lengths.svg" in text
        and (tmp_path / "out" / "token_lengths.svg").read_text().startswith("<svg")
    )
    rows = [json.loads(line) for line in (tmp_path / "out" / "conversations.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 14 and {row["split"] for row in rows} == {"train", "held_out"}
    assert rows[0]["messages"][1] == {"role": "assistant", "content": "สวัสดีครับ"}


def test_datasets_opens_the_tokens(settings: list[str], tmp_path: Path) -> None:
    cfg = compose(["task=prepare", *settings, f"output_dir={tmp_path / 'out'}"])
    result = prepare(cfg)

    found = datasets.load_from_disk(str(tmp_path / "out" / "tokens"))
    assert {name: len(rows) for name, rows in found.items()} == {"train": result["train"], "held_out": result["held_out"]}
    data = build.datamodule(cfg, build.tokenizer(cfg))
    data.setup()
    row = found["train"][3]
    ids, trained = data.train_records[3]
    assert row["input_ids"] == ids.tolist() and row["record_id"] == data.train_records.record_ids[3] and row["source"] == "alpaca"
    assert row["labels"] == [i if t else -100 for i, t in zip(ids.tolist(), trained.tolist(), strict=True)]


def test_training_starts_from_what_was_prepared(settings: list[str], tmp_path: Path) -> None:
    run(compose(["task=prepare", *settings, f"output_dir={tmp_path / 'prepared'}"]))
    sft = compose(["task=sft", *settings, f"output_dir={tmp_path / 'sft'}"])

    data = build.datamodule(sft, build.tokenizer(sft))
    data.setup()
    assert data.prepared.found and len(data.train_records) == result_of(tmp_path / "prepared")["train"]
    assert not result_of(tmp_path / "prepared")["found_in_cache"]


def test_without_a_cache_nothing_is_kept(settings: list[str], tmp_path: Path) -> None:
    prepare(compose(["task=prepare", *settings, "preparation.cache=false", f"output_dir={tmp_path / 'out'}"]))
    assert not (tmp_path / "cache").exists() and (tmp_path / "out" / "tokens").is_dir()


def test_pairs_of_ranked_answers(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Question {i}{i}{i}?", "answers": [{"answer": f"good {i}", "score": 2}, {"answer": f"bad {i}", "score": 1}]}
        for i in range(9)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = ["data=scored_answers", f"data.scored_answers.path={tmp_path / 'rows.jsonl'}", "model=tiny_causal"]

    run(compose(["task=prepare", "task.rows=pairs", *source, "held_out.fraction=0.25", f"output_dir={tmp_path / 'out'}"]))

    result = result_of(tmp_path / "out")
    assert (result["train_pairs"], result["held_out_pairs"]) == (7, 2)
    lines = [json.loads(line) for line in (tmp_path / "out" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(line["chosen"].startswith("good") and line["rejected"].startswith("bad") for line in lines)
    assert "scored_answers" in (tmp_path / "out" / "data_card.md").read_text(encoding="utf-8")


def test_near_copies_of_a_prompt_are_on_one_side_unless_it_is_switched_off(tmp_path: Path) -> None:
    topics = ["volcanoes of Java", "rice noodles", "train lines in Busan", "poems about rain", "tea ceremonies", "violin strings"]
    prompts = [
        f"Please tell me in a few sentences what you know about {t}{end}" for t in topics for end in (" today.", " today!!", " todayy")
    ]
    answers = [{"answer": "good", "score": 2}, {"answer": "bad", "score": 1}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"prompt": p, "answers": answers}) + "\n" for p in prompts), encoding="utf-8")
    source = ["data=scored_answers", f"data.scored_answers.path={tmp_path / 'rows.jsonl'}", "model=tiny_causal"]

    def topics_of(file: Path) -> set[str]:
        return {t for t in topics for line in file.read_text(encoding="utf-8").splitlines() if t in line}

    shared = {}
    for setting in ("auto", "null"):
        out = tmp_path / setting
        settings = ["held_out.fraction=0.4", f"held_out.near_duplicates={setting}", f"output_dir={out}"]
        run(compose(["task=prepare", "task.rows=pairs", *source, *settings]))
        shared[setting] = topics_of(out / "pairs.jsonl") & topics_of(out / "held_out_pairs.jsonl")
    assert shared["auto"] == set() and shared["null"] != set()
