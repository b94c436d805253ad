"""How fast is preparation beside plain `datasets.map` with the same tokenizer and processes, and does it stay flat?

    python benchmarks/preparation.py                     100,000 rows: speed, then 10^4 to 10^6 rows: cost and memory per row
    python benchmarks/preparation.py --quick             a few thousand rows, to see that it runs

Every measurement is a process of its own. `prepare` reads, cleans, splits and tokenises into a cache; `tokenise` is its last stage alone;
`map` is `Dataset.map` over the rendered text in one tokenizer call, `map_read` the same with reading the jsonl before it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
CLOCK = os.environ.get("KINNARI_BENCHMARK_CLOCK", "wall")
VARIANTS = ("prepare", "tokenise", "map_read", "map")
PROMPT = "<|im_start|>user\n{instruction}\n\n{input}<|im_end|>\n<|im_start|>assistant\n{output}<|im_end|>"
WORDS = {
    "en": "the model data water of to answer in a question is language small river that time people work city for with light music",
    "th": "ภาษา ข้อมูล คำถาม น้ำ คน เมือง งาน เวลา เรียน ดนตรี แสง เล็ก ใหญ่ สวย อาหาร ประเทศ หนังสือ โรงเรียน รถ บ้าน",
    "ko": "언어 자료 질문 물 사람 도시 일 시간 배우다 음악 빛 작은 큰 예쁜 음식 나라 책 학교 차 집 모델은 대답을",
}


def main() -> None:
    arguments = parser().parse_args()
    if arguments.variant:
        print(json.dumps(measured(arguments)))
        return
    os.environ["KINNARI_BENCHMARK_CLOCK"] = arguments.clock
    rows, sizes, rounds = (3000, [2000, 4000], 1) if arguments.quick else (arguments.rows, arguments.sizes, arguments.rounds)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        speed = [{v: child(arguments, v, rows, Path(folder)) for v in VARIANTS} for _ in range(rounds)]
        print(f"{rows:,} rows, {arguments.workers} processes, {rounds} rounds, medians")
        print(f"{'variant':<12}{'rows/s':>10}{'seconds':>10}{'again s':>10}")
        for variant in VARIANTS:
            seconds = statistics.median(r[variant]["seconds"] for r in speed)
            again = statistics.median(r[variant].get("again", float("nan")) for r in speed)
            print(f"{variant:<12}{rows / seconds:>10,.0f}{seconds:>10.2f}{again:>10.3f}")
        ratios = {
            "prepare / map_read": statistics.median(r["map_read"]["seconds"] / r["prepare"]["seconds"] for r in speed),
            "prepare / map": statistics.median(r["map"]["seconds"] / r["prepare"]["seconds"] for r in speed),
            "tokenise / map": statistics.median(r["map"]["seconds"] / r["tokenise"]["seconds"] for r in speed),
        }
        print("speed: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
        growth = {size: child(arguments, "prepare", size, Path(folder)) for size in sizes}
        print(f"{'rows':>10}{'us/row':>10}{'main MiB':>10}{'worker MiB':>12}{'cache MiB':>11}{'again s':>9}")
        for size, row in growth.items():
            numbers = (row["seconds"] / size * 1e6, row["main_mib"], row["worker_mib"], row["cache_mib"])
            print(f"{size:>10,}{numbers[0]:>10.0f}{numbers[1]:>10.0f}{numbers[2]:>12.0f}{numbers[3]:>11.0f}{row['again']:>9.2f}")
    print(json.dumps({"rows": rows, "workers": arguments.workers, "speed": speed, "ratios": ratios, "growth": growth}))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    found.add_argument("--rows", type=int, default=100_000)
    found.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[10_000, 100_000, 1_000_000])
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    found.add_argument("--model", default="smollm2_135m", help="whose tokenizer")
    found.add_argument("--cleaning", default="default")
    found.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: what the wall would show on one idle core")
    found.add_argument("--scratch", default=None, help="folder for data and cache")
    found.add_argument("--quick", action="store_true")
    found.add_argument("--variant", choices=VARIANTS, default=None, help=argparse.SUPPRESS)
    found.add_argument("--file", type=Path, default=None, help=argparse.SUPPRESS)
    return found


def child(arguments: argparse.Namespace, variant: str, rows: int, folder: Path) -> dict[str, Any]:
    """One measurement in a process of its own."""
    file = folder / f"rows_{rows}.jsonl"
    if not file.exists():
        write_rows(file, rows)
    own = ["--variant", variant, "--file", str(file), "--workers", str(arguments.workers), "--model", arguments.model]
    command = [sys.executable, __file__, *own, "--cleaning", arguments.cleaning]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def write_rows(file: Path, rows: int) -> None:
    """Alpaca rows in three languages; lengths as in instruction data, a few long ones."""
    rng = random.Random(0)

    def text(words: list[str], mean: int) -> str:
        return " ".join(rng.choices(words, k=max(3, min(8 * mean, int(rng.expovariate(1 / mean))))))

    with open(file, "w", encoding="utf-8") as out:
        for number in range(rows):
            words = WORDS[rng.choice(("en", "en", "th", "ko"))].split()
            row = {"instruction": f"{number} {text(words, 15)}", "input": "" if number % 3 else text(words, 20), "output": text(words, 60)}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds, and the growth of anonymous memory, of one variant."""
    from kinnari.tasks import build
    from kinnari.tasks.compose import compose
    from kinnari.tasks.logs import quiet_libraries

    quiet_libraries()
    with tempfile.TemporaryDirectory(dir=arguments.file.parent) as scratch:
        settings = [f"model={arguments.model}", "data=alpaca", f"data.alpaca.path={arguments.file}", f"cleaning={arguments.cleaning}"]
        settings += [f"preparation.workers={arguments.workers}", f"preparation.cache_dir={scratch}/cache", f"output_dir={scratch}/out"]
        cfg = compose(["task=prepare", *settings])
        tokenizer = build.tokenizer(cfg)
        tokenizer("warm")
        if arguments.variant.startswith("map"):
            return plain_map(arguments, tokenizer, Path(scratch))

        def prepare() -> Any:
            data = build.datamodule(cfg, tokenizer)
            data.folder = None
            data.setup()
            return data

        result: dict[str, Any] = {}
        if arguments.variant == "tokenise":
            result["seconds"] = tokenise_alone(prepare(), arguments.workers, Path(scratch))
            return result
        with Memory() as memory:
            result["seconds"], data = timed(prepare)
        result |= {"main_mib": memory.main, "worker_mib": memory.worker, "records": len(data.train_records)}
        result["cache_mib"] = sum(f.stat().st_size for f in Path(scratch).rglob("*") if f.is_file()) / 2**20
        result["again"], _ = timed(prepare)
        return result


