"""One full copy of the model per rank; gradients summed once per optimizer step."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_lightning.overrides.distributed import _sync_module_states
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch.nn import Module, Parameter

from kinnari.models.placement import is_spread
from kinnari.strategies.microbatches import GradientRules, all_reduce_gradients
from kinnari.strategies.portable import PortableCheckpoints


class SingleProcess(PortableCheckpoints, GradientRules, SingleDeviceStrategy):
    """One process: one device, or one model that was spread over several when it was loaded (`kinnari.models.placement`)."""

    def model_to_device(self) -> None:
        if not is_spread(self.model):
            super().model_to_device()
            return
        # `LightningModule.to` would gather the model on one device; what belongs to the module beside it goes to the first
        for child in self.model.children():
            if not is_spread(child):
                child.to(self.root_device)
        self.model._device = self.root_device  # what `to` records for `LightningModule.device` (pytorch-lightning 2.6)

    def teardown(self) -> None:
        module = self._lightning_module
        if module is None or not is_spread(module):
            super().teardown()
            return
        # Lightning takes the module to the CPU, where accelerate's hooks would go on sending its inputs to GPUs
        self._lightning_module = None
        super().teardown()
        self._lightning_module = module


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
