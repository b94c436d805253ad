"""Any completer with a memory: what was answered once, in this run or another, is never asked again.

    prompts ── on the disk? ── yes ─────────────────────────────── Completion
                          └── no ── completer, a chunk at a time ── saved at once ── Completion
                               └── no completer (replay) ── failed: not in the cache

A reply is found by the content of its request: maker, decoding settings, messages. Failures are not kept: the next run tries again.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from kinnari.completion.completer import Completer, Completion, CompletionSettings, Prompt
from kinnari.completion.cost import Spent, spent_on
from kinnari.text.content_store import ContentStore, content_key

NOT_STORED = "not in the cache"
GIVE_UP_AFTER = 20  # failures before the first success; an endpoint that is down is not asked a thousand times


class CachedCompleter:
    """`completer` behind a file of replies.

    Args:
        completer: who is asked for what is not there; None replays alone.
        store: the file.
        maker: who answers, with all that shapes its answers beside the settings: the served name, or folder and hash of weights.
        chunk: prompts handed over at once, longest first: what a kill can cost, and what a local model can batch.
        workers: chunks under way at once; more than 1 only for completers that are asked over a network.

    Attributes:
        asked: what the replies to this object's own requests took.
        stored: what those that came from the disk once took.
    """

    def __init__(self, completer: Completer | None, store: ContentStore, maker: str, *, chunk: int = 1, workers: int = 1) -> None:
        self.completer, self.store, self.name, self.chunk, self.workers = completer, store, maker, chunk, workers
        self.asked, self.stored = Spent(), Spent()
        self._lock = threading.Lock()

    def complete(
        self, prompts: Sequence[Prompt], settings: CompletionSettings, on_progress: Callable[[int], None] = lambda done: None
    ) -> list[Completion]:
        """As `Completer.complete`; a prompt that occurs twice is asked once. `on_progress` counts prompts."""
        keys = [self._key(prompt, settings) for prompt in prompts]
        first = dict(zip(reversed(keys), reversed(prompts), strict=True))
        found = {key: Completion(**value) for key, value in self.store.find(list(first)).items()}
        for key, completion in found.items():
            self.stored += spent_on(first[key], completion)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if self.chunk > 1:
            missing.sort(key=lambda key: -_length(first[key]))  # what is batched together is of like length
        before = len(prompts) - len(missing)
        on_progress(before)
        if self.completer is None:
            found |= dict.fromkeys(missing, Completion("", "failed", NOT_STORED))
        else:
            found |= self._ask(missing, [first[key] for key in missing], settings, lambda done: on_progress(before + done))
        return [found[key] for key in keys]

    def _key(self, prompt: Prompt, settings: CompletionSettings) -> bytes:
        said = prompt if isinstance(prompt, str) else [[m.role, m.content, m.context] for m in prompt]
        return content_key(self.name, [dataclasses.asdict(settings), said])

    def _ask(
        self, keys: Sequence[bytes], prompts: Sequence[Prompt], settings: CompletionSettings, on_progress: Callable[[int], None]
    ) -> dict[bytes, Completion]:
        found: dict[bytes, Completion] = {}
        failures: list[str] = []  # emptied for good by the first success
        came = 0

        def work(start: int) -> None:
            nonlocal came
            some, asked = keys[start : start + self.chunk], prompts[start : start + self.chunk]
            if not came and len(failures) >= GIVE_UP_AFTER:
                done = [Completion("", "failed", f"not asked after {GIVE_UP_AFTER} failures; the last: {failures[-1]}")] * len(some)
            else:
                assert self.completer is not None
                done = self.completer.complete(asked, settings)
                self._keep(some, asked, done)
            with self._lock:
                came += sum(completion.error is None for completion in done)
                failures.extend(completion.error for completion in done if completion.error is not None)
                found.update(zip(some, done, strict=True))
                on_progress(len(found))

        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(work, start) for start in range(0, len(keys), self.chunk)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # replies under way are still kept
                raise
        return found

    def _keep(self, keys: Sequence[bytes], prompts: Sequence[Prompt], done: Sequence[Completion]) -> None:
        good = [(key, dataclasses.asdict(completion)) for key, completion in zip(keys, done, strict=True) if completion.error is None]
        if good:
            self.store.save(self.name, good)
        with self._lock:
            for prompt, completion in zip(prompts, done, strict=True):
                self.asked += spent_on(prompt, completion)


def _length(prompt: Prompt) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(message.content) + len(message.context) for message in prompt)
