"""One name -> one Lightning strategy that trains the same curve as every other, on CUDA and on the CPU."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment
from pytorch_lightning.plugins.precision import DeepSpeedPrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.strategies import Strategy

from kinnari.errors import ConfigError
from kinnari.strategies.ddp import SingleProcess, SummingDDP
from kinnari.strategies.fsdp import FullySharded
from kinnari.strategies.names import PRECISIONS, STRATEGIES
from kinnari.strategies.ports import find_free_port

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def build_strategy(
    name: str,
    *,
    accelerator: str,
    devices: int,
    num_nodes: int = 1,
    precision: str,
    gradient_clip: float | None,
    offload_optimizer: bool = False,
    offload_parameters: bool = False,
    timeout_s: float,
) -> Strategy:
    """The strategy of one rank, with its cluster environment and precision plugin set.

    Give it to `Trainer(strategy=..., accelerator=..., devices=..., num_nodes=...)` and leave the Trainer's `precision` and
    `gradient_clip_val` unset: Lightning 2.6 would refuse precision 16-mixed under FSDP2, which works, and cannot clip under
    manual optimisation.

    Args:
        name: single | ddp | fsdp | deepspeed_zero1 | deepspeed_zero2 | deepspeed_zero3.
        accelerator: cpu (collectives over gloo) or gpu (nccl).
        devices: ranks per node.
        precision: 32-true | bf16-mixed | bf16-true | 16-mixed.
        gradient_clip: largest L2 norm of the gradient of the global batch, None for no clipping.
        offload_optimizer, offload_parameters: keep them in host memory (DeepSpeed only).
        timeout_s: seconds after which a collective gives up waiting for a dead rank.

    Raises: ConfigError for a name, precision or number of ranks that cannot work.
    """
    _check(name, accelerator, devices, num_nodes, precision, offload_optimizer or offload_parameters)
    timeout = timedelta(seconds=timeout_s)
    if name == "single":
        device = torch.device("cpu") if accelerator == "cpu" else torch.device("cuda", 0)
        return SingleProcess(device=device, precision_plugin=_precision_plugin(precision, accelerator))
    if name == "ddp":
        strategy: Strategy = SummingDDP(timeout=timeout)
    elif name == "fsdp":
        strategy = FullySharded(data_parallel_size=devices * num_nodes, timeout=timeout)
    else:
        from kinnari.strategies.deepspeed import ZeroRedundancy, zero_config

        config = zero_config(int(name[-1]), gradient_clip, offload_optimizer, offload_parameters)
        strategy = ZeroRedundancy(config, timeout=timeout)
    is_deepspeed = name.startswith("deepspeed")
    name_of_precision: Any = precision  # Lightning has it as a Literal
    strategy.precision_plugin = DeepSpeedPrecision(name_of_precision) if is_deepspeed else _precision_plugin(precision, accelerator)
    strategy.cluster_environment = cluster_environment()
    strategy.cluster_environment.validate_settings(devices, num_nodes)
    return strategy


def cluster_environment() -> ClusterEnvironment:
    """Who started this process: Kinnari's launcher (or torchrun, or any that sets RANK and friends), srun, or the user.

    Lightning never starts processes itself.
    """
    if all(variable in os.environ for variable in _RANK_VARIABLES):
        return StartedRanks()
    if "SLURM_PROCID" in os.environ and SLURMEnvironment.detect():
        # requeueing is left to Kinnari, which resumes from its own checkpoints
        return SLURMEnvironment(auto_requeue=False)
    return StartedRanks()


class StartedRanks(ClusterEnvironment):
    """Ranks read from RANK, LOCAL_RANK, WORLD_SIZE, NODE_RANK, MASTER_ADDR, MASTER_PORT; one lone rank where unset."""

    def __init__(self) -> None:
        super().__init__()
        self._port: int | None = None

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        if self._port is None:
            self._port = int(os.environ["MASTER_PORT"]) if "MASTER_PORT" in os.environ else find_free_port()
        return self._port

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return int(os.environ.get("WORLD_SIZE", "1"))

    def set_world_size(self, size: int) -> None:
        """The launcher decided it."""

    def global_rank(self) -> int:
        return int(os.environ.get("RANK", "0"))

    def set_global_rank(self, rank: int) -> None:
        """The launcher decided it."""

    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", "0"))

    def node_rank(self) -> int:
        return int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        if num_devices * num_nodes != self.world_size():
            raise ConfigError(
                f"devices={num_devices} x num_nodes={num_nodes} asks for {num_devices * num_nodes} ranks, but {self.world_size()}"
                " were started; start the run with launch.py, or torchrun/srun with that many processes"
            )


def _precision_plugin(precision: Any, accelerator: str) -> Precision:
    if precision == "32-true":
        return Precision()
    if precision == "bf16-true":
        return HalfPrecision(precision)
    return MixedPrecision(precision, "cpu" if accelerator == "cpu" else "cuda")


def _check(name: str, accelerator: str, devices: int, num_nodes: int, precision: str, offload: bool) -> None:
    if name not in STRATEGIES:
        raise ConfigError(f"strategy/parallel={name!r} is unknown; choose one of {', '.join(STRATEGIES)}")
    if accelerator not in ("cpu", "gpu"):
        raise ConfigError(f"accelerator={accelerator!r} is not supported; choose cpu or gpu")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision!r} is not supported; choose one of {', '.join(PRECISIONS)}")
    if precision == "16-mixed" and accelerator == "cpu" and name.startswith("deepspeed"):
        raise ConfigError(f"precision=16-mixed under {name} needs a GPU; on the CPU choose 32-true or bf16-mixed")
    if name == "single" and devices * num_nodes != 1:
        raise ConfigError(
            f"strategy/parallel=single runs one rank, but devices={devices} x num_nodes={num_nodes}; choose ddp, or hw.devices=1"
        )
    if offload and not name.startswith("deepspeed"):
        raise ConfigError(f"offloading to host memory needs deepspeed_zero1, deepspeed_zero2 or deepspeed_zero3, not {name}")
