"""The order in which ZeRO-3 needs layers: learnt in one forward and its backward, so that the next ones are gathered ahead.

Read against deepspeed 0.19.8, `runtime/zero/partitioned_param_coordinator.py`. Its record begins anew whenever the module that the engine
was given is called. Kinnari calls it within a step, or parts of it, or several times; so a step says itself where a pass begins and ends.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class LayerOrder:
    """Of one engine; passes follow each other, none lies within another.

    Args:
        offload: the `DeepSpeedZeRoOffload` of a stage 3 engine: `optimizer.parameter_offload`, or `optimizer` where nothing is trained.
    """

    def __init__(self, offload: Any) -> None:
        self.offload, self.coordinator = offload, offload.get_param_coordinator()
        self._borrowed = 0
        offload.fwd_pre_hook.remove()  # with it the record would begin twice a pass, and never be complete

    @contextmanager
    def one_pass(self, learns: bool) -> Iterator[None]:
        """Around a forward and its backward, or a forward alone.

        Args:
            learns: whether the order of this pass is worth knowing, if none is known: it is like those to come.
        """
        self._begin(learns)
        yield
        # not after an error: to agree on the order is collective, and other ranks may have had none
        if self.coordinator.is_record_trace():
            self.coordinator.reset_step()
            self._borrowed = self._count_borrowed()
        elif self.coordinator.is_complete_trace():
            self.coordinator.reset_step()  # lets go of what was gathered ahead in vain
        self.release()

    def _begin(self, learns: bool) -> None:
        coordinator = self.coordinator
        # what an error interrupted; and, with another layer that uses a weight that is not its own, DeepSpeed raises a tracing error
        if coordinator.is_record_trace() or (coordinator.is_complete_trace() and self._borrowed != self._count_borrowed()):
            coordinator._invalidate_trace()
        if coordinator.is_complete_trace():
            coordinator.reset_step()
        elif learns:
            self.forget()
            coordinator.reset_step()

    def release(self) -> None:
        """Let go of what stays gathered for a backward that does not come: copies that would not see their weights exchanged."""
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        for parameter in self.offload.module.parameters():
            if parameter.ds_status == ZeroParamStatus.AVAILABLE and not parameter.ds_persist:
                parameter.ds_active_sub_modules.clear()
                parameter.partition()

    def _count_borrowed(self) -> int:
        """Uses of weights by modules that they do not belong to; DeepSpeed finds them during passes."""
        return sum(len(module._external_params) for module in self.offload.module.modules())

    @staticmethod
    def forget() -> None:
        """What DeepSpeed remembers, for good, of what to release after which module: it was right for an order that is no more."""
        from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator

        wrapped = vars(PartitionedParameterCoordinator)["_PartitionedParameterCoordinator__params_to_release"]
        inspect.getclosurevars(wrapped).nonlocals["func"].cache_clear()
