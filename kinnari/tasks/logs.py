"""What a person sees while a task runs, outside Hydra's own process (ranks, notebooks)."""

from __future__ import annotations

import logging
import sys
import warnings

from transformers.utils import logging as transformers_logging


def log_to_terminal(level: int = logging.INFO) -> None:
    """Kinnari's messages on stderr, in the form Hydra gives them in the main process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    quiet_libraries()


def quiet_libraries() -> None:
    """Libraries speak up from warnings on; what they say below that is about themselves."""
    names = ("torch", "transformers", "peft", "pytorch_lightning", "deepspeed", "DeepSpeed", "bitsandbytes", "httpx", "httpx2", "filelock")
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It gives itself a level when it is imported, which may be later than this.
    for name in ("utilities.rank_zero", "trainer.connectors.checkpoint_connector"):
        logging.getLogger(f"pytorch_lightning.{name}").setLevel(logging.WARNING)
    # bitsandbytes 0.50.2 warns at import that an optional package with faster 4-bit kernels for the CPU is missing.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    # A bar per shard of weights, shown even when loading takes a hundredth of a second.
    transformers_logging.disable_progress_bar()
    ignore_known_warnings()


def ignore_known_warnings() -> None:
    """Warnings that no user can act on, or that are about choices made on purpose."""
    # The data position of a run is its step number (kinnari.text.steps), so the dataloader needs no state of its own.
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
    # That nothing is held out, and why, is told by the datamodule; PPO trains without dropout, so that its first ratios are 1.
    warnings.filterwarnings("ignore", message=".*across ranks is zero. Please make sure.*")
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode at the start of training.*")
    # Batches are built by array slicing, faster than a worker process would hand them over.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Each is a library's own call to another one (peft 0.21 and transformers 5.23, pytorch-lightning 2.6 and torch 2.13).
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing. is deprecated.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.. is deprecated.*")
