"""Every strategy trains the same curve; only started ranks are accepted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from kinnari.errors import ConfigError
from kinnari.strategies.parallel import StartedRanks, build_strategy, cluster_environment
from tests.distributed import run_ranks, start_ranks
from tests.kinnari.strategies.conftest import SHARED, TUNINGS
from tests.kinnari.strategies.toy import Steps, ToySFT, toy_model, train


@pytest.mark.slow
@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("name", SHARED)
def test_two_ranks_train_the_curve_of_one_process(name: str, tuning: str, single: Any, two_ranks: Any) -> None:
    run = two_ranks[name, tuning, "run"]
    assert run["losses"] == pytest.approx(single[tuning]["losses"], rel=1e-6)
    assert run["norms"] == pytest.approx(single[tuning]["norms"], rel=1e-6)
    assert run["step"] == 6
    assert run["weights"].keys() == single[tuning]["weights"].keys()
    for parameter, value in single[tuning]["weights"].items():
        assert (run["weights"][parameter] - value).norm() <= 1e-5 * value.norm(), parameter


@pytest.mark.slow
def test_clipping_acts_in_the_compared_runs(single: Any) -> None:
    for tuning in ("full", "lora"):
        norms = single[tuning]["norms"]
        assert max(norms) > TUNINGS[tuning]["clip"] > min(norms)


def _train_each(names: tuple[str, ...], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    world_size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    return {name: train(name, world_size, rank, **options) for name in names}


@pytest.mark.slow
def test_ddp_ranks_may_have_unequal_numbers_of_micro_batches(one_thread: None) -> None:
    # 8 rows over 3 ranks: 3, 3, 2 rows = 2, 2, 1 micro-batches; equal numbers are a rule of the sharded ones, not of ddp
    one = train("single")
    three = run_ranks(_train_each, 3, ("ddp",), {}, timeout_s=120)[0]["ddp"]
    assert three["losses"] == pytest.approx(one["losses"], rel=1e-6)
    assert three["norms"] == pytest.approx(one["norms"], rel=1e-6)


@pytest.mark.slow
def test_low_precision_stays_near_the_curve_of_float32(one_thread: None) -> None:
    one = train("single")
    for precision, names in {"bf16-mixed": SHARED, "bf16-true": SHARED, "16-mixed": ("ddp", "fsdp")}.items():
        for run in run_ranks(_train_each, 2, names, {"precision": precision}, timeout_s=120)[0].values():
            assert run["losses"] == pytest.approx(one["losses"], rel=3e-3)
            assert run["norms"] == pytest.approx(one["norms"], rel=3e-2)


def _train_with_less_memory() -> list[dict[str, Any]]:
    rank = int(os.environ["RANK"])
    recomputed = [train(name, 2, rank, model=toy_model(recompute=True)) for name in SHARED]
    offloaded = [
        train("deepspeed_zero2", 2, rank, offload_optimizer=True),
        train("deepspeed_zero3", 2, rank, offload_optimizer=True, offload_parameters=True),
    ]
    return recomputed + offloaded


@pytest.mark.slow
def test_recomputed_activations_and_offloading_do_not_change_the_curve(one_thread: None) -> None:
    one = train("single")
    for run in run_ranks(_train_with_less_memory, 2)[0]:
        assert run["losses"] == pytest.approx(one["losses"], rel=1e-6)
        assert run["norms"] == pytest.approx(one["norms"], rel=1e-6)


def _fit_then_validate(name: str, world_size: int, rank: int, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Losses of a fit with validations between its steps, their results, and the last ones from the file alone."""

    def trainer() -> pl.Trainer:
        strategy = build_strategy(name, accelerator="cpu", devices=world_size, precision="32-true", gradient_clip=None, timeout_s=60)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        return pl.Trainer(
            strategy=strategy,
            accelerator="cpu",
            devices=world_size,
            max_epochs=1,
            val_check_interval=2,
            limit_val_batches=2,
            use_distributed_sampler=False,
            **quiet,
        )

    held_out = DataLoader(Steps(0, 1), batch_size=None)
    trained, fresh, fit = ToySFT(toy_model()), ToySFT(toy_model()), trainer()
    fit.fit(trained, DataLoader(Steps(rank, world_size), batch_size=None), held_out)
    fit.save_checkpoint(folder / f"{name}.ckpt")
    trainer().validate(fresh, held_out, ckpt_path=folder / f"{name}.ckpt", verbose=False)
    return trained.losses, trained.validated, fresh.validated


def _fit_and_validate_each(folder: Path) -> list[tuple[list[float], list[float], list[float]]]:
    return [_fit_then_validate(name, 2, int(os.environ["RANK"]), folder) for name in SHARED]


