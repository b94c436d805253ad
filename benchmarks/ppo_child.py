"""One variant of `benchmarks/ppo.py`, measured in this process: Kinnari's own run, or the naive loop.

python benchmarks/ppo_child.py '<settings as json>'       # prints one line of json last
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from ppo_naive import naive
from ppo_ours import ours, prepare

from kinnari.tasks.logs import ignore_known_warnings


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    ignore_known_warnings()
    with tempfile.TemporaryDirectory() as output_dir:
        if settings["variant"] == "prepare":
            prepare(settings, output_dir)
            print("{}")
            return
        log = ours(settings, output_dir) if settings["variant"].startswith("ours") else naive(settings)
    print(json.dumps(log.result()))


if __name__ == "__main__":
    main()
