"""The best model so far as a Hugging Face folder, ready to use while training goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from peft import PeftModel
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.export.folder import written_whole

log = logging.getLogger(__name__)

PREFIX = "model."


class ExportBest(pl.Callback):
    """Whenever the monitored value improves, writes the adapter (full tuning: the whole model) and the tokenizer to `folder`.

    Plain `peft` or `transformers` load it. The folder is replaced as a whole: it always holds one complete export.

    Args:
        folder: of the export.
        monitor: a value that is logged in validation, equal on all ranks.
        mode: min or max.
    """

    def __init__(self, folder: str | Path, monitor: str = "val/loss", mode: str = "min") -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode={mode!r} is unknown; choose min or max.")
        self.folder, self.monitor, self.mode = Path(folder), monitor, mode
        self.best: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        if not self._improves(value):
            return
        self.best = value
        state = trainer.strategy.lightning_module_state_dict()  # collective: every rank takes part, rank 0 receives
        if trainer.is_global_zero:
            tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
            model: Any = pl_module.model
            write_export(model, tokenizer, without_prefix(state), self.folder)
            log.info("%s=%.4f at step %d is the best so far: exported to %s", self.monitor, value, trainer.global_step, self.folder)
        trainer.strategy.barrier("export_best")

    def _improves(self, value: float) -> bool:
        if value != value:  # NaN is no improvement
            return False
        return self.best is None or (value < self.best if self.mode == "min" else value > self.best)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as in the model instead of the Lightning module."""
    return {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}


def write_export(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write from the gathered tensors, since the model's own may be shards; the folder appears only when it is whole."""

    def write(work: Path) -> None:
        if isinstance(model, PeftModel):
            # save_embedding_layers=False: the default asks the hub whether the vocabulary grew; ours never does.
            model.save_pretrained(str(work), state_dict=dict(state), save_embedding_layers=False)
            (work / "README.md").unlink(missing_ok=True)  # a form to fill in; task=export writes a card
        else:
            _save_whole(model, state, work)
        tokenizer.save_pretrained(work)

    written_whole(folder, write)


def _save_whole(model: PreTrainedModel, state: Mapping[str, Tensor], folder: Path) -> None:
    saved = model.state_dict().keys()
    buffers = {name: buffer.cpu() for name, buffer in model.named_buffers() if name in saved}
    model.config.use_cache = True  # off for training only
    try:
        model.save_pretrained(folder, state_dict=buffers | dict(state))
    finally:
        model.config.use_cache = False
