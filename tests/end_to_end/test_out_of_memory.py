"""Out of memory and not-a-number in a step: the step is done again in smaller pieces, or left out; the weights stay right."""

from __future__ import annotations

import pytest
import torch

from tests.end_to_end.faults import nan_gradient, nan_loss, out_of_memory
from tests.end_to_end.forked import finish, same, write_rows

STEPS = 6
KINDS = {
    "single": ("strategy=full",),
    "ddp": ("strategy=full", "hw=cpux2", "strategy/parallel=ddp"),
    "fsdp": ("strategy=full", "hw=cpux2", "strategy/parallel=fsdp"),
    "zero3": ("strategy=full", "hw=cpux2", "strategy/parallel=deepspeed_zero3"),
    "zero2": ("strategy=full", "hw=cpux2", "strategy/parallel=deepspeed_zero2"),
}
LAST_RANK = {"single": 0, "ddp": 1, "fsdp": 1, "zero3": 1, "zero2": 1}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    rows = write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")
    every = ("checkpoint.every_n_steps=1", "checkpoint.keep=9", "packing=none", "batch.global_size=8", "batch.micro_size=4")
    return (f"data.alpaca.path={rows}", f"trainer.max_steps={STEPS}", *every)


@pytest.fixture(scope="module")
def reference(settings, tmp_path_factory):
    return finish(tmp_path_factory.mktemp("reference") / "run", *settings, *KINDS["single"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "ddp", "fsdp"])
def test_a_step_without_memory_is_done_again_with_half_the_rows(settings, reference, tmp_path, kind):
    """On one rank alone, from the third step on; ddp ranks agree within the step, sharded ones start again from a checkpoint."""
    run = finish(tmp_path / "run", *settings, *KINDS[kind], prepare=out_of_memory, arguments=(2, 2, LAST_RANK[kind]))
    assert run.result()["loss_curve"] == pytest.approx(reference.result()["loss_curve"], rel=1e-4)
    assert run.result()["val/loss"] == pytest.approx(reference.result()["val/loss"], rel=1e-4)
    said = "starting again from the last checkpoint with batch.micro_size=2" if kind == "fsdp" else "micro-batches halved to 2 rows"
    assert run.text().count(said) == 1


@pytest.mark.parametrize("kind", ["single", "ddp", "fsdp"])
def test_a_row_that_does_not_fit_is_told_in_one_paragraph(settings, tmp_path, kind):
    small = () if kind != "fsdp" else ("batch.micro_size=1",)
    run = finish(tmp_path / "run", *settings, *KINDS[kind], *small, status=2, prepare=out_of_memory, arguments=(0, 0, LAST_RANK[kind]))
    assert "Out of memory" in run.text() and "model.max_length" in run.text().replace("\n", " ")
    assert "Traceback" not in run.text()
    assert "Out of memory" in run.result()["error"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_whose_loss_is_not_a_number_moves_no_weight(settings, tmp_path, kind):
    run = finish(tmp_path / "run", *settings, *KINDS[kind], prepare=nan_loss, arguments=(2, 2, LAST_RANK[kind]))
    before, after, end = (run.checkpoint(step) for step in (2, 3, STEPS))
    assert same(after["state_dict"], before["state_dict"])
    assert all(torch.isfinite(value).all() for value in end["state_dict"].values())
    assert not same(end["state_dict"], after["state_dict"])
    moments = [value for state in end["optimizer_states"][0]["state"].values() for value in state.values()]
    assert moments and all(torch.isfinite(torch.as_tensor(value)).all() for value in moments)
    assert "step 3: the loss is not finite" in run.text()


@pytest.mark.parametrize("kind", ["single", "ddp"])
def test_a_loss_that_stays_not_a_number_ends_the_run_with_the_record_ids(settings, tmp_path, kind):
    run = finish(
        tmp_path / "run", *settings, *KINDS[kind], "trainer.nan_patience=2", status=1, prepare=nan_loss, arguments=(2, 9, LAST_RANK[kind])
    )
    text = " ".join(run.text().split())
    assert "The loss was not finite in 2 steps running; the last was step 4 with the records alpaca:" in text
    assert "Traceback" not in text
    assert run.result()["status"] == "failed"
    assert same(run.checkpoint(max(run.steps_saved()))["state_dict"], run.checkpoint(2)["state_dict"])


def test_a_gradient_that_is_not_a_number_moves_no_weight(settings, tmp_path):
    run = finish(tmp_path / "run", *settings, *KINDS["single"], prepare=nan_gradient, arguments=(2,))
    assert same(run.checkpoint(3)["state_dict"], run.checkpoint(2)["state_dict"])
    assert "step 3: the gradient is not finite" in run.text()
    assert all(torch.isfinite(value).all() for value in run.checkpoint(STEPS)["state_dict"].values())
