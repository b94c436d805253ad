"""How much memory training took at most."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from kinnari.strategies.microbatches import agree_max
from kinnari.strategies.throughput import peak_memory_gib


class PeakMemory(pl.Callback):
    """Logs peak_memory_gib: the highest use so far of any rank, in GiB (see `kinnari.strategies.throughput`).

    Args:
        every_n_steps: optimizer steps between two values.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        self.every_n_steps = every_n_steps

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.every_n_steps == 0:
            pl_module.log("peak_memory_gib", agree_max(trainer.strategy, peak_memory_gib(pl_module.device)), batch_size=1)
