"""A moving average of trained weights, beside the weights themselves; every rank keeps the average of what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import Parameter

from kinnari.errors import ConfigError
from kinnari.strategies.reference import local_weights, rest, share_of


class MovingAverage:
    """average = beta x average + (1 - beta) x weights after each step; float32, and at the beginning the weights as they are.

    Args:
        module: names are those of its parameters, as in a checkpoint's `state_dict`.
        beta: 0.992, as DeepSpeed-Chat has it, forgets half in 86 steps.
        wanted: which of the trained parameters, by name.
    """

    def __init__(self, module: nn.Module, beta: float, wanted: Callable[[str], bool] = lambda name: True) -> None:
        self.module, self.beta, self.wanted = module, beta, wanted
        self.shares: dict[str, Tensor] = {}
        self._loaded: Mapping[str, Tensor] | None = None

    def place(self) -> None:
        """Begin, or go on with what was loaded; call it once the strategy is set up.

        Raises:
            ConfigError: what was loaded is the average of other parameters.
        """
        rest(self.module)
        named = self._parameters()
        if self._loaded is None:
            self.shares = {name: local_weights(p).to(torch.float32, copy=True) for name, p in named.items()}
            return
        if named.keys() != self._loaded.keys():
            raise ConfigError(
                "The checkpoint holds a moving average of other parameters; resume with the settings the run was started with."
            )
        self.shares = {name: share_of(p, self._loaded[name], dtype=torch.float32) for name, p in named.items()}
        self._loaded = None

    @torch.no_grad()
    def update(self) -> None:
        """After an optimizer step."""
        rest(self.module)
        for name, parameter in self._parameters().items():
            self.shares[name].lerp_(local_weights(parameter).float(), 1 - self.beta)

    @torch.no_grad()
    def state_dict(self) -> dict[str, Tensor]:
        """The whole averages, on the CPU, under the names of the parameters. Collective."""
        rest(self.module)
        named = self._parameters()
        return {name: _whole(named[name], share).to("cpu", copy=True) for name, share in self.shares.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `place` goes on with."""
        self._loaded = dict(state)

    def _parameters(self) -> dict[str, Parameter]:
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad and self.wanted(name)}


def _whole(parameter: Parameter, share: Tensor) -> Tensor:
    like = parameter.detach()
    if isinstance(like, DTensor):
        return DTensor.from_local(
            share, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
        ).full_tensor()
    if "ds_tensor" in vars(parameter):  # ZeRO-3: flat pieces, the last one padded
        pieces = [torch.empty_like(share) for _ in range(dist.get_world_size())]
        dist.all_gather(pieces, share)
        return torch.cat(pieces)[: parameter.ds_numel].view(parameter.ds_shape)
    return share
