"""Whole tensors in and out of DeepSpeed's flat, sharded float32 masters and optimizer state (ZeRO 1, 2 and 3).

Per parameter group (ZeRO-1 and 2) or sub-group (ZeRO-3) the optimizer sees one flat float32 tensor, this rank's share of all its
parameters; the optimizer's state lies flat beside it. Read against deepspeed 0.19.8: `runtime/zero/stage_1_and_2.py`,
`runtime/zero/stage3.py`, `utils/tensor_fragment.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from kinnari.strategies.portable import check_state_is_portable


class ZeroState:
    """View of a `DeepSpeedZeroOptimizer` (stages 1 and 2) or `DeepSpeedZeroOptimizer_Stage3` by whole parameters.

    Args:
        zero: DeepSpeed's optimizer.
        groups: the model's parameters as they were given to the user's optimizer, group by group.
    """

    def __init__(self, zero: Any, groups: list[list[Parameter]]) -> None:
        from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3

        self.zero = zero
        self.groups = groups
        self.is_stage_3 = isinstance(zero, DeepSpeedZeroOptimizer_Stage3)

    def whole_master(self, parameter: Parameter) -> Tensor:
        """The whole float32 tensor the optimizer updates. Collective."""
        from deepspeed.utils import safe_get_full_fp32_param

        return safe_get_full_fp32_param(parameter)

    def place_master(self, parameter: Parameter, value: Tensor) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

        if self.is_stage_3:
            safe_set_local_fp32_param(parameter, self._share(parameter, value))
        else:
            safe_set_full_fp32_param(parameter, value)

    def refresh_weights(self) -> None:
        """Copy the float32 masters into the weights the model computes with, on all ranks. Collective."""
        if not self.is_stage_3:
            self.zero.update_lp_params()
            return
        self.zero._partition_all_parameters()
        for index in range(len(self.zero.fp16_groups)):
            self.zero._reassign_or_swap_out_partitioned_parameters(index)
        if self.zero.persistent_parameters:
            # small parameters stay gathered between steps: they must be gathered again
            self.zero.persistent_parameters[0].all_gather(self.zero.persistent_parameters)

    def whole_optimizer_state(self, names: list[str], keep: bool) -> dict[str, Any]:
        """torch's integer-indexed optimizer state dict. Collective; tensors are kept (on the CPU) only where `keep`."""
        self._link_states()
        state: dict[int, dict[str, Any]] = {}
        for index, (group_index, parameter) in enumerate(self._indexed()):
            flat = self._flat(group_index, parameter)
            for key, value in self.zero.optimizer.state.get(flat, {}).items():
                check_state_is_portable(names[index], key, value, flat.shape)
                whole = self._whole_state(parameter, key) if _is_sharded(value, flat) else _as_scalar(value)
                if keep:
                    state.setdefault(index, {})[key] = whole.to("cpu", copy=True)
        return {"state": state, "param_groups": self._param_groups()}

    def place_optimizer_state(self, names: list[str], state: Mapping[str, Any]) -> None:
        """The inverse of `whole_optimizer_state`; every rank holds the whole `state` (CPU)."""
        for group, saved in zip(self.zero.optimizer.param_groups, state["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})
        indexed = list(enumerate(self._indexed()))
        for index, (group_index, parameter) in indexed:
            self._make_room(self._flat(group_index, parameter), state["state"].get(index, {}), parameter, names[index])
        self._link_states()
        for index, (_, parameter) in indexed:
            for key, value in state["state"].get(index, {}).items():
                if isinstance(value, Tensor) and value.dim() > 0:
                    self._place_state(parameter, key, value)

    def _link_states(self) -> None:
        """ZeRO-1 and 2: views of each parameter into the flat state, which `safe_get_full_optimizer_state` reads.

        DeepSpeed makes them once, after the step of the first parameter group, when the other groups have no state yet
        (0.19.8): make them again.
        """
        if not self.is_stage_3 and self.zero.optimizer.state:
            self.zero._hp_optimizer_states_linked = False
            self.zero._lazy_init_hp_params_optimizer_state()

    # --- one parameter -----------------------------------------------------------------------------------------------

    def _indexed(self) -> Iterator[tuple[int, Parameter]]:
        return ((number, parameter) for number, group in enumerate(self.groups) for parameter in group)

    def _flat(self, group_index: int, parameter: Parameter) -> Tensor:
        if self.is_stage_3:
            sub_group, _, _ = self.zero.grad_position[self.zero.get_param_id(parameter)]
            return self.zero.fp32_partitioned_groups_flat[sub_group]
        return self.zero.single_partition_of_fp32_groups[group_index]

    def _share(self, parameter: Parameter, value: Tensor) -> Tensor:
        """This rank's flat piece of `value`, padded with zeros as ZeRO-3 pads a parameter the ranks do not divide."""
        size = parameter.ds_tensor.numel()
        start = size * dist.get_rank()
        piece = torch.zeros(size, dtype=value.dtype)
        owned = value.flatten()[start : start + size]
        piece[: owned.numel()] = owned
        return piece

    def _whole_state(self, parameter: Parameter, key: str) -> Tensor:
        from deepspeed.utils import safe_get_full_optimizer_state

        return safe_get_full_optimizer_state(parameter, key)

    def _place_state(self, parameter: Parameter, key: str, value: Tensor) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if self.is_stage_3:
            safe_set_local_optimizer_state(parameter, self._share(parameter, value), key)
        else:
            safe_set_full_optimizer_state(parameter, value, key)

    def _make_room(self, flat: Tensor, entries: Mapping[str, Any], parameter: Parameter, name: str) -> None:
        """Give `flat` the state it would have after a first step, zeros where a parameter has its own values to come."""
        shape = parameter.ds_shape if self.is_stage_3 else parameter.shape
        room = self.zero.optimizer.state[flat]
        for key, value in entries.items():
            check_state_is_portable(name, key, value, shape)
            if isinstance(value, Tensor) and value.dim() > 0:
                if key not in room:
                    room[key] = torch.zeros_like(flat, requires_grad=False)
            else:
                room[key] = self._native_scalar(value)

    def _native_scalar(self, value: Any) -> Any:
        # DeepSpeed's own CPU optimizers count steps in a Python int and hand it to C++
        if type(self.zero.optimizer).__module__.startswith("deepspeed."):
            return int(value)
        return value.clone() if isinstance(value, Tensor) else value

    def _param_groups(self) -> list[dict[str, Any]]:
        described, first = [], 0
        for group, parameters in zip(self.zero.optimizer.param_groups, self.groups, strict=True):
            settings = {key: value for key, value in group.items() if key != "params"}
            settings["params"] = list(range(first, first + len(parameters)))
            described.append(settings)
            first += len(parameters)
        return described


def _is_sharded(value: Any, flat: Tensor) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape == flat.shape


def _as_scalar(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value))


def loss_scaler_state(zero: Any) -> dict[str, Any] | None:
    """DeepSpeed's dynamic loss scale in the format of torch.amp.GradScaler; None where there is none (not fp16)."""
    scaler = zero.loss_scaler
    if not scaler.dynamic:
        return None
    return {
        "scale": float(scaler.cur_scale),
        "growth_factor": float(scaler.scale_factor),
        "backoff_factor": 1.0 / float(scaler.scale_factor),
        "growth_interval": int(scaler.scale_window),
        "_growth_tracker": int(scaler.cur_iter - scaler.last_overflow_iter - 1),
    }


def restore_loss_scaler(zero: Any, state: Mapping[str, Any]) -> None:
    scaler = zero.loss_scaler
    if scaler.dynamic:
        scaler.cur_scale = float(state["scale"])
        scaler.cur_iter = int(state["_growth_tracker"])
        scaler.last_overflow_iter = -1
