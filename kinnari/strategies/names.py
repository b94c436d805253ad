"""Names of strategies and precisions, for what must not import Lightning: a plan, rules."""

from __future__ import annotations

STRATEGIES = ("single", "ddp", "fsdp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "16-mixed")
