"""One checkpoint file for every strategy: what one process would have written, whoever wrote it.

`state_dict` holds the trainable parameters alone, whole, on the CPU, in the dtype the optimizer updates; each entry of
`optimizer_states` is `torch.optim.Optimizer.state_dict()` with integer parameter indexes and whole tensors. So a run saved on
two ranks under ZeRO-3 resumes on one process, on eight ranks under FSDP2, and the other way round.

A strategy needs to know only how to gather and how to place one tensor; the rest is common.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer

from kinnari.errors import ConfigError
from kinnari.strategies.checkpoint_io import AtomicCheckpointIO, CheckpointWriteError

log = logging.getLogger(__name__)

NAMES_SHOWN = 4


def trainable_parameters(module: Module) -> dict[str, Parameter]:
    """Name -> parameter for those that require a gradient; a tied parameter appears once, under its first name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def check_same_model(expected: Mapping[str, torch.Size], state_dict: Mapping[str, Tensor], strict: bool = True) -> None:
    """Compare names and shapes of the trainable parameters with those of a checkpoint.

    Raises: ConfigError naming a few of the missing, unexpected or differently shaped ones.
    """
    complaints = []
    missing = [name for name in expected if name not in state_dict]
    unexpected = [name for name in state_dict if name not in expected]
    if strict and missing:
        complaints.append(f"not in the checkpoint: {_some(missing)}")
    if strict and unexpected:
        complaints.append(f"not in this model: {_some(unexpected)}")
    reshaped = [
        f"{name} {tuple(state_dict[name].shape)} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in state_dict and state_dict[name].shape != shape
    ]
    if reshaped:
        complaints.append(f"other shapes: {_some(reshaped)}")
    if complaints:
        raise ConfigError(
            f"the checkpoint belongs to another model or tuning ({'; '.join(complaints)}); resume with the config the run"
            " was started with, or start a new run in another output folder"
        )


def _some(names: list[str]) -> str:
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def check_state_is_portable(name: str, key: str, value: Any, shape: torch.Size) -> None:
    """Raises: ConfigError where an optimizer keeps a tensor that is neither a scalar nor shaped as its parameter."""
    if isinstance(value, Tensor) and value.numel() != 1 and value.shape != shape:
        raise ConfigError(
            f"optimizer state {key!r} of parameter {name} has shape {tuple(value.shape)}, the parameter {tuple(shape)}: only"
            " scalars and tensors of the parameter's shape can be saved and resumed under fsdp and deepspeed; choose"
            " optimizer=adamw, or strategy/parallel=single or ddp for this optimizer"
        )


def check_same_groups(sizes: list[int], optimizer_state: Mapping[str, Any]) -> None:
    """Raises: ConfigError where the optimizer of a checkpoint has other parameter groups than this run's."""
    saved = [len(group["params"]) for group in optimizer_state["param_groups"]]
    if saved != sizes:
        raise ConfigError(
            f"the optimizer of the checkpoint has parameter groups of {saved} parameters, this run's has {sizes}; resume with"
            " the optimizer and tuning the run was started with"
        )


def inner_optimizer(optimizer: Optimizer | LightningOptimizer) -> Optimizer:
    return optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer


class PortableCheckpoints:
    """Mixin over a Lightning strategy. As it stands it serves strategies whose ranks hold whole tensors."""

    def prepare_parameters(self) -> None:
        """Before parameters are gathered or placed: bring the module into its resting state."""

    def whole_parameter(self, parameter: Parameter) -> Tensor:
        """The whole trained tensor of one parameter. Collective; the value is needed on rank 0 alone."""
        return parameter.detach()

    def place_parameter(self, parameter: Parameter, value: Tensor) -> None:
        """Write this rank's share of the whole tensor `value` (CPU). Every rank holds `value`."""
        parameter.detach().copy_(value)

    def finish_placing(self) -> None:
        """After all parameters are placed."""

    def whole_shape(self, parameter: Parameter) -> torch.Size:
        return parameter.shape

    def whole_optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """torch's optimizer state dict with whole tensors. Collective; the value is needed on rank 0 alone."""
        return optimizer.state_dict()

    def place_optimizer_state(self, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """The inverse of `whole_optimizer_state`; every rank holds `state` (CPU)."""
        check_same_groups([len(group["params"]) for group in optimizer.param_groups], state)
        # copies: the tensors of a loaded checkpoint are pages of its memory-mapped file
        own = {
            index: {key: value.clone() if isinstance(value, Tensor) else value for key, value in entries.items()}
            for index, entries in state["state"].items()
        }
        optimizer.load_state_dict({"state": own, "param_groups": state["param_groups"]})

    # --- Lightning's side -------------------------------------------------------------------------------------------

    @property
    def checkpoint_io(self) -> AtomicCheckpointIO:
        if self._checkpoint_io is None:
            self._checkpoint_io = AtomicCheckpointIO()
        return self._checkpoint_io

    @checkpoint_io.setter
    def checkpoint_io(self, plugin: AtomicCheckpointIO) -> None:
        self._checkpoint_io = plugin

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    @torch.no_grad()
    def lightning_module_state_dict(self) -> dict[str, Tensor]:
        """Trainable parameters, whole, on the CPU; empty on ranks other than 0."""
        self.prepare_parameters()
        whole: dict[str, Tensor] = {}
        for name, parameter in trainable_parameters(self.lightning_module).items():
            value = self.whole_parameter(parameter)
            if self.is_global_zero:
                whole[name] = value.to("cpu", copy=True)
        return whole

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Raises: ConfigError for the checkpoint of another model."""
        self.prepare_parameters()
        parameters = trainable_parameters(self.lightning_module)
        state_dict = checkpoint["state_dict"]
        check_same_model({name: self.whole_shape(p) for name, p in parameters.items()}, state_dict, strict)
        for name, parameter in parameters.items():
            if name in state_dict:
                self.place_parameter(parameter, state_dict[name])
        self.finish_placing()

    @torch.no_grad()
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state dict with whole tensors; empty on ranks other than 0."""
        state = self.whole_optimizer_state(inner_optimizer(optimizer))
        return state if self.is_global_zero else {}

    @torch.no_grad()
    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Raises: ConfigError where parameter groups differ."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            self.place_optimizer_state(inner_optimizer(optimizer), state)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Rank 0 writes; all ranks learn whether it could.

        Raises: CheckpointWriteError on every rank, so that none waits for a rank that has given up.
        """
        failure = None
        if self.is_global_zero:
            try:
                self.checkpoint_io.save_checkpoint(checkpoint, filepath)
            except CheckpointWriteError as error:
                failure = str(error)
        failure = self.broadcast(failure)
        if failure is not None:
            raise CheckpointWriteError(failure)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = True) -> dict[str, Any]:
        # ranks could find different "latest" files on a slow shared folder: rank 0 decides
        return self.checkpoint_io.load_checkpoint(self.broadcast(checkpoint_path))


def names_by_index(module: Module, groups: Iterable[Iterable[Parameter]]) -> list[str]:
    """Parameter names in the order of torch's integer indexes: group by group, as given to the optimizer."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for group in groups for parameter in group]
