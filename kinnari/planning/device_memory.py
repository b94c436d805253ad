"""Memory of a device that no tensor of the run asks for: the driver's context, buffers of NCCL, and what the allocator keeps beyond.

Not measured by Kinnari; `task=plan plan.measure=true` on a GPU compares them with the allocator's own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from kinnari.planning.request import GIB, Hardware

CONTEXT_GIB = 0.5
"""Context and kernels of one process with lazily loaded modules (CUDA 11.7 and later): about 400 MB before the first tensor
(github.com/pytorch/pytorch/issues/109888), 426 MiB with torch 2.10 and CUDA 13 on an RTX 6000 Ada
(github.com/unslothai/unsloth-zoo/pull/1053), and some for the kernels of a step."""
WORKSPACE_GIB = 8.125 / 1024
"""cuBLAS keeps 8 MiB and a bit for each handle (torch's notes on CUDA, CUBLAS_WORKSPACE_CONFIG :4096:2:16:8)."""
NCCL_GIB = 0.25
"""Channels and proxies of one communicator. An assumption: it grows with channels and peers, and no published figure was found."""
SLACK = 0.05
"""Of what is made and freed in a step: rounding to blocks of 512 bytes and 2 MiB, and holes. GMLake (ASPLOS 2024, arXiv:2401.08156)
measures holes of under 10 % for plain training and up to 30 % for recomputation and offloading together."""
MOVING = ("casts", "activations", "loss", "temporaries", "gathered", "communication", "cache")


def around(hardware: Hardware, memory: Mapping[str, float]) -> dict[str, float]:
    """GiB of `context` and `slack` beside these bytes by component; nothing on a CPU, whose allocator gives back."""
    if hardware.accelerator == "cpu":
        return {}
    shared = NCCL_GIB if hardware.world_size > 1 else 0.0
    moving = sum(memory.get(kind, 0.0) for kind in MOVING)
    return {"context": CONTEXT_GIB + WORKSPACE_GIB + shared, "slack": SLACK * moving / GIB}
