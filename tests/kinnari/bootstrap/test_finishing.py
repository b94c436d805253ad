"""From instructions to rows with inputs and outputs, with a scripted generator."""

from __future__ import annotations

import json

import pytest

from kinnari.bootstrap.candidates import Candidate
from kinnari.bootstrap.filters import InstructionFilters
from kinnari.bootstrap.finishing import Finishing, InstanceSettings
from kinnari.bootstrap.growth import Growth, GrowthSettings
from kinnari.bootstrap.journal import Journal
from kinnari.bootstrap.seeds import by_language, read_seed_tasks
from kinnari.bootstrap.self_instruct import SelfInstructStyle
from kinnari.completion.completer import Completion, CompletionSettings
from kinnari.errors import RunStopped

SEEDS = read_seed_tasks()
ENGLISH = [
    "Name three rivers in Asia",
    "Is the animal a bird or a fish?",
    "Describe the taste of fresh bread",
    "Repeat exactly what is said",
]
SETTINGS = InstanceSettings(
    classification_header="C", generation_header="G", labels_header="L", classification_decoding=CompletionSettings(max_tokens=3),
    generation_decoding=CompletionSettings(max_tokens=350), labels_decoding=CompletionSettings(max_tokens=300),
)  # fmt: skip


class Scripted:
    name = "scripted"

    def __init__(self, failing=lambda prompt: False):
        self.prompts, self.failing = [], failing

    def complete(self, prompts, settings, on_progress=lambda done: None):
        self.prompts += prompts
        return [Completion("", "failed", "status 500") if self.failing(p) else Completion(self.say(p, settings), "stop") for p in prompts]

    def say(self, prompt, settings):
        task = prompt.rsplit("Task: ", 1)[-1].split("\n")[0]
        if settings.max_tokens == 1024:
            return "\n".join(f"{number}. {text}" for number, text in enumerate(ENGLISH, 9))
        if settings.max_tokens == 3:
            return " Yes" if "bird" in task else " No"
        if settings.max_tokens == 300:
            return " bird\nInput: sparrow\nClass label: fish\nInput: herring\nClass label: fish\nInput: herring\n"
        if "Repeat" in task:
            return "\nInput: hello\nOutput: hello\n"
        return f"\nOutput: about {task}\nExample 2\nInput: more\nOutput: longer, about {task}\n"


def growth_of(folder, generator):
    style = SelfInstructStyle(header="S")
    decoding, journal = CompletionSettings(max_tokens=1024), Journal(folder, {})
    settings = GrowthSettings(num_instructions=4, max_requests=5, requests_per_round=2)
    groups = by_language(SEEDS, 8, ["en"])
    return Growth(style, groups, [], InstructionFilters(), generator, decoding, settings, journal, folder, whole_rows=False)


def run(folder, generator):
    growth = growth_of(folder, generator)
    growth.run()
    return Finishing(growth, SEEDS, SETTINGS).run()


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_instances_become_rows(tmp_path):
    written = run(tmp_path, Scripted())
    assert rows(tmp_path / "instructions.jsonl") == written
    assert {Candidate(r["instruction"], r["input"], r["output"]) for r in written} == {
        Candidate(ENGLISH[0], "", f"about {ENGLISH[0]}"), Candidate(ENGLISH[0], "more", f"longer, about {ENGLISH[0]}"),
        Candidate(ENGLISH[1], "sparrow", "bird"), Candidate(ENGLISH[1], "herring", "fish"),
        Candidate(ENGLISH[2], "", f"about {ENGLISH[2]}"), Candidate(ENGLISH[2], "more", f"longer, about {ENGLISH[2]}"),
    }  # fmt: skip
    assert {r["instruction"] for r in written if r["is_classification"]} == {ENGLISH[1]}
    assert all("most_similar_instructions" in r and "request_idx" in r and r["language"] == "en" for r in written)
    reasons = [row["reason"] for row in rows(tmp_path / "rejects.jsonl")]
    assert sorted(set(reasons) - {"similar", "not_needed"}) == ["instance_duplicate", "instance_output_is_input", "no_instance"]


def test_no_row_without_an_output_is_ever_in_the_file(tmp_path):
    growth = growth_of(tmp_path, Scripted())
    growth.run()
    assert len(growth.kept) == 4
    assert not (tmp_path / "instructions.jsonl").exists()


def test_seeds_of_the_instructions_language_are_shown_first(tmp_path):
    generator = Scripted()
    run(tmp_path, generator)
    prompt = next(p for p in generator.prompts if p.startswith("G"))
    assert "Rewrite the sentence in the past tense." in prompt and "Class label:" not in prompt
    assert next(p for p in generator.prompts if p.startswith("L")).count("Class label:") > 4


def test_a_second_run_asks_nothing_and_writes_the_same(tmp_path):
    run(tmp_path, Scripted())
    before = [(tmp_path / name).read_bytes() for name in ("instructions.jsonl", "rejects.jsonl")]
    again = Scripted()
    run(tmp_path, again)
    assert again.prompts == []
    assert [(tmp_path / name).read_bytes() for name in ("instructions.jsonl", "rejects.jsonl")] == before


def test_questions_that_failed_are_asked_again_by_the_next_run(tmp_path):
    run(tmp_path, Scripted(lambda prompt: prompt.startswith("G") and "bread" in prompt.rsplit("Task: ", 1)[-1]))
    assert {"request_failed"} <= {row["reason"] for row in rows(tmp_path / "rejects.jsonl")}
    again = Scripted()
    written = run(tmp_path, again)
    assert len(again.prompts) == 1 and len(written) == 6
    assert "request_failed" not in {row["reason"] for row in rows(tmp_path / "rejects.jsonl")}


def test_a_generator_that_is_gone_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("kinnari.bootstrap.finishing.FRUITLESS_ROUNDS", 2)
    with pytest.raises(RunStopped, match="status 500"):
        run(tmp_path, Scripted(lambda prompt: prompt.startswith("C")))
    assert len(run(tmp_path, Scripted())) == 6
