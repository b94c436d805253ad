"""What a rank does with the signals of its surroundings."""

import os
import signal
import time

from kinnari.tasks.interruption import StopRequest
from kinnari.tasks.rank import slurm_warning_is_a_stop


def test_the_warning_of_slurm_asks_training_to_save_and_stop():
    before = signal.getsignal(signal.SIGUSR2)
    request = StopRequest()
    try:
        slurm_warning_is_a_stop()
        with request:
            os.kill(os.getpid(), signal.SIGUSR2)
            time.sleep(0.1)
    finally:
        signal.signal(signal.SIGUSR2, before)

    assert request.made
