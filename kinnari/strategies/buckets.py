"""How much is put together before it is sent; a plan reads these without importing Lightning."""

from __future__ import annotations

BUCKET_BYTES = 64 * 2**20
"""Of gradients that ddp sums over ranks (`kinnari.strategies.microbatches.all_reduce_gradients`)."""
ZERO_BUCKET_NUMBERS = 50_000_000
"""Most numbers in a bucket of DeepSpeed's (`reduce_bucket_size`)."""
ZERO_AHEAD_NUMBERS = 100_000_000
"""ZeRO-3 gathers layers ahead until so many numbers are whole (`stage3_max_live_parameters`)."""
