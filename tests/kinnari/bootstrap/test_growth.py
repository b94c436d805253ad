"""The loop with a scripted generator: what is kept, what is rejected and why, and going on after any end."""

from __future__ import annotations

import json
import zlib
from collections import Counter

import pytest

from kinnari.bootstrap.alpaca import AlpacaStyle
from kinnari.bootstrap.filters import InstructionFilters
from kinnari.bootstrap.growth import Growth, GrowthSettings
from kinnari.bootstrap.journal import Journal
from kinnari.bootstrap.seeds import by_language, read_seed_tasks
from kinnari.completion.completer import Completion, CompletionSettings
from kinnari.errors import ConfigError, RunStopped

SEEDS = read_seed_tasks()
SUBJECTS = [
    "아침",
    "바다",
    "친구",
    "시장",
    "여행",
    "겨울",
    "음식",
    "역사",
    "과학",
    "편지",
    "약속",
    "우정",
    "시간",
    "도시",
    "마을",
    "강물",
    "별빛",
    "노래",
    "운동",
    "건강",
]


class Scripted:
    """A generator that says what `script(prompt)` says, and counts."""

    name = "scripted"

    def __init__(self, script):
        self.script, self.prompts, self.seeds = script, [], []

    def complete(self, prompts, settings, on_progress=lambda done: None):
        self.prompts += prompts
        self.seeds.append(settings.seed)
        return [self.script(prompt) for prompt in prompts]


class Killed(BaseException):
    """Stands for the end of the process."""


def tasks(*instructions, first=4):
    numbered = enumerate(instructions, first)
    text = "###\n".join(f"{n}. Instruction: {text}\n{n}. Input:\n<noinput>\n{n}. Output:\nanswer\n" for n, text in numbered)
    return Completion(text.removeprefix(f"{first}. Instruction:"), "stop")


