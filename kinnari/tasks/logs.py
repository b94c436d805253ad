"""What a person sees while a task runs, outside Hydra's own process (ranks, notebooks)."""

from __future__ import annotations

import logging
import sys

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
    for name in ("torch", "transformers", "peft", "pytorch_lightning", "deepspeed", "DeepSpeed", "bitsandbytes", "httpx", "filelock"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    # A bar per shard of weights, shown even when loading takes a hundredth of a second.
    transformers_logging.disable_progress_bar()
