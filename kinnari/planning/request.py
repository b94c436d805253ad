"""What is asked of the planner, and what it answers: plain records, without Hydra, weights or a GPU.

request = PlanRequest(spec=spec, tuning=Tuning(name="lora", r=16), parallel=Parallel("ddp"), hardware=hardware, micro_size=2)
estimate(request).peak_memory_gib
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kinnari.errors import ConfigError
from kinnari.models.spec import ModelSpec
from kinnari.rollouts.settings import PPOSettings
from kinnari.strategies.names import PRECISIONS, STRATEGIES
from kinnari.strategies.tuning import Tuning

GIB = 2**30
TASKS = ("sft", "reward", "ppo")
OPTIMIZERS = ("adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor", "lion")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One file of `conf/hw/`.

    Attributes:
        name: of the profile.
        accelerator: gpu or cpu; decides the attention kernels, what autocast casts and what a process keeps for itself.
        device: product name, for the memory that its driver keeps and its attention kernels.
        devices: per node.
        nodes: how many machines.
        memory_gib: of one device. None: nothing is said about whether it fits.
        peak_tflops: dense, in the precision of the run; None: no time is told.
        bandwidth_gb_s: memory of one device.
        interconnect_gb_s: between the devices of a node, each way, as published; None: that of the link to the host.
        host_gb_s: between a device and host memory, each way, as published; None: that of a PCIe 3 slot (`planning.seconds.PCIE_GB_S`).
        network_gb_s: between nodes, each way, of one device; None: that of a 100 Gb/s card shared by a node's devices.
        watts: of one device.
        flash_attention: whether the device has torch's flash kernel (Ampere and later); else its memory-efficient one.
    """

    name: str = "cpu"
    accelerator: Literal["gpu", "cpu"] = "cpu"
    device: str = "CPU"
    devices: int = 1
    nodes: int = 1
    memory_gib: float | None = None
    peak_tflops: float | None = None
    bandwidth_gb_s: float | None = None
    interconnect_gb_s: float | None = None
    host_gb_s: float | None = None
    network_gb_s: float | None = None
    watts: float | None = None
    flash_attention: bool = False

    @property
    def world_size(self) -> int:
        """Ranks of the whole run."""
        return self.devices * self.nodes


@dataclass(frozen=True)
class Parallel:
    """`strategy.parallel` of a run, "auto" already resolved.

    Attributes:
        name: single, ddp, fsdp, deepspeed_zero1, deepspeed_zero2 or deepspeed_zero3.
        offload_optimizer: optimizer state and float32 masters in host memory (DeepSpeed).
        offload_parameters: weights in host memory too (ZeRO-3).
    """

    name: str = "single"
    offload_optimizer: bool = False
    offload_parameters: bool = False

    def __post_init__(self) -> None:
        if self.name not in STRATEGIES:
            raise ConfigError(f"strategy/parallel={self.name!r} is unknown; choose one of {', '.join(STRATEGIES)}.")


@dataclass(frozen=True, kw_only=True)
class Freezing:
    """`reward.*` of task=reward.

    Attributes:
        fraction: of the blocks, from the bottom, that is not trained.
        train_embeddings: whether what lies below them is.
        checkpoint_frozen: whether frozen blocks are computed again.
    """

    fraction: float = 0.7
    train_embeddings: bool = True
    checkpoint_frozen: bool = False


