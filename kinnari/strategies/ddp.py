"""One full copy of the model per rank; gradients summed once per optimizer step."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_lightning.overrides.distributed import _sync_module_states
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch.nn import Module, Parameter

from kinnari.strategies.microbatches import GradientRules, all_reduce_gradients
from kinnari.strategies.portable import PortableCheckpoints


class SingleProcess(PortableCheckpoints, GradientRules, SingleDeviceStrategy):
    """One device, one process."""


class SummingDDP(PortableCheckpoints, GradientRules, DDPStrategy):
    """Data parallelism without torch's DistributedDataParallel wrapper.

    The wrapper averages at the last backward and keeps a second copy of all gradients in its buckets. Here a step runs its
    micro-batches with no communication at all, so ranks can still agree to retry a step that ran out of memory, and the
    gradients are summed once, by `sum_gradients`.
    """

    def configure_ddp(self) -> None:
        self.model = self._setup_model(self.model)

    def _setup_model(self, model: Module) -> Module:
        # what the wrapper would have done: adapters drawn at random must start equal on all ranks
        _sync_module_states(model)
        return model

    def sum_gradients(self, parameters: Sequence[Parameter]) -> None:
        all_reduce_gradients(parameters)
