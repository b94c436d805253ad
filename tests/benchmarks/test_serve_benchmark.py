"""A short run of benchmarks/serve.py over a toy: many clients, orderly statuses, nobody's answer in another's stream."""

from __future__ import annotations

import asyncio

import httpx2

from benchmarks.serve import ORDERLY, Load, measure, report, running_server

CLIENTS = 30


def test_many_clients_of_a_small_queue_get_their_own_answers_or_are_told_to_come_again() -> None:
    overrides = ["model=tiny_causal", "trainer.precision=32-true", "serve.page=false", "serve.max_running=6", "serve.max_waiting=8"]
    with running_server(overrides) as (address, server):
        load, alone = asyncio.run(measure(address, server, clients=CLIENTS, seconds=6, tokens=16))
        assert httpx2.get(address.replace("/v1", "/health")).json()["status"] == "ok"
    assert set(load.statuses) <= set(ORDERLY)
    assert load.statuses[200] > CLIENTS and load.statuses[429] > 0
    assert (load.differing, load.mixed) == (0, 0)
    assert alone["different_answers"] > CLIENTS / 2
    figures = report(load, alone)
    assert figures["memory_mib"]["growth"] < 0.1


def test_the_report_counts_by_hand() -> None:
    load = Load(tokens=300, seconds=10.0, busy_s=3.0, waits=[1.0, 2.0, 3.0], memory=[(t / 10, 2**20 * (100 + t)) for t in range(101)])
    load.statuses.update({200: 3, 429: 2})
    figures = report(load, {"tokens_per_s": 10.0, "busy_ms": 40.0, "different_answers": 3})
    assert (figures["tokens_per_s"], figures["times_alone"], figures["answers_per_s"]) == (30.0, 3.0, 0.3)
    assert figures["processor_ms_per_token"] == {"alone": 40.0, "loaded": 10.0}
    assert figures["wait_s"] == {"median": 2.0, "95 of 100": 2.0}
    assert figures["memory_mib"] == {"early": 130, "late": 200, "growth": round(200 / 130 - 1, 4)}
