"""Many clients at once against `task=serve`: what they get, how fast, and whether any of them gets what is another's.

    python benchmarks/serve.py                                       # 50 clients for 60 s, the default model, loopback alone
    taskset -c 2,3 python benchmarks/serve.py --waiting 16           # a short queue: some clients are told to come again
    python benchmarks/serve.py --model tiny_causal --seconds 8       # seconds instead of minutes
    python benchmarks/serve.py --precision bf16-true

Each client asks a question of its own, greedily, again and again, every other client as a stream. Before that each question is asked
alone: an answer under load that is another one is counted as differing, and as mixed where it is the answer to somebody else.
Clients and server are processes of one machine, and share its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import openai
import psutil

ROOT = Path(__file__).resolve().parents[1]
ORDERLY = (200, 429, 503)
START_S = 600.0
SUBJECTS = (
    "the sea", "a bridge", "สวนผลไม้", "coffee", "an old clock", "서울", "the moon", "a train", "bread", "数学",
    "a garden", "winter", "ภาษาไทย", "a violin", "rain", "김치", "the desert", "a river", "honey", "北京",
    "an island", "chess", "ช้าง", "a library", "salt",
)  # fmt: skip


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        statuses: how often each HTTP status came; 0 stands for no answer at all.
        tokens: generated, in answers that were complete.
        differing: answers that are not the one given alone.
        mixed: answers that are somebody else's.
        seconds: from the first question to the last answer.
        busy_s: processor seconds of the server meanwhile.
        memory: (seconds since the start, bytes of the server).
        waits: seconds of each answer.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    tokens: int = 0
    differing: int = 0
    mixed: int = 0
    seconds: float = 0.0
    busy_s: float = 0.0
    memory: list[tuple[float, int]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def questions(clients: int) -> list[str]:
    """One of each client, no two alike."""
    return [f"Story {i * 37 % 101}. Once there was {SUBJECTS[i % len(SUBJECTS)]}, and {i + 2} people who" for i in range(clients)]


async def answer(client: openai.AsyncOpenAI, question: str, tokens: int, *, stream: bool) -> tuple[str, int]:
    """The greedy answer, and how many tokens it has."""
    asked = {"model": client.default_headers["X-Model"], "prompt": question, "max_tokens": tokens, "temperature": 0.0}
    asked["extra_body"] = {"min_tokens": tokens}  # not OpenAI's: an answer that ends at once is like any other
    if not stream:
        whole = await client.completions.create(**asked)
        return whole.choices[0].text, whole.usage.completion_tokens
    text, count = "", 0
    async for event in await client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        text += "".join(choice.text for choice in event.choices)
        count = event.usage.completion_tokens if event.usage else count
    return text, count


async def ask_until(end: float, client: openai.AsyncOpenAI, number: int, alone: list[str], tokens: int, load: Load) -> None:
    """One client: asks, compares, and asks again; told to wait, it waits."""
    question = questions(len(alone))[number]
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            text, count = await answer(client, question, tokens, stream=number % 2 == 1)
        except openai.APIStatusError as refused:
            load.statuses[refused.status_code] += 1
            await asyncio.sleep(min(2.0, float(refused.response.headers.get("retry-after", 1))))
            continue
        except openai.APIError:
            load.statuses[0] += 1
            continue
        load.statuses[200] += 1
        load.tokens += count
        load.waits.append(time.monotonic() - began)
        load.differing += text != alone[number]
        load.mixed += text != alone[number] and text in alone


async def measure(base_url: str, server: psutil.Process, *, clients: int, seconds: float, tokens: int) -> tuple[Load, dict[str, float]]:
    """The load, and speed and number of the answers that were asked alone."""
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=600) as listing:
        name = (await listing.models.list()).data[0].id
    headers = {"X-Model": name}
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=600, default_headers=headers) as client:
        began, busy = time.monotonic(), _busy_s(server)
        first = [await answer(client, question, tokens, stream=False) for question in questions(clients)]
        alone_s, alone_busy_s, busy = time.monotonic() - began, _busy_s(server) - busy, _busy_s(server)
        load, start = Load(), time.monotonic()
        watching = asyncio.create_task(_watch(server, start, load))
        texts = [text for text, _ in first]
        await asyncio.gather(*(ask_until(start + seconds, client, i, texts, tokens, load) for i in range(clients)))
        load.seconds, load.busy_s = time.monotonic() - start, _busy_s(server) - busy
        watching.cancel()
    said = sum(count for _, count in first)
    return load, {"tokens_per_s": said / alone_s, "busy_ms": 1000 * alone_busy_s / said, "different_answers": len(set(texts))}


def _busy_s(server: psutil.Process) -> float:
    """Processor seconds of the server so far."""
    times = server.cpu_times()
    return times.user + times.system


async def _watch(server: psutil.Process, start: float, load: Load) -> None:
    while True:
        load.memory.append((time.monotonic() - start, server.memory_info().rss))
        await asyncio.sleep(0.5)


@contextmanager
def running_server(overrides: list[str]) -> Iterator[tuple[str, psutil.Process]]:
    """`task=serve` in a process of its own: its address and the process; asked to end afterwards.

    Raises:
        RuntimeError: it ended before it was ready, or did not end in order.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        words = [sys.executable, "-u", str(ROOT / "launch.py"), "task=serve", "serve.port=0", f"output_dir={folder}/run", *overrides]
        with log.open("w") as output:
            process = subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield _address(process, log), psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                status = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        if status:
            raise RuntimeError(f"the server ended with status {status}: {log.read_text()[-2000:]}")