@pytest.mark.slow
def test_validation_disturbs_no_step_and_needs_no_training(one_thread: None, tmp_path: Path) -> None:
    expected = _fit_then_validate("single", 1, 0, tmp_path)
    assert expected[2] == expected[1][-2:]
    for found in run_ranks(_fit_and_validate_each, 2, tmp_path)[0]:
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-5)


def _overflow_on_one_rank() -> tuple[bool, float]:
    """fp16 under FSDP2: rank 1 alone finds an infinite gradient in its shard. Returns: weights kept?, loss scale after."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor

    from kinnari.strategies.sharding import shard_fsdp2

    torch.distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("data_parallel",))
    model = shard_fsdp2(toy_model(), ["LlamaDecoderLayer"], mesh["data_parallel"], "16-mixed")
    optimizer = torch.optim.AdamW(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    tokens = torch.arange(12).reshape(1, 12)
    scaler.scale(model(input_ids=tokens).logits.float().mean()).backward()
    parameter = next(parameter for parameter in model.parameters() if parameter.grad is not None)
    assert isinstance(parameter.grad, DTensor)
    if torch.distributed.get_rank() == 1:
        parameter.grad.to_local()[0] = float("inf")
    before = parameter.detach().to_local().clone()
    scaler.step(optimizer)
    scaler.update()
    return bool((parameter.detach().to_local() == before).all()), scaler.get_scale()


@pytest.mark.slow
def test_fp16_overflow_in_one_shard_skips_the_step_on_all_ranks() -> None:
    assert run_ranks(_overflow_on_one_rank, 2) == [(True, 512.0), (True, 512.0)]


def _die_on_rank_one(name: str) -> float:
    """Rank 1 dies before step 2. Returns: seconds until rank 0 fails."""
    from tests.kinnari.strategies import toy

    rank, began = int(os.environ["RANK"]), [0.0]
    original = toy.micro_batches

    def dying(step: int, rank: int, world_size: int) -> Any:
        if step == 2:
            began[0] = time.monotonic()
            if rank == 1:
                os._exit(3)
        return original(step, rank, world_size)

    toy.micro_batches = dying
    try:
        toy.train(name, 2, rank)
    except RuntimeError:
        return time.monotonic() - began[0]
    raise AssertionError("rank 0 finished although rank 1 is dead")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "deepspeed_zero3"])
def test_a_dead_rank_fails_the_others_within_a_minute(name: str, tmp_path: Path) -> None:
    processes = start_ranks(_die_on_rank_one, 2, tmp_path, (name,))
    for process in processes:
        process.join(100)
        if process.is_alive():
            process.kill()
    assert processes[1].exitcode == 3
    assert processes[0].exitcode == 0, (tmp_path / "0.error").read_text()
    assert torch.load(tmp_path / "0.pt") < 60


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "horovod"}, "deepspeed_zero3"),
        ({"precision": "8-true"}, "bf16-mixed"),
        ({"accelerator": "tpu"}, "cpu or gpu"),
        ({"name": "single", "devices": 2}, "choose ddp"),
        ({"name": "ddp", "devices": 2}, "1 were started"),
        ({"name": "fsdp", "offload_optimizer": True}, "deepspeed_zero2"),
        ({"name": "deepspeed_zero2", "offload_parameters": True}, "deepspeed_zero3"),
        ({"name": "deepspeed_zero2", "precision": "16-mixed"}, "needs a GPU"),
    ],
)
def test_impossible_settings_are_refused_with_a_remedy(changed: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    settings = {"name": "ddp", "accelerator": "cpu", "devices": 1, "precision": "32-true"} | changed
    with pytest.raises(ConfigError, match=words):
        build_strategy(settings.pop("name"), gradient_clip=None, timeout_s=60, **settings)


def test_ranks_started_by_us_win_over_the_scheduler_that_holds_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "sft", "SLURM_NTASKS_PER_NODE": "1"}
    for variable, value in slurm.items():
        monkeypatch.setenv(variable, value)
    ours = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node7", "MASTER_PORT": "29511", "NODE_RANK": "1"}
    for variable, value in ours.items():
        monkeypatch.setenv(variable, value)
    found = cluster_environment()
    assert isinstance(found, StartedRanks)
    assert (found.global_rank(), found.local_rank(), found.node_rank(), found.world_size()) == (3, 1, 1, 4)
    assert (found.main_address, found.main_port) == ("node7", 29511)


def test_srun_alone_gives_the_slurm_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    slurm = {
        "SLURM_NTASKS": "8",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_JOB_NAME": "sft",
        "SLURM_NTASKS_PER_NODE": "4",
    }
    for variable, value in slurm.items():
        monkeypatch.setenv(variable, value)
    found = cluster_environment()
    assert (found.global_rank(), found.local_rank(), found.node_rank(), found.world_size()) == (5, 1, 1, 8)
    assert found.creates_processes_externally
