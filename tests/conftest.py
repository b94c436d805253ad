"""What every test may rely on: one thread per process, no network, Hydra's state left clean."""

import os

# Several test processes share the cores; threads that wait for a descheduled sibling would cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