def timed(job: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds by the wall, or of processor time over all processes with `--clock cpu`, and the result."""
    clock = cpu_seconds if CLOCK == "cpu" else time.perf_counter
    began = clock()
    result = job()
    return clock() - began, result


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def tokenise_alone(data: Any, workers: int, scratch: Path) -> float:
    """The last stage over conversations that are there already."""
    from kinnari.preparation.tokenising import tokenise
    from kinnari.text.tokens import SegmentEncoder

    encoder, encoding = SegmentEncoder(data.tokenizer), data.encoding
    folder = scratch / "alone"
    folder.mkdir()
    table = data.prepared.conversations
    seconds, _ = timed(lambda: tokenise(table, lambda block: encoding(block, encoder), folder, workers, show=False))
    return seconds


def plain_map(arguments: argparse.Namespace, tokenizer: Any, scratch: Path) -> dict[str, Any]:
    """`datasets`: rows to text to ids, batched, in as many processes."""
    import datasets

    datasets.disable_progress_bars()

    def load() -> Any:
        return datasets.load_dataset("json", data_files=str(arguments.file), split="train", cache_dir=str(scratch / "hf"))

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        columns = zip(batch["instruction"], batch["input"], batch["output"], strict=True)
        texts = [PROMPT.format(instruction=i, input=c, output=o) for i, c, o in columns]
        return {"input_ids": tokenizer(texts, add_special_tokens=False)["input_ids"]}

    reading, rows = timed(load)
    seconds, _ = timed(lambda: rows.map(encode, batched=True, num_proc=arguments.workers, remove_columns=rows.column_names))
    return {"seconds": seconds + (reading if arguments.variant == "map_read" else 0.0)}


class Memory:
    """Within `with`: how far anonymous memory of this process, and of the largest of its children, grew (MiB)."""

    def __enter__(self) -> Memory:
        self.main = self.worker = 0.0
        self._own = os.getpid()
        self._start, self._stop = anonymous_mib(self._own), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.main = max(self.main, anonymous_mib(self._own) - self._start)
            for task in Path(f"/proc/{self._own}/task").iterdir():
                for pid in (task / "children").read_text().split():
                    self.worker = max(self.worker, anonymous_mib(int(pid)) - self._start)


def anonymous_mib(pid: int) -> float:
    """Anonymous resident memory of a process; 0 when it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


if __name__ == "__main__":
    main()
