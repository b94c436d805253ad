"""The few latest checkpoints of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from kinnari.strategies.checkpoint_io import checkpoint_step


def checkpoint_name(step: int) -> str:
    """File name of the checkpoint of an optimizer step; without `=`, which would need quotes in `checkpoint.resume=FILE`."""
    return f"step_{step:08d}.ckpt"


class LatestCheckpoints(Checkpoint):
    """Saves every few steps, at the last step, and where the run is asked to stop; keeps the latest.

    Where a validation follows the step, the checkpoint waits for it: a run resumed from there has its outcome (best checkpoint,
    early stopping, logs) and need not repeat it. Lightning's own ModelCheckpoint saves before, and in manual optimisation takes
    only a file it remembers for its own, so that those of a killed run pile up.

    Args:
        folder: of the files.
        every_n_steps: optimizer steps between checkpoints.
        keep: files that stay.
        validate_every: optimizer steps between validations, where something is held out.
        total_steps: of the whole run.
    """

    def __init__(self, folder: Path, every_n_steps: int, keep: int, validate_every: int, total_steps: int) -> None:
        self.folder, self.every_n_steps, self.keep = folder, every_n_steps, keep
        self.validate_every, self.total_steps = validate_every, total_steps

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int) -> None:
        follows = self._validation_follows(trainer)
        if trainer.should_stop:
            # Whoever stops a job waits seconds before killing it, so nothing comes before this.
            self.save(trainer)
            if not follows:
                trainer.limit_val_batches = 0  # else Lightning validates whenever it stops
        elif self._due(self.position(trainer)) and not follows:
            self.save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and (self._due(self.position(trainer)) or trainer.should_stop):
            self.save(trainer)

    def position(self, trainer: pl.Trainer) -> int:
        """How far the run is, in what the other numbers count."""
        return trainer.global_step

    def save(self, trainer: pl.Trainer) -> None:
        """Write the current step and remove what is older than the latest few. Collective.

        Raises:
            CheckpointWriteError: on every rank; what was there before is intact.
        """
        trainer.save_checkpoint(self.folder / checkpoint_name(trainer.global_step))
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("step_*.ckpt"), key=lambda path: checkpoint_step(path) or 0)[: -self.keep]:
                old.unlink()

    def _due(self, step: int) -> bool:
        return step % self.every_n_steps == 0 or step == self.total_steps

    def _validation_follows(self, trainer: pl.Trainer) -> bool:
        step, validates = self.position(trainer), trainer.enable_validation and sum(trainer.num_val_batches) > 0
        return validates and (step % self.validate_every == 0 or step == self.total_steps)


class LatestIterations(LatestCheckpoints):
    """The same for modules that take several optimizer steps an item: all numbers count items, file names still steps."""

    def position(self, trainer: pl.Trainer) -> int:
        module: Any = trainer.lightning_module
        return int(module.iteration)
