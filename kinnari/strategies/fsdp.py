"""FSDP2: parameters, gradients and optimizer state sharded over ranks (torch `fully_shard`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from kinnari.strategies.microbatches import GradientRules, all_reduce_gradients
from kinnari.strategies.portable import PortableCheckpoints, check_same_groups, check_state_is_portable, names_by_index


class FullySharded(PortableCheckpoints, GradientRules, ModelParallelStrategy):
    """The module applies `kinnari.strategies.sharding.shard_fsdp2` in `configure_model`, on
    `self.device_mesh["data_parallel"]`.

    Each backward scatters its gradients at once: the memory of a micro-batch is one shard of gradients, not a whole copy.
    """

    averages_gradients = True

    def __init__(self, data_parallel_size: int, timeout: timedelta) -> None:
        super().__init__(
            data_parallel_size=data_parallel_size,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            timeout=timeout,
        )

    def sum_gradients(self, parameters: Sequence[Parameter]) -> None:
        """Averages what no backward has scattered: the gradients of heads that stand beside the sharded model."""
        whole = [parameter for parameter in parameters if not isinstance(parameter.data, DTensor)]
        all_reduce_gradients(whole)
        for parameter in whole:
            if parameter.grad is not None:
                parameter.grad /= self.world_size

    def prepare_parameters(self) -> None:
        # after a forward without backward (validation) the root group still holds gathered, plain parameters
        for module in self.lightning_module.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def whole_parameter(self, parameter: Parameter) -> Tensor:
        return _whole(parameter.detach())

    def place_parameter(self, parameter: Parameter, value: Tensor) -> None:
        whole = parameter.detach()
        if isinstance(whole, DTensor):
            whole.to_local().copy_(_shard(value, parameter).to_local())
        else:
            parameter.copy_(value)

    def whole_optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        names = names_by_index(self.lightning_module, [parameters])
        state_dict = optimizer.state_dict()
        whole: dict[int, dict[str, Any]] = {}
        for index, state in state_dict["state"].items():
            whole[index] = {}
            for key, value in state.items():
                check_state_is_portable(names[index], key, value, parameters[index].shape)
                value = _whole(value)
                if self.is_global_zero:
                    whole[index][key] = value.cpu() if isinstance(value, Tensor) else value
        return {"state": whole, "param_groups": state_dict["param_groups"]}

    def place_optimizer_state(self, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        check_same_groups([len(group["params"]) for group in optimizer.param_groups], state)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        names = names_by_index(self.lightning_module, [parameters])
        sharded: dict[int, dict[str, Any]] = {}
        for index, entries in state["state"].items():
            for key, value in entries.items():
                check_state_is_portable(names[index], key, value, parameters[index].shape)
            sharded[index] = {key: _shard_like(value, parameters[index]) for key, value in entries.items()}
        optimizer.load_state_dict({"state": sharded, "param_groups": state["param_groups"]})


def _whole(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _shard(value: Tensor, like: DTensor) -> DTensor:
    # src_data_rank=None: every rank has read the file, so each cuts its own piece and nothing is sent
    value = value.to(device=like.device, dtype=like.dtype)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def _shard_like(value: Any, parameter: Parameter) -> Any:
    if isinstance(value, Tensor) and value.shape == parameter.shape and isinstance(parameter.data, DTensor):
        return _shard(value, parameter.data)
    return torch.clone(value) if isinstance(value, Tensor) else value
