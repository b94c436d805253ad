"""DeepSpeed ZeRO: optimizer state sharded (stage 1), gradients too (2), parameters too (3), on CUDA and on the CPU."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric.utilities.seed import reset_seed
from pytorch_lightning.strategies import DeepSpeedStrategy
from pytorch_lightning.strategies.deepspeed import remove_module_hooks
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kinnari.errors import ConfigError
from kinnari.strategies.buckets import ZERO_AHEAD_NUMBERS, ZERO_BUCKET_NUMBERS
from kinnari.strategies.layer_order import LayerOrder
from kinnari.strategies.microbatches import GradientRules
from kinnari.strategies.portable import PortableCheckpoints, check_same_groups, names_by_index, trainable_parameters
from kinnari.strategies.zero_state import ZeroState, loss_scaler_state, restore_loss_scaler

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

LOSS_SCALER_KEY = "MixedPrecision"


def zero_config(
    stage: int, gradient_clip: float | None, offload_optimizer: bool = False, offload_parameters: bool = False
) -> dict[str, Any]:
    """DeepSpeed configuration of one ZeRO stage; precision is added by Lightning.

    `activation_checkpointing` is absent on purpose: DeepSpeed's own checkpointing would compete with the model's.
    """
    zero: dict[str, Any] = {
        "stage": stage,
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "reduce_bucket_size": ZERO_BUCKET_NUMBERS,
        "allgather_bucket_size": ZERO_BUCKET_NUMBERS,
    }
    if stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": ZERO_BUCKET_NUMBERS,
            "stage3_max_live_parameters": ZERO_AHEAD_NUMBERS,
            # DeepSpeed's would keep whole models of up to a billion numbers from the forward to the backward
            "stage3_max_reuse_distance": 0,
        }
    if offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if offload_parameters:
        if stage != 3:
            raise ConfigError(f"offload_parameters=true needs ZeRO stage 3, this is stage {stage}: set strategy/parallel=deepspeed_zero3")
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "zero_allow_untested_optimizer": True,
        # the optimizer is the user's choice; torch's AdamW on offloaded shards is slower than DeepSpeedCPUAdam, not wrong
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
        "gradient_clipping": gradient_clip or 0.0,
        # used for DeepSpeed's own throughput log alone
        "train_micro_batch_size_per_gpu": 1,
    }


class ZeroRedundancy(PortableCheckpoints, GradientRules, DeepSpeedStrategy):
    """Lightning's DeepSpeedStrategy, made to run on the CPU too, with portable checkpoints.

    The model is loaded in `__init__` (or `configure_model`) as usual and sharded when the engine is made; nothing is created
    under `deepspeed.zero.Init`, which transformers and peft do not expect.
    """

    averages_gradients = True

    def __init__(self, config: dict[str, Any], timeout: timedelta) -> None:
        super().__init__(config=config, timeout=timeout)
        self._parameter_groups: list[list[Parameter]] = []
        self._layer_order: LayerOrder | None = None

    # --- Lightning refuses the CPU in two places (2.6.6); DeepSpeed itself does not ----------------------------------

    def setup_environment(self) -> None:
        # past DeepSpeedStrategy.setup_environment, which raises unless the accelerator is CUDA
        super(DeepSpeedStrategy, self).setup_environment()

    def setup_distributed(self) -> None:
        # without Lightning's check of device indexes: CPU devices have none
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def model_sharded_context(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _setup_model_and_optimizer(
        self, model: Module, optimizer: Optimizer | None, lr_scheduler: LRScheduler | None = None
    ) -> tuple[DeepSpeedEngine, Optimizer]:
        import deepspeed

        # before the engine: it replaces the parameters in these groups by flat shards
        self._parameter_groups = _checked_groups(model, optimizer)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        engine, zero_optimizer, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=self.local_rank),
            config=_with_bucket_for(self.config, trained),
            model=model,
            model_parameters=trained,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            dist_init_required=False,
        )
        self._layer_order = LayerOrder(zero_optimizer.parameter_offload) if self.zero_stage_3 else None
        return engine, zero_optimizer

    def _initialize_deepspeed_inference(self, model: Module) -> None:
        """Validation or prediction without training: no optimizer; ZeRO-3 still shards the weights."""
        import deepspeed

        self._parameter_groups = []
        remove_module_hooks(model)  # those of an engine that trained it before
        config: dict[str, Any] = {"train_micro_batch_size_per_gpu": 1}
        kept = ("fp16", "bf16", "zero_optimization") if self.zero_stage_3 else ("fp16", "bf16")
        config.update({key: self.config[key] for key in kept if key in self.config})
        self.model, _, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=self.local_rank),
            config=config,
            model=model,
            model_parameters=[],
            dist_init_required=False,
        )
        self._layer_order = LayerOrder(self.model.optimizer) if self.zero_stage_3 else None

    # --- gradients ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def micro_batch_sync(self, is_last: bool) -> Iterator[None]:
        """What `DeepSpeedEngine.forward` does around a forward, here once per micro-batch.

        Lightning runs a whole `training_step` inside one `engine.forward`; ZeRO-3 then takes every micro-batch for the first
        of its step and overwrites the gradients of those before (deepspeed 0.19.8, `clear_backward_seen_flag`).
        """
        self.deepspeed_engine.set_gradient_accumulation_boundary(is_last)
        with self._one_forward():
            yield

    @contextlib.contextmanager
    def _one_forward(self) -> Iterator[None]:
        engine = self.deepspeed_engine
        if self._is_training:
            engine.optimizer.clear_backward_seen_flag()
        learns = torch.is_grad_enabled() or not self._is_training
        with contextlib.nullcontext() if self._layer_order is None else self._layer_order.one_pass(learns):
            engine._forward_prologue((), {})
            try:
                yield
            finally:
                engine._forward_epilogue()

    def training_step(self, *arguments: Any, **keywords: Any) -> Any:
        # not through engine.forward: see micro_batch_sync
        with self.precision_plugin.train_step_context():
            return self.lightning_module.training_step(*arguments, **keywords)

    def validation_step(self, *arguments: Any, **keywords: Any) -> Any:
        with self.precision_plugin.val_step_context(), self._one_forward():
            return self.lightning_module.validation_step(*arguments, **keywords)

    def clip_gradients(self, parameters: Sequence[Parameter], max_norm: float | None) -> float:
        self._check_max_norm(max_norm)
        return float(self.deepspeed_engine.get_global_grad_norm() or 0.0)

    def step_with_clipping(self, optimizer: Optimizer, parameters: Sequence[Parameter], max_norm: float | None) -> float:
        self._check_max_norm(max_norm)
        optimizer.step()
        return float(self.deepspeed_engine.get_global_grad_norm())

    def _check_max_norm(self, max_norm: float | None) -> None:
        if (max_norm or 0.0) != self.config["gradient_clipping"]:
            raise ConfigError(
                f"gradient clipping at {max_norm} was asked for but the DeepSpeed engine clips at"
                f" {self.config['gradient_clipping'] or None}; give build_strategy the same gradient_clip"
            )

    # --- checkpoints -------------------------------------------------------------------------------------------------

    @property
    def _zero(self) -> ZeroState:
        return ZeroState(self.deepspeed_engine.optimizer, self._parameter_groups)

    @property
    def _is_training(self) -> bool:
        return bool(self._parameter_groups)

    def whole_shape(self, parameter: Parameter) -> torch.Size:
        # ZeRO-3 leaves an empty tensor in the module and keeps the shape beside it
        return parameter.ds_shape if self.zero_stage_3 else parameter.shape

    def whole_parameter(self, parameter: Parameter) -> Tensor:
        if self._is_training:
            return self._zero.whole_master(parameter)
        with self._gathered(parameter):
            return parameter.detach().clone()

    def place_parameter(self, parameter: Parameter, value: Tensor) -> None:
        if self._is_training:
            self._zero.place_master(parameter, value)
            return
        with self._gathered(parameter):
            parameter.detach().copy_(value)

    def _gathered(self, parameter: Parameter) -> contextlib.AbstractContextManager[Any]:
        import deepspeed

        return deepspeed.zero.GatheredParameters([parameter], modifier_rank=0, enabled=self.zero_stage_3)

    def finish_placing(self) -> None:
        if self._is_training:
            self._zero.refresh_weights()

    def whole_optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        names = names_by_index(self.lightning_module, self._parameter_groups)
        return self._zero.whole_optimizer_state(names, keep=self.is_global_zero)

    def place_optimizer_state(self, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        check_same_groups([len(group) for group in self._parameter_groups], state)
        names = names_by_index(self.lightning_module, self._parameter_groups)
        self._zero.place_optimizer_state(names, state)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        scaler = loss_scaler_state(self.deepspeed_engine.optimizer) if self._is_training else None
        if scaler is not None:
            checkpoint[LOSS_SCALER_KEY] = scaler
        super().save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = True) -> dict[str, Any]:
        checkpoint = super().load_checkpoint(checkpoint_path, weights_only)
        if self._is_training and LOSS_SCALER_KEY in checkpoint:
            restore_loss_scaler(self.deepspeed_engine.optimizer, checkpoint[LOSS_SCALER_KEY])
        return checkpoint


def _with_bucket_for(config: Mapping[str, Any], trained: Sequence[Parameter]) -> dict[str, Any]:
    """DeepSpeed makes its bucket of gradients whole at once: one of 50 million numbers for adapters of a few would be waste."""
    zero = config["zero_optimization"]
    largest = sum(parameter.numel() for parameter in trained)
    return {**config, "zero_optimization": zero | {"reduce_bucket_size": min(zero["reduce_bucket_size"], largest)}}


def _checked_groups(model: Module, optimizer: Optimizer | None) -> list[list[Parameter]]:
    if optimizer is None:
        return []
    groups = [list(group["params"]) for group in optimizer.param_groups]
    if not all(groups):
        # DeepSpeed drops an empty group, and the checkpoint would no longer fit a run without DeepSpeed
        raise ConfigError(
            f"parameter groups of {[len(group) for group in groups]} parameters: DeepSpeed cannot hold an empty one; leave"
            " empty groups out in configure_optimizers"
        )
    given = {id(parameter) for group in groups for parameter in group}
    left_out = [name for name, parameter in trainable_parameters(model).items() if id(parameter) not in given]
    if left_out:
        raise ConfigError(
            f"trainable parameters not given to the optimizer: {', '.join(left_out[:4])}; DeepSpeed shards what the optimizer"
            " holds: set requires_grad=False on the others"
        )
    return groups
