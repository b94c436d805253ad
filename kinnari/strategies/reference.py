"""The policy before it was trained, as the reference of KL penalties and of DPO, at the price of the trained weights alone.

Whatever is trained (adapters, the top layers, everything), the rest is the same in policy and reference. So the reference is the
first value of what is trained, exchanged with the current one for the length of a forward: one backbone, no second model. With
untrained weights both are the same bits, and the KL is exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn import Parameter


class InitialWeights:
    """What the trained parameters of a model were when this was made.

    Args:
        model: before it is sharded; only parameters that require a gradient are remembered, on the CPU, until `place`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.whole: dict[str, Tensor] = {n: p.detach().to("cpu", copy=True) for n, p in model.named_parameters() if p.requires_grad}
        self.shares: dict[str, Tensor] = {}

    def place(self) -> None:
        """Keep this rank's share of the first values beside the parameters; call it once the strategy is set up."""
        rest(self.model)
        named = dict(self.model.named_parameters())
        self.shares = {name: share_of(named[name], whole) for name, whole in self.whole.items()}
        self.whole = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within the block the model computes as it did at the beginning; for forwards without gradients."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        rest(self.model)
        named = dict(self.model.named_parameters())
        for name, share in self.shares.items():
            current = local_weights(named[name])
            now = current.clone()
            current.copy_(share)
            share.copy_(now)
        _gather_persistent(named)


def rest(model: nn.Module) -> None:
    """Let go of gathered copies: after a forward without backward FSDP2's root group still holds some, which would not see a change."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local_weights(parameter: Parameter) -> Tensor:
    """What this rank holds of the weights that forwards are computed with; in place, what is written there is used."""
    whole = parameter.detach()
    if isinstance(whole, DTensor):
        return whole.to_local()
    if "ds_tensor" in vars(parameter):  # ZeRO-3
        return parameter.ds_tensor.data
    return whole


def share_of(parameter: Parameter, whole: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The piece of `whole` that corresponds to `local_weights(parameter)`, on its device and in its dtype, or in `dtype`."""
    local = local_weights(parameter)
    whole = whole.to(device=local.device, dtype=dtype or local.dtype)
    like = parameter.detach()
    if isinstance(like, DTensor):
        # src_data_rank=None: every rank has the whole, so each cuts its own piece and nothing is sent
        return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None).to_local().clone()
    if "ds_tensor" in vars(parameter):
        import torch.distributed as dist

        flat = torch.zeros(local.numel() * dist.get_world_size(), dtype=whole.dtype, device=local.device)
        flat[: whole.numel()] = whole.reshape(-1)
        return flat[local.numel() * dist.get_rank() :][: local.numel()].clone()
    return whole.clone()


def _gather_persistent(named: Mapping[str, Parameter]) -> None:
    """ZeRO-3 keeps small parameters gathered between steps, as copies that must be made again from the pieces."""
    kept = [p for p in named.values() if "ds_tensor" in vars(p) and p.ds_persist]
    if kept:
        for parameter in kept:
            parameter.partition(has_been_updated=False)
        kept[0].all_gather(kept)
