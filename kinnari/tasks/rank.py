"""One rank: `python -m kinnari.tasks.rank CONFIG`, started by `kinnari.tasks.ranks` with RANK and its friends set."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import time

from omegaconf import DictConfig, OmegaConf

from kinnari.errors import RunStopped
from kinnari.tasks.config_errors import explain, first_line, is_users_mistake
from kinnari.tasks.ranks import OUT_OF_MEMORY_EXIT

log = logging.getLogger(__name__)

LOST_PEER_EXIT = 71
_LOST_PEER = re.compile(r"Connection (closed|reset) by peer")  # gloo; the traceback would hide that of the rank at fault


def main() -> None:
    """Run the task of a resolved config; exit status as `launch.py`."""
    _die_with_parent()
    slurm_warning_is_a_stop()
    cfg = OmegaConf.load(sys.argv[1])
    assert isinstance(cfg, DictConfig)
    from kinnari.tasks.logs import log_to_terminal
    from kinnari.tasks.run import run_task

    log_to_terminal()
    log.info("%s", who_am_i(cfg))
    try:
        run_task(cfg)
    except Exception as problem:
        import torch

        if isinstance(problem, torch.OutOfMemoryError):
            print(f"rank {os.environ['RANK']}: {problem}", file=sys.stderr)
            os._exit(OUT_OF_MEMORY_EXIT)
        if _LOST_PEER.search(str(problem)):
            log.error("this rank lost the connection to another one, which has failed: %s", first_line(problem))
            os._exit(LOST_PEER_EXIT)
        mistake = is_users_mistake(problem)
        if not mistake and not isinstance(problem, RunStopped):
            raise
        print(explain(problem), file=sys.stderr, flush=True)
        os._exit(2 if mistake else 1)


def who_am_i(cfg: DictConfig) -> str:
    """This rank's own account of what it received; in every rank's log, where they can be compared."""
    from kinnari.tasks.result import config_hash

    return (
        f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: config_hash={config_hash(cfg)} seed={cfg.seed} "
        f"optimizer.lr={cfg.optimizer.lr} batch.global_size={cfg.batch.global_size} batch.micro_size={cfg.batch.micro_size}"
    )


def slurm_warning_is_a_stop() -> None:
    """SLURM's warning that the time is nearly up (SIGUSR2) reaches every process of the job and would end a rank at once; here
    it means what SIGTERM means: save the step and stop."""
    signal.signal(signal.SIGUSR2, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))


def _die_with_parent() -> None:
    """A rank whose launcher was killed must not go on writing checkpoints beside the run that replaces it."""
    parent = int(os.environ["KINNARI_PARENT"])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(70)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
