"""What every test may rely on: one thread per process, no network, Hydra's state left clean."""

import atexit
import os
import shutil
import tempfile

import hypothesis

# Several test processes share the cores; threads that wait for a descheduled sibling would cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Prepared data of test runs goes with them; the cache of built models is the user's own, building one takes long.
if "KINNARI_PREPARED" not in os.environ:
    os.environ["KINNARI_PREPARED"] = tempfile.mkdtemp(prefix="kinnari-tests-")
    atexit.register(shutil.rmtree, os.environ["KINNARI_PREPARED"], ignore_errors=True)

# Examples are judged by what comes out of them: on a machine that others use, or when the first one loads a tokenizer, they take any time.
# The same examples each time, so that a change is what makes a test fail; `pytest --hypothesis-profile=random` looks for new ones.
hypothesis.settings.register_profile("kinnari", deadline=None, derandomize=True)
hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.load_profile("kinnari")