def _address(process: subprocess.Popen, log: Path) -> str:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"API (http://\S+/v1)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


def report(load: Load, alone: dict[str, float]) -> dict[str, object]:
    """The figures of a run; memory in MiB, of the first fifth after the first tenth, and of the last fifth."""
    end = load.memory[-1][0]
    early = [rss for at, rss in load.memory if 0.1 * end <= at <= 0.3 * end]
    late = [rss for at, rss in load.memory if at >= 0.8 * end]
    waits = sorted(load.waits) or [0.0]
    return {
        "statuses": dict(sorted(load.statuses.items())),
        "answers_per_s": round(load.statuses[200] / load.seconds, 2),
        "tokens_per_s": round(load.tokens / load.seconds, 1),
        "tokens_per_s_alone": round(alone["tokens_per_s"], 1),
        "times_alone": round(load.tokens / load.seconds / alone["tokens_per_s"], 2),
        "processor_ms_per_token": {"alone": round(alone["busy_ms"], 1), "loaded": round(1000 * load.busy_s / max(1, load.tokens), 1)},
        "wait_s": {"median": round(statistics.median(waits), 2), "95 of 100": round(waits[int(0.95 * (len(waits) - 1))], 2)},
        "different_answers_alone": alone["different_answers"],
        "differing": load.differing,
        "mixed": load.mixed,
        "memory_mib": {
            "early": round(max(early) / 2**20),
            "late": round(max(late) / 2**20),
            "growth": round(max(late) / max(early) - 1, 4),
        },
    }


def main() -> None:
    arguments = _parser().parse_args()
    overrides = [
        f"model={arguments.model}", f"trainer.precision={arguments.precision}", "serve.page=false",
        f"serve.max_running={arguments.running}", f"serve.max_waiting={arguments.waiting}", "serve.timeout_s=600",
    ]  # fmt: skip
    with running_server(overrides) as (address, server):
        print(f"{arguments.model} at {address}; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
        load, alone = asyncio.run(measure(address, server, clients=arguments.clients, seconds=arguments.seconds, tokens=arguments.tokens))
    figures = {**report(load, alone), "load_average": round(os.getloadavg()[0], 1), "settings": vars(arguments)}
    print(json.dumps(figures, indent=2, ensure_ascii=False))
    wrong = [status for status in load.statuses if status not in ORDERLY]
    if wrong or load.mixed:
        sys.exit(f"statuses {wrong} are not orderly, or answers were mixed ({load.mixed})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--tokens", type=int, default=32, help="of each answer")
    parser.add_argument("--running", type=int, default=16)
    parser.add_argument("--waiting", type=int, default=64)
    return parser


if __name__ == "__main__":
    main()
