"""A checkpoint says the same whoever wrote it, and continues the same curve whoever reads it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.strategies.checkpoint_io import CheckpointWriteError
from kinnari.strategies.portable import check_same_groups, check_same_model, check_state_is_portable
from tests.distributed import run_ranks
from tests.kinnari.strategies.conftest import SHARED, TUNINGS
from tests.kinnari.strategies.toy import toy_model, train


@pytest.mark.slow
@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("name", SHARED)
def test_a_file_of_two_ranks_continues_on_one(name: str, tuning: str, single: Any, two_ranks: Any, checkpoints: Path) -> None:
    resumed = train("single", resume=checkpoints / f"{name}-{tuning}.ckpt", **TUNINGS[tuning])
    assert resumed["losses"] == pytest.approx(single[tuning]["losses"][3:], rel=1e-6)
    assert resumed["norms"] == pytest.approx(single[tuning]["norms"][3:], rel=1e-6)
    assert resumed["step"] == 6
    for parameter, value in single[tuning]["weights"].items():
        assert (resumed["weights"][parameter] - value).norm() <= 1e-5 * value.norm(), parameter


@pytest.mark.slow
@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("name", SHARED)
def test_a_file_of_one_process_continues_on_two_ranks(name: str, tuning: str, single: Any, two_ranks: Any) -> None:
    resumed = two_ranks[name, tuning, "resumed from single"]
    assert resumed["losses"] == pytest.approx(single[tuning]["losses"][3:], rel=1e-6)
    for parameter, value in single[tuning]["weights"].items():
        assert (resumed["weights"][parameter] - value).norm() <= 1e-5 * value.norm(), parameter


@pytest.mark.slow
def test_one_process_resumes_with_the_same_bits(single: Any, checkpoints: Path) -> None:
    resumed = train("single", resume=checkpoints / "single-full.ckpt", **TUNINGS["full"])
    assert resumed["losses"] == single["full"]["losses"][3:]
    assert all(torch.equal(resumed["weights"][name], value) for name, value in single["full"]["weights"].items())


@pytest.mark.slow
@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("name", SHARED)
def test_files_of_all_strategies_have_the_same_content(name: str, tuning: str, two_ranks: Any, checkpoints: Path) -> None:
    expected = torch.load(checkpoints / f"single-{tuning}.ckpt", weights_only=True)
    found = torch.load(checkpoints / f"{name}-{tuning}.ckpt", weights_only=True)
    _assert_same(found["state_dict"], expected["state_dict"])
    _assert_same(found["optimizer_states"], expected["optimizer_states"])
    assert found["lr_schedulers"] == expected["lr_schedulers"]
    assert found["global_step"] == expected["global_step"] == 3


def _assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, torch.Tensor):
        assert (found.shape, found.dtype, found.device) == (expected.shape, expected.dtype, expected.device)
        # by norm: AdamW's first steps turn the rounding of a gradient near zero into a difference of single elements
        assert (found - expected).norm() <= 1e-5 * expected.norm()
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            _assert_same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_same(one, other)
    else:
        assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["single", *SHARED])
@pytest.mark.parametrize("tuning", ["lora", "qlora"])
def test_the_file_of_an_adapter_run_holds_adapters_alone(name: str, tuning: str, two_ranks: Any, checkpoints: Path) -> None:
    state_dict = torch.load(checkpoints / f"{name}-{tuning}.ckpt", weights_only=True)["state_dict"]
    assert len(state_dict) == 2 * 2 * 2  # 2 blocks, 2 target layers, A and B
    assert all("lora_" in parameter for parameter in state_dict)


@pytest.mark.slow
def test_the_checkpoint_of_another_tuning_is_refused(single: Any, checkpoints: Path) -> None:
    with pytest.raises(ConfigError, match=r"not in the checkpoint: model\.\S+lora_A.* more; not in this model"):
        train("single", resume=checkpoints / "single-full.ckpt", tuning="lora")


def _save_to(path: str, name: str) -> str:
    try:
        train(name, 2, int(os.environ["RANK"]), save=Path(path))
    except CheckpointWriteError as error:
        return str(error)
    return "saved"


@pytest.mark.slow
def test_all_ranks_learn_that_rank_zero_could_not_write() -> None:
    errors = run_ranks(_save_to, 2, "/proc/none/step=00000003.ckpt", "fsdp")
    assert errors[0] == errors[1] and "was not written" in errors[0]


def _save_after_validation() -> dict[str, tuple[int, ...]]:
    """FSDP2 keeps the root group gathered after a forward without backward: a save must still see shards."""
    from torch.distributed.device_mesh import init_device_mesh

    from kinnari.strategies.fsdp import FullySharded
    from kinnari.strategies.sharding import shard_fsdp2

    torch.distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("data_parallel",))
    model = toy_model()
    whole = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    shard_fsdp2(model, ["LlamaDecoderLayer"], mesh["data_parallel"], "32-true")
    with torch.no_grad():
        model(input_ids=torch.arange(12).reshape(1, 12))
    strategy = FullySharded(data_parallel_size=2, timeout=timedelta(seconds=60))
    strategy._lightning_module = model
    strategy.prepare_parameters()
    for name, parameter in model.named_parameters():
        assert parameter.to_local().numel() < parameter.numel()
        assert torch.equal(strategy.whole_parameter(parameter), whole[name])
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@pytest.mark.slow
def test_fsdp_saves_whole_weights_after_a_forward_without_backward() -> None:
    shapes = run_ranks(_save_after_validation, 2)[0]
    assert shapes == {name: tuple(parameter.shape) for name, parameter in toy_model().named_parameters()}


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3), max_size=8),
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3), max_size=8),
)
def test_a_checkpoint_is_accepted_exactly_when_names_and_shapes_agree(model: dict, saved: dict) -> None:
    shapes = {name: torch.Size([size]) for name, size in model.items()}
    state_dict = {name: torch.zeros(size) for name, size in saved.items()}
    if model == saved:
        check_same_model(shapes, state_dict)
        return
    with pytest.raises(ConfigError) as refusal:
        check_same_model(shapes, state_dict)
    for name in sorted(model.keys() ^ saved.keys())[:1]:
        assert name in str(refusal.value)


def test_other_parameter_groups_are_refused() -> None:
    saved = {"param_groups": [{"params": [0, 1]}, {"params": [2]}]}
    check_same_groups([2, 1], saved)
    with pytest.raises(ConfigError, match=r"\[2, 1\].*\[3\]"):
        check_same_groups([3], saved)


def test_state_of_another_shape_than_its_parameter_is_refused() -> None:
    check_state_is_portable("w", "exp_avg", torch.zeros(4, 3), torch.Size([4, 3]))
    check_state_is_portable("w", "step", torch.tensor(2.0), torch.Size([4, 3]))
    check_state_is_portable("w", "step", 2, torch.Size([4, 3]))
    with pytest.raises(ConfigError, match=r"row_var.*\(4, 1\)"):
        check_state_is_portable("w", "row_var", torch.zeros(4, 1), torch.Size([4, 3]))