@dataclass(frozen=True, kw_only=True)
class RowTokens:
    """What stands in a row of a micro-batch, in tokens.

    Attributes:
        width: of the row, padding included; memory is planned for the widest one. Of task=ppo that of the prompt alone.
        mean: real tokens of a record (task=ppo: of a prompt), as the data card has it; None takes `width`.
        trained_share: of the real tokens, those with a loss (`share_trained` of the card).
        packed: several records to a row; then rows are full.
        target_width: of the decoder's row (seq2seq); None takes `width`.
        records: of one epoch; None: no epoch is told.
        pairs: task=reward: tokens of each pair of the widest micro-batch, what its two rows begin with counted once; None: not known,
            and they stand in rows of their own.
        pair_mean: of all pairs, counted so.
    """

    width: int
    mean: float | None = None
    trained_share: float = 1.0
    packed: bool = False
    target_width: int | None = None
    records: int | None = None
    pairs: tuple[int, ...] | None = None
    pair_mean: float | None = None


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """One run whose cost is asked for.

    Attributes:
        spec: the model file.
        tuning: what is trained and how the rest is held.
        parallel: how ranks share the work.
        hardware: what it runs on.
        rows: tokens of the data.
        precision: 32-true, bf16-mixed, bf16-true or 16-mixed ("auto" already resolved).
        micro_size: rows of one forward on one device; of task=reward pairs.
        global_size: records of an optimizer step over all devices.
        optimizer: a name of `kinnari.strategies.optimizers`.
        chunked_loss: the loss without full logits.
        task: sft, reward or ppo.
        freezing: of task=reward.
        share_prompts: of task=reward: what a pair begins with is computed once, where the family can.
        ppo: of task=ppo.
        reward_spec: the backbone that scores answers in task=ppo; None: a rule or an endpoint does.
    """

    spec: ModelSpec
    tuning: Tuning
    parallel: Parallel
    hardware: Hardware
    rows: RowTokens
    precision: str = "32-true"
    micro_size: int = 1
    global_size: int = 1
    optimizer: str = "adamw"
    chunked_loss: bool = True
    task: Literal["sft", "reward", "ppo"] = "sft"
    freezing: Freezing = field(default_factory=Freezing)
    share_prompts: bool = True
    ppo: PPOSettings = field(default_factory=PPOSettings)
    reward_spec: ModelSpec | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"plan.task={self.task!r} is unknown; choose one of {', '.join(TASKS)}.")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"trainer.precision={self.precision!r} is not planned; choose one of {', '.join(PRECISIONS)}.")
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"optimizer.name={self.optimizer!r} is unknown; choose one of {', '.join(OPTIMIZERS)}.")
        if self.micro_size < 1 or self.global_size < 1:
            raise ConfigError(f"batch.micro_size={self.micro_size}, batch.global_size={self.global_size}: both must be 1 or more.")


COMPONENTS = (
    "weights",  # of the base, in the dtype they are held in, with what quantisation adds
    "adapters",
    "masters",  # float32 copies under mixed precision, where a strategy keeps them beside the weights
    "gradients",
    "optimizer",
    "activations",  # what the backward needs, at the peak
    "loss",  # logits, or the buffers of the chunked loss
    "casts",  # 16-bit copies of trained weights that autocast makes for a step
    "temporaries",  # what is made and let go of around the peak
    "gathered",  # whole weights under sharding
    "communication",  # buckets
    "reference",  # task=ppo: first weights of what is trained
    "reward_model",  # task=ppo
    "value",  # task=ppo: a critic of its own
    "cache",  # task=ppo: keys and values while answering
    "context",  # CUDA context and libraries
    "slack",  # what the allocator keeps beyond live tensors
)
"""Keys of `Estimate.memory_gib`; those that are 0 are left out."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part of a step with a peak of its own: `training`, and of task=ppo `generation` and `scoring`.

    Attributes:
        memory_gib: component -> GiB of one device at the peak of this phase.
        flops: of one device, of one optimizer step (task=ppo: of one iteration).
        seconds: of the same; None without `Hardware.peak_tflops` and `bandwidth_gb_s`.
    """

    memory_gib: Mapping[str, float]
    flops: float
    seconds: float | None

    @property
    def peak_gib(self) -> float:
        return sum(self.memory_gib.values())


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run costs on each device; a step of task=ppo is one iteration.

    Attributes:
        memory_gib: component -> GiB at the peak of the phase that needs most; they add up to `peak_memory_gib`.
        peak_memory_gib: of one device, as nvidia-smi would show it (on a CPU: of the process, without its libraries).
        phases: name -> the same for each phase.
        total_parameters, trainable_parameters: tied ones counted once, adapters included.
        flops_per_step: of all devices, recomputation included.
        seconds_per_step: None where the hardware's peak or bandwidth is not known.
        tokens_per_step: real tokens of all devices (task=ppo: prompt and answer tokens of an iteration).
        communication_bytes: what one device sends in a step.
        hours_per_epoch: None without `RowTokens.records` or `seconds_per_step`.
        host_gib: offloaded or paged, in host memory, of one device's rank.
        paged_gib: of the peak, state of a paged optimizer, which goes to the host as soon as others need its room.
        details: numbers a reader may want to see (`efficiency`, `activation_gib_per_block`, ...), by name.
    """

    memory_gib: Mapping[str, float]
    peak_memory_gib: float
    phases: Mapping[str, Phase]
    total_parameters: int
    trainable_parameters: int
    flops_per_step: float
    seconds_per_step: float | None
    tokens_per_step: float
    communication_bytes: float
    hours_per_epoch: float | None
    host_gib: float = 0.0
    paged_gib: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needed_gib(self) -> float:
        """What must find room on a device, without what gives way; this decides whether it fits."""
        return self.peak_memory_gib - self.paged_gib
