"""task=dpo: what the reference says is computed once, by all ranks together, and read by every later run on the same weights and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from kinnari.tasks.dpo import dpo
from tests.distributed import run_ranks
from tests.end_to_end.test_ppo import DPO, TUNINGS, run

KEPT = ("loss_curve", "val/loss", "val/reward_accuracy", "reference_computed")
PARALLELS = ("ddp", "fsdp", "deepspeed_zero2", "deepspeed_zero3")


def measured(*words: str) -> dict:
    result = run(dpo, [*DPO, *words])
    return {key: result[key] for key in KEPT}


def all_measured(runs: Sequence[Sequence[str]]) -> list[dict]:
    return [measured(*words) for words in runs]


def own(folder: Path) -> str:
    return f"preparation.cache_dir={folder}"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("first")
    return folder, measured(TUNINGS["lora"], own(folder))


def test_the_second_run_reads_what_the_first_computed(first):
    folder, before = first
    (kept,) = (folder / "reference").rglob("rank_0.jsonl")

    assert before["reference_computed"] == len(kept.read_text("utf-8").splitlines()) > 20
    assert measured(TUNINGS["lora"], own(folder)) == before | {"reference_computed": 0}
    assert measured(TUNINGS["lora"], own(folder), "task.beta=0.5")["reference_computed"] == 0  # as does another setting of the loss


def test_other_weights_or_pairs_are_computed_anew(first):
    folder, before = first
    assert measured(TUNINGS["lora"], own(folder), "task.construction=all")["reference_computed"] > 0
    assert measured(TUNINGS["lora"], own(folder), "seed=7")["reference_computed"] > 0  # a toy's weights are drawn with it
    assert measured(TUNINGS["lora"], own(folder)) == before | {"reference_computed": 0}


@pytest.mark.parametrize("word", ["task.precompute_reference=false", "preparation.cache=false"])
def test_it_is_the_same_run_without_the_file(first, tmp_path, word):
    found = measured(TUNINGS["lora"], own(tmp_path), word)

    assert found["reference_computed"] > 0 and not (tmp_path / "reference").exists()
    assert found["loss_curve"] == pytest.approx(first[1]["loss_curve"], abs=1e-6)
    assert found["val/loss"] == pytest.approx(first[1]["val/loss"], abs=1e-6)


def test_only_the_pairs_of_planned_steps_are_asked_about(first, tmp_path):
    assert measured(TUNINGS["lora"], own(tmp_path), "trainer.max_steps=1")["reference_computed"] < first[1]["reference_computed"]


def test_what_is_left_of_a_torn_file_is_used(first, tmp_path):
    source = next((first[0] / "reference").rglob("rank_0.jsonl"))
    torn = tmp_path / source.relative_to(first[0])
    torn.parent.mkdir(parents=True)
    lines = source.read_bytes().splitlines(keepends=True)
    torn.write_bytes(b"".join(lines[:7]) + lines[7][:10])

    found = measured(TUNINGS["lora"], own(tmp_path))
    assert found["reference_computed"] == len(lines) - 7
    assert found["loss_curve"] == pytest.approx(first[1]["loss_curve"], abs=1e-6)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    folder = tmp_path_factory.mktemp("ranks")
    runs = [[TUNINGS["lora"], f"strategy/parallel={p}", "hw=cpux2", own(folder / p)] for p in PARALLELS for _ in range(2)]
    ranks = run_ranks(all_measured, 2, runs, timeout_s=300)
    return {p: [ranks[rank][2 * i + again] for again in (0, 1) for rank in (0, 1)] for i, p in enumerate(PARALLELS)}


@pytest.mark.parametrize("parallel", PARALLELS)
def test_ranks_share_the_work_and_learn_what_one_process_learns(first, two_ranks, parallel):
    *computed, read_0, read_1 = two_ranks[parallel]
    whole = first[1]

    for result in (*computed, read_0, read_1):
        assert result["loss_curve"] == pytest.approx(whole["loss_curve"], abs=2e-5)
        assert result["val/loss"] == pytest.approx(whole["val/loss"], abs=2e-5)
    shares = [result["reference_computed"] for result in computed]
    assert min(shares) > 0 and whole["reference_computed"] <= sum(shares) <= whole["reference_computed"] + 2  # one may repeat a batch
    assert read_0["reference_computed"] == read_1["reference_computed"] == 0
