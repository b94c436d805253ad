"""Which parameters FSDP2 gathers together, and what it refuses. One process is a mesh of one rank."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from kinnari.errors import ConfigError
from kinnari.strategies.ports import find_free_port
from kinnari.strategies.sharding import mixed_precision_policy, shard_fsdp2
from tests.kinnari.strategies.toy import toy_model

BLOCK = "LlamaDecoderLayer"


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceMesh]:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_port())}
    for variable, value in variables.items():
        monkeypatch.setitem(os.environ, variable, value)
    torch.distributed.init_process_group("gloo")
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_every_block_and_the_root_become_groups(mesh: DeviceMesh) -> None:
    model = shard_fsdp2(toy_model(), [BLOCK], mesh, "32-true")
    groups = [name for name, module in model.named_modules() if isinstance(module, FSDPModule)]
    assert groups == ["", "model.layers.0", "model.layers.1"]
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())


def test_tied_embeddings_stay_one_parameter(mesh: DeviceMesh) -> None:
    model = shard_fsdp2(toy_model(tied=True), [BLOCK], mesh, "32-true")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_model_without_such_blocks_is_refused_with_the_classes_it_has(mesh: DeviceMesh) -> None:
    with pytest.raises(ConfigError, match=r"GPT2Block.*LlamaDecoderLayer"):
        shard_fsdp2(toy_model(), ["GPT2Block"], mesh, "32-true")


def test_trainable_parameters_of_two_dtypes_are_refused(mesh: DeviceMesh) -> None:
    model = toy_model()
    model.lm_head.to(torch.bfloat16)
    with pytest.raises(ConfigError, match=r"torch\.bfloat16, torch\.float32"):
        shard_fsdp2(model, [BLOCK], mesh, "32-true")


def test_a_frozen_16_bit_base_under_float32_adapters_is_taken(mesh: DeviceMesh) -> None:
    model = shard_fsdp2(toy_model("lora", base_dtype=torch.bfloat16), [BLOCK], mesh, "bf16-mixed")
    loss = model(input_ids=torch.arange(12).reshape(1, 12)).logits.float().mean()
    loss.backward()
    gradients = {parameter.grad.dtype for parameter in model.parameters() if parameter.requires_grad}
    assert gradients == {torch.float32}


def test_packed_weights_that_a_cast_would_destroy_are_refused(mesh: DeviceMesh) -> None:
    with pytest.raises(ConfigError, match="bnb_4bit_quant_storage=bfloat16"):
        shard_fsdp2(toy_model("qlora", base_dtype=torch.float32), [BLOCK], mesh, "bf16-mixed")


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-mixed"])
def test_gradients_are_reduced_in_float32(precision: str) -> None:
    assert mixed_precision_policy(precision).reduce_dtype == torch.float32


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"16-true.*32-true"):
        mixed_precision_policy("16-true")