def varied(prompt):
    """Two tasks that differ from prompt to prompt."""
    number = zlib.crc32(prompt.encode())
    a, b, c, d, e = (SUBJECTS[number // 20**i % 20] for i in range(5))
    return tasks(f"{a}에 관하여 {b}와 {c} 이야기를 써 보세요", f"Compare {number} with {number // 7} and {d} or {e} thoroughly")


def grow(folder, generator, wanted=10, most=30, per_round=2, **settings):
    journal = Journal(folder, {"fixed": True})
    return Growth(
        AlpacaStyle(header="Tasks in {language}:"),
        by_language(SEEDS, 3),
        [seed.instruction for seed in SEEDS],
        InstructionFilters(unwanted_words={"en": ["map"]}),
        generator,
        CompletionSettings(),
        GrowthSettings(num_instructions=wanted, max_requests=most, requests_per_round=per_round, **settings),
        journal,
        folder,
    )


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_as_many_as_were_asked_for_are_kept_in_the_published_layout(tmp_path):
    growth = grow(tmp_path, Scripted(varied))
    seen: list[int] = []
    growth.run(seen.append)
    kept = rows(tmp_path / "instructions.jsonl")
    assert growth.complete and len(kept) == 10 == seen[-1] and seen[0] == 0
    assert set(kept[0]) == {
        "instruction",
        "input",
        "output",
        "most_similar_instructions",
        "avg_similarity_score",
        "request_idx",
        "language",
    }
    assert all(len(row["most_similar_instructions"]) == 10 and max(row["most_similar_instructions"].values()) <= 0.7 for row in kept)
    assert {row["language"] for row in kept} == {"ko", "en"}


def test_every_candidate_is_kept_or_rejected_with_its_reason(tmp_path):
    said = tasks(
        "Compare tea and coffee for me", "Compare tea and coffee for him", "Too short", "Draw me a map please", SEEDS[0].instruction,
        "Name five rivers in Asia", "One too many for this run",
    )  # fmt: skip
    growth = grow(tmp_path, Scripted(lambda prompt: said), wanted=2, per_round=1)
    growth.run()
    assert [row["instruction"] for row in rows(tmp_path / "instructions.jsonl")] == [
        "Compare tea and coffee for me",
        "Name five rivers in Asia",
    ]
    rejected = rows(tmp_path / "rejects.jsonl")
    assert [row["reason"] for row in rejected] == ["similar", "too_short", "unwanted_word", "similar", "not_needed"]
    assert rejected[0]["detail"] == {"to": "Compare tea and coffee for me", "score": pytest.approx(5 / 6)}
    assert rejected[3]["detail"] == {"to": SEEDS[0].instruction, "score": 1.0}


def test_near_copies_in_unspaced_scripts_are_found(tmp_path):
    said = tasks("请写一首关于春天的短诗", "请写一首关于春天的长诗", "อธิบายวิธีทำแกงเขียวหวานให้ฟังหน่อย", "อธิบายวิธีทำแกงเขียวหวานให้ดูหน่อย")
    growth = grow(tmp_path, Scripted(lambda prompt: said), per_round=1, most=1)
    growth.run()
    assert [row["language"] for row in growth.kept] == ["zh", "th"]
    assert [row["reason"] for row in growth.rejected] == ["similar", "similar"]


def test_it_ends_at_max_requests_when_nothing_is_any_good(tmp_path):
    generator = Scripted(lambda prompt: Completion("garbage", "length"))
    growth = grow(tmp_path, generator, most=7, per_round=3)
    growth.run()
    assert (growth.complete, growth.requests, len(generator.prompts)) == (False, 7, 7)
    assert [row["reason"] for row in rows(tmp_path / "rejects.jsonl")] == ["cut"] * 7


def test_an_empty_answer_is_told_of(tmp_path):
    growth = grow(tmp_path, Scripted(lambda prompt: Completion("", "stop")), most=1)
    growth.run()
    assert len(growth.rejected) == 1


def test_a_failed_request_is_rejected_with_its_error_and_the_others_count(tmp_path):
    answers = iter([Completion("", "failed", "status 500"), varied("a"), varied("b"), varied("c")])
    growth = grow(tmp_path, Scripted(lambda prompt: next(answers)), wanted=6)
    growth.run()
    assert growth.complete
    assert {"request_idx": 0, "reason": "request_failed", "text": "", "detail": "status 500"} in rows(tmp_path / "rejects.jsonl")


def test_a_generator_that_is_gone_stops_the_run_and_what_was_kept_stays(tmp_path):
    answers = [varied("a"), varied("b")]
    script = lambda prompt: answers.pop() if answers else Completion("", "failed", "status 401")  # noqa: E731
    generator = Scripted(script)
    with pytest.raises(RunStopped, match="status 401"):
        grow(tmp_path, generator).run()
    assert len(rows(tmp_path / "instructions.jsonl")) == 4
    assert len(generator.prompts) == 2 + 3 * 2


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_killed_run_goes_on_to_the_very_end_it_would_have_had(tmp_path, after):
    whole = Scripted(varied)
    grow(tmp_path / "whole", whole, wanted=20).run()

    def dying(prompt):
        if len(first.prompts) > after * 2:
            raise Killed
        return varied(prompt)

    first = Scripted(dying)
    killed = grow(tmp_path / "killed", first, wanted=20)
    with pytest.raises(Killed):
        killed.run()
    second = Scripted(varied)
    grow(tmp_path / "killed", second, wanted=20).run()
    for name in ("instructions.jsonl", "rejects.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    answered = Counter(first.prompts[: after * 2] + second.prompts)
    assert answered == Counter(whole.prompts)  # nothing that was answered is asked again


def test_half_written_rows_are_made_whole_from_the_journal(tmp_path):
    grow(tmp_path, Scripted(varied), wanted=6).run()
    before = (tmp_path / "instructions.jsonl").read_bytes()
    (tmp_path / "instructions.jsonl").write_bytes(before[:-40])
    (tmp_path / "rejects.jsonl").unlink(missing_ok=True)
    growth = grow(tmp_path, Scripted(varied), wanted=6)
    growth.run()
    assert (tmp_path / "instructions.jsonl").read_bytes() == before
    assert growth.completer.prompts == []


def test_more_can_be_asked_for_later(tmp_path):
    grow(tmp_path, Scripted(varied), wanted=4).run()
    first = (tmp_path / "instructions.jsonl").read_bytes()
    growth = grow(tmp_path, Scripted(varied), wanted=8)
    growth.run()
    assert len(growth.kept) == 8
    assert (tmp_path / "instructions.jsonl").read_bytes().startswith(first)


def test_which_seeds_are_shown_follows_from_the_seed(tmp_path):
    prompts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generator = Scripted(varied)
        grow(tmp_path / name, generator, seed=seed).run()
        prompts.append(generator.prompts)
    assert prompts[0] == prompts[1] != prompts[2]


def test_each_round_samples_with_a_seed_of_its_own(tmp_path):
    generator = Scripted(varied)
    grow(tmp_path, generator, seed=5).run()
    assert generator.seeds[:3] == [5, 7, 9]


@pytest.mark.parametrize("text", ["\ud800" * 20, "\x00" * 50, "a " * 100_000, "4. Instruction:" * 3000, "###" * 5000])
def test_odd_answers_are_rejected_and_written(tmp_path, text):
    growth = grow(tmp_path, Scripted(lambda prompt: Completion(text, "stop")), most=2)
    growth.run()
    assert growth.kept == [] and len(rows(tmp_path / "rejects.jsonl")) >= 2


@pytest.mark.parametrize("name", ["num_instructions", "max_requests", "requests_per_round"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        GrowthSettings(**{"num_instructions": 1, "max_requests": 1, name: 0})
