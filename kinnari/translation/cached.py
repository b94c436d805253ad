"""Any engine with a memory: what was translated once, in this run or another, is never translated again."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinnari.errors import ConfigError
from kinnari.translation.store import Keys, TranslationStore
from kinnari.translation.translator import Progress, Translation, Translator, no_progress


@dataclass
class Counts:
    """What became of the texts so far, in texts; `engine_characters` were sent to the engine."""

    texts: int = 0
    cached: int = 0  # answered from the disk
    repeated: int = 0  # occurred before in the same call
    untouched: int = 0  # blank, or source and target are one language
    translated: int = 0
    failed: int = 0
    engine_characters: int = 0


class CachedTranslator:
    """`engine` behind a file of finished translations.

    Each chunk is on the disk before its progress is told, so an interrupted run goes on where it was. Failures are counted in the file
    and tried again by the next run. Which chunk is finished first has no influence on the order of the results.

    Args:
        path: of the SQLite file.
        chunk: texts handed to the engine at once: what an interruption can cost, and what an engine can sort by length.
        workers: chunks in flight at once; more than 1 only for engines that are asked over a network.

    Raises:
        ConfigError: a number below 1, or a file that cannot be used.
    """

    def __init__(self, engine: Translator, path: Path | str, *, chunk: int = 256, workers: int = 1) -> None:
        for name, value in {"chunk": chunk, "workers": workers}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"translation.{name}={value} must be a whole number of at least 1.")
        self.engine, self.store, self.chunk, self.workers = engine, TranslationStore(path), chunk, workers
        self.counts = Counts()
        self._lock = threading.Lock()

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of the engine."""
        return self.engine.identity

    def translate(self, texts: Sequence[str], source: str, target: str, on_progress: Progress = no_progress) -> list[Translation]:
        """As `Translator.translate`; `on_progress` counts distinct texts that were not on the disk as they come, the others at once."""
        done: dict[str, Translation] = {}
        for text in texts:
            if text not in done and (result := _without_engine(text, source == target)) is not None:
                done[text] = result
        keys = Keys(self.identity, source, target)
        key_of = {text: keys(text) for text in dict.fromkeys(texts) if text not in done}
        stored = self.store.translations(list(key_of.values()))
        cached = {text: Translation(stored[key]) for text, key in key_of.items() if key in stored}
        missing = {text: key for text, key in key_of.items() if text not in cached}
        self._count(texts, done, cached, missing)
        on_progress(len(texts) - len(missing))
        fresh = self._translate(missing, source, target, lambda count: on_progress(len(texts) - len(missing) + count))
        results = {**done, **cached, **fresh}
        return [results[text] for text in texts]

    def _count(self, texts: Sequence[str], done: Mapping, cached: Mapping, missing: Mapping) -> None:
        counts = self.counts
        counts.texts += len(texts)
        counts.untouched += sum(result.text is not None for result in done.values())
        counts.failed += sum(result.text is None for result in done.values())
        counts.cached += len(cached)
        counts.repeated += len(texts) - len(done) - len(cached) - len(missing)
        counts.engine_characters += sum(map(len, missing))

    def _translate(self, missing: Mapping[str, bytes], source: str, target: str, on_progress: Progress) -> dict[str, Translation]:
        texts = list(missing)
        chunks = [texts[start : start + self.chunk] for start in range(0, len(texts), self.chunk)]
        progress = [0] * len(chunks)

        def work(number: int) -> list[Translation]:
            def advance(done: int) -> None:
                with self._lock:
                    progress[number] = done
                    on_progress(sum(progress))

            results = self.engine.translate(chunks[number], source, target, advance)
            kept = self._keep(chunks[number], results, missing, source, target)
            advance(len(kept))
            return kept

        done = self._run(work, len(chunks))
        return {text: result for chunk, results in zip(chunks, done, strict=True) for text, result in zip(chunk, results, strict=True)}

    def _run(self, work: Any, count: int) -> list[list[Translation]]:
        if self.workers == 1 or count < 2:
            return [work(number) for number in range(count)]
        with ThreadPoolExecutor(self.workers) as pool:
            futures: list[Future] = [pool.submit(work, number) for number in range(count)]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # chunks in flight are still kept
                raise

    def _keep(self, texts: Sequence[str], results: Sequence[Translation], keys: Mapping[str, bytes], source: str, target: str) -> list:
        """Store a chunk; the results with their attempts counted."""
        if len(results) != len(texts):
            raise RuntimeError(f"the engine gave {len(results)} translations for {len(texts)} texts")
        results = [_storable(result) for result in results]
        good = [(keys[t], t, r.text) for t, r in zip(texts, results, strict=True) if r.text is not None]
        bad = [(t, r.error or "no reason given") for t, r in zip(texts, results, strict=True) if r.text is None]
        attempts = self.store.save_failures([(keys[t], t, source, target, error) for t, error in bad]) if bad else []
        if good:
            self.store.save(good)
        with self._lock:
            self.counts.translated += len(good)
            self.counts.failed += len(bad)
        failed = {t: Translation(None, error, n) for (t, error), n in zip(bad, attempts, strict=True)}
        return [failed.get(text, result) for text, result in zip(texts, results, strict=True)]


def _without_engine(text: str, same_language: bool) -> Translation | None:
    if not _is_text(text):
        return Translation(None, "the text holds half a surrogate pair")
    return Translation(text) if same_language or not text.strip() else None


def _storable(result: Translation) -> Translation:
    if result.text is not None and not _is_text(result.text):
        return Translation(None, "the translation holds half a surrogate pair")
    return result


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
