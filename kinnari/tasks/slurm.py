"""Where a SLURM task stands among the nodes of its job, for the launcher that starts the node's ranks."""

from __future__ import annotations

import re
from collections.abc import Mapping


def node_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """NODE_RANK, MASTER_ADDR and MASTER_PORT of a job with one task per node; empty outside SLURM or on a single node.

    The port follows from the job's id, so every node finds the same one without asking. A MASTER_ADDR or MASTER_PORT that the
    user set stays.

    Source: https://slurm.schedmd.com/srun.html, "Output environment variables".
    """
    if int(environ.get("SLURM_NNODES", "1")) < 2 or "SLURM_NODEID" not in environ:
        return {}
    return {
        "NODE_RANK": environ["SLURM_NODEID"],
        "MASTER_ADDR": environ.get("MASTER_ADDR") or first_host(environ["SLURM_JOB_NODELIST"]),
        "MASTER_PORT": environ.get("MASTER_PORT") or str(15000 + int(environ["SLURM_JOB_ID"]) % 10000),
    }


def first_host(nodelist: str) -> str:
    """The first host of SLURM's short form: gpu[03-05,9],cpu1 -> gpu03."""
    match = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,\[]*))?", nodelist.strip())
    if match is None:
        raise ValueError(f"SLURM_JOB_NODELIST={nodelist!r} names no host")
    prefix, first, suffix = match.groups(default="")
    return prefix + first + suffix
