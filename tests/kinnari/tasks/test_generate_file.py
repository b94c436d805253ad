"""task=generate with a file: the same rows come back with the answers in a column more."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks import answering
from kinnari.tasks.compose import compose
from kinnari.tasks.generate import generate

ZBENCH_HUB = ["编号", "Prompt", "GPT - 3.5 答案评分", "GPT - 3.5", "GPT - 4 答案评分", "GPT - 4", "文心一言答案评分", "文心一言（0317）",
              "参考回答", "任务类型"]  # fmt: skip
ZBENCH = ["Prompt", "任务类型", "参考回答", "GPT3.5", "GPT4"]


def run(source: Path, *options: str) -> dict[str, Any]:
    folder = source.parent
    return generate(
        compose(["task=generate", "model=tiny_causal", "generation.max_new_tokens=4", f"generate.input={source}",
                 f"output_dir={folder}/run", f"generate.cache_file={folder}/answers.sqlite", *options])
    )  # fmt: skip


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def test_rows_keep_their_order_and_columns_and_get_an_answer(tmp_path: Path) -> None:
    source = write_csv(
        tmp_path / "in.csv", ["lang", "prompt"], [["th", "แมวกินอะไร\nและทำไม"], ["en", "Hi, there?"], ["th", "a much longer question " * 5]]
    )
    result = run(source)
    rows = rows_of(result["output"])
    assert [list(row) for row in rows] == [["lang", "prompt", "tiny_causal"]] * 3
    assert [row["prompt"][:3] for row in rows] == ["แมว", "Hi,", "a m"]
    alone = generate(compose(["task=generate", "model=tiny_causal", "generation.max_new_tokens=4", 'task.prompts=["Hi, there?"]']))
    assert rows[1]["tiny_causal"] == alone["answers"][0]["answer"]
    assert (result["rows"], result["answered"], result["failed"]) == (3, 3, 0)


def test_in_z_bench_as_published_with_numbers_answers_stand_before_the_last_two_columns(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "basic.csv", ZBENCH_HUB, [["1", "谁是蝙蝠侠", "正确", "a", "正确", "b", "错误", "c", "", "事实问答"]])
    first = run(source, "generate.answer_column=llama", "generate.grade_column=true")
    assert list(rows_of(first["output"])[0]) == [*ZBENCH_HUB[:8], "llama 答案评分", "llama", *ZBENCH_HUB[8:]]
    second = run(Path(first["output"]), "generate.answer_column=bloomz")
    assert list(rows_of(second["output"])[0])[-4:] == ["llama", "bloomz", "参考回答", "任务类型"]


def test_in_the_other_layout_of_z_bench_answers_stand_last(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "common.csv", ZBENCH, [["谁是蝙蝠侠", "`事实问答`", "", "a", "b"]])
    assert list(rows_of(run(source, "generate.answer_column=llama")["output"])[0]) == [*ZBENCH, "llama"]
    inserted = run(source, "generate.answer_column=llama", "generate.insert_before=GPT4")
    assert list(rows_of(inserted["output"])[0]) == [*ZBENCH[:4], "llama", "GPT4"]


def test_what_cannot_be_answered_says_why_in_its_row(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["prompt"], [["good"], ["x" * 5000], [" "]])
    result = run(source)
    rows = rows_of(result["output"])
    assert result["failed"] == 2 and result["answered"] == 1
    assert rows[0]["tiny_causal_error"] == "" and rows[0]["tiny_causal"]
    assert "tokens" in rows[1]["tiny_causal_error"] and rows[1]["tiny_causal"] == ""
    assert rows[2]["tiny_causal_error"] == "the question is empty"


def test_lines_and_json_come_in_too(tmp_path: Path) -> None:
    lines = tmp_path / "in.txt"
    lines.write_text("one\n\ntwo\n", encoding="utf-8")
    assert [row["prompt"] for row in rows_of(run(lines)["output"])] == ["one", "two"]
    listed = tmp_path / "in.json"
    listed.write_text(
        json.dumps([{"instruction": "Add", "input": "1 2", "n": 3}, {"instruction": "Say", "input": "", "n": None}]), encoding="utf-8"
    )
    result = run(listed, "generate.context_column=input")
    rows = [json.loads(line) for line in Path(result["output"]).read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["instruction", "input", "n", "tiny_causal"]] * 2
    alone = generate(compose(["task=generate", "model=tiny_causal", "generation.max_new_tokens=4", 'task.prompts=["Add\\n1 2"]']))
    assert rows[0]["tiny_causal"] == alone["answers"][0]["answer"] and rows[1]["n"] is None


def test_after_a_kill_only_the_rest_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_csv(tmp_path / "in.csv", ["prompt"], [[f"question {i}"] for i in range(10)] + [["question 3"]])
    asked: list[int] = []
    real = answering.sampler.generate

    def counting(model: Any, tokenizer: Any, prompts: Any, *rest: Any, **options: Any) -> Any:
        if sum(asked) >= 4:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return real(model, tokenizer, prompts, *rest, **options)

    monkeypatch.setattr(answering.sampler, "generate", counting)
    with pytest.raises(KeyboardInterrupt):
        run(source, "generation.batch_size=1")
    assert asked == [4]
    monkeypatch.setattr(
        answering.sampler, "generate", lambda m, t, prompts, *r, **o: asked.append(len(prompts)) or real(m, t, prompts, *r, **o)
    )
    result = run(source, "generation.batch_size=1")
    assert sum(asked) == 10 and result["answered"] == 11
    before = Path(result["output"]).read_bytes()
    assert Path(run(source, "generation.batch_size=1")["output"]).read_bytes() == before and sum(asked) == 10
    run(source, "generation.batch_size=1", "generation.max_new_tokens=5")
    assert sum(asked) == 20  # other settings, other answers


def test_questions_too_many_for_memory_are_asked_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    source = write_csv(tmp_path / "in.csv", ["prompt"], [["one"], ["two"], ["three three"]])
    whole = rows_of(run(source, "generate.cache=false")["output"])
    real = answering.sampler.generate

    def short_of_memory(model: Any, tokenizer: Any, prompts: Any, *rest: Any, **options: Any) -> Any:
        if len(prompts) > 1 or len(prompts[0]) > 30:
            raise torch.OutOfMemoryError("no memory")
        return real(model, tokenizer, prompts, *rest, **options)

    monkeypatch.setattr(answering.sampler, "generate", short_of_memory)
    result = run(source, "generate.cache=false")
    rows = rows_of(result["output"])
    errors = [row.get("tiny_causal_error", "") for row in rows]
    assert result["failed"] == sum("out of memory" in error for error in errors)
    assert all(row["tiny_causal"] == before["tiny_causal"] for row, before, error in zip(rows, whole, errors, strict=True) if not error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["generate.prompt_column=nothing"], "no column 'nothing'"),
        (["generate.answer_column=lang"], "has a column 'lang' already"),
        (["generate.insert_before=nothing"], "insert_before=nothing is no column"),
        (["generate.context_column=nothing"], "context_column=nothing is in no row"),
        (["generate.limit=0"], "limit=0 must be a whole number of at least 1"),
        (["generate.output=out.xlsx"], "must end in .csv, .tsv or .jsonl"),
        (["generate.output={source}"], "is generate.input too"),
    ],
)
def test_mistakes_are_named_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.setattr(answering.build, "load_for_inference", lambda cfg: pytest.fail("the model was loaded"))
    source = write_csv(tmp_path / "in.csv", ["lang", "prompt"], [["th", "a"]])
    with pytest.raises(ConfigError, match=message):
        run(source, *[option.format(source=source) for option in options])


def test_a_file_without_a_column_that_looks_like_prompts_asks_for_its_name(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["a", "b"], [["1", "2"]])
    with pytest.raises(ConfigError, match=r"generate\.prompt_column is not set, and no column looks like prompts: the file has 'a', 'b'"):
        run(source)
