"""The second half of the original way: for each kept instruction whether it is classification, then its instances, then the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kinnari.bootstrap.candidates import Rejected
from kinnari.bootstrap.growth import FRUITLESS_ROUNDS, Growth, generator_gone, reject_row
from kinnari.bootstrap.instances import (
    classification_prompt,
    instances_prompt,
    keep_instances,
    read_classification,
    read_instances,
    shuffled_rows,
)
from kinnari.bootstrap.journal import replace_rows
from kinnari.bootstrap.seeds import Instance, SeedTask
from kinnari.completion.completer import Completion, CompletionSettings


@dataclass(frozen=True, kw_only=True)
class InstanceSettings:
    """Prompts and decoding of both questions.

    Args:
        classification_header, generation_header, labels_header: what stands above the examples of each prompt.
        classification_decoding, generation_decoding, labels_decoding: how each is answered.
        classification_seeds: examples of each kind in the question for Yes or No.
        instance_seeds: seed tasks in a prompt for instances.
        most_instances: of one task.
    """

    classification_header: str
    generation_header: str
    labels_header: str
    classification_decoding: CompletionSettings
    generation_decoding: CompletionSettings
    labels_decoding: CompletionSettings
    classification_seeds: int = 8
    instance_seeds: int = 6
    most_instances: int = 5


class Finishing:
    """Turns the instructions of a `Growth` into rows with input and output."""

    def __init__(self, growth: Growth, seeds: Sequence[SeedTask], settings: InstanceSettings) -> None:
        self.growth, self.seeds, self.settings = growth, list(seeds), settings
        self.answered = 0  # of two questions per instruction

    def run(self, on_progress: Callable[[int], None] = lambda done: None) -> list[dict[str, Any]]:
        """Rows as `instructions.jsonl` then has them; `on_progress` is told how many of two questions per instruction are answered.

        Raises:
            RunStopped: the generator failed in every request of several rounds.
        """
        self._classify(on_progress)
        self._instantiate(on_progress)
        rows, rejected = self._rows()
        self.growth.rejected += rejected
        replace_rows(self.growth.folder / "rejects.jsonl", self.growth.rejected)
        replace_rows(self.growth.folder / "instructions.jsonl", rows)
        return rows

    def _classify(self, on_progress: Callable[[int], None]) -> None:
        open_ones = self._open("classification")
        prompts = [
            classification_prompt(
                self.settings.classification_header, self._seeds(index), self._instruction(index), self.settings.classification_seeds
            )
            for index in open_ones
        ]
        self.answered = len(self.growth.kept) - len(open_ones)
        for index, completion in self._asked(open_ones, prompts, self.settings.classification_decoding, lambda: on_progress(self.answered)):
            value = read_classification(completion)
            self.growth.journal.append([{"kind": "classification", "index": index, "value": value}])
            self.answered += 1

    def _instantiate(self, on_progress: Callable[[int], None]) -> None:
        kinds = {entry["index"]: entry["value"] for entry in self.growth.journal.of_kind("classification")}
        self.answered = 2 * len(self.growth.kept) - len(self._open("instances"))
        for classification in (False, True):
            open_ones = [index for index in self._open("instances") if kinds.get(index) is classification]
            header = self.settings.labels_header if classification else self.settings.generation_header
            prompts = [
                instances_prompt(header, self._seeds(index), self._instruction(index), classification, self.settings.instance_seeds)
                for index in open_ones
            ]
            decoding = self.settings.labels_decoding if classification else self.settings.generation_decoding
            for index, completion in self._asked(open_ones, prompts, decoding, lambda: on_progress(self.answered)):
                self.growth.journal.append([self._entry(index, classification, completion)])
                self.answered += 1

    def _entry(self, index: int, classification: bool, completion: Completion) -> dict[str, Any]:
        """What one answer brings, for the journal."""
        found = read_instances(completion, classification) or [Rejected("nothing_found", completion.text)]
        kept, dropped = keep_instances((f for f in found if isinstance(f, Instance)), self.settings.most_instances)
        rejected = [f for f in found if isinstance(f, Rejected)]
        rejected += [Rejected(reason, f"{instance.input}\n{instance.output}".strip()) for instance, reason in dropped]
        number, detail = self.growth.kept[index]["request_idx"], {"instruction": self._instruction(index)}
        rows = [reject_row(number, Rejected(f"instance_{r.reason}", r.text, detail)) for r in rejected]
        return {"kind": "instances", "index": index, "kept": [vars(instance) for instance in kept], "rejected": rows}

    def _asked(
        self, indices: list[int], prompts: list[str], decoding: CompletionSettings, tell: Callable[[], None]
    ) -> Iterator[tuple[int, Completion]]:
        """Answers of those requests that did not fail, round by round."""
        fruitless, size = 0, self.growth.settings.requests_per_round
        for start in range(0, len(indices), size):
            completions = self.growth.completer.complete(prompts[start : start + size], decoding, lambda _: tell())
            failed = [completion for completion in completions if completion.finish_reason == "failed"]
            fruitless = fruitless + 1 if len(failed) == len(completions) else 0
            if fruitless == FRUITLESS_ROUNDS:
                raise generator_gone(failed[-1], len(self.growth.kept))
            yield from (
                (index, completion)
                for index, completion in zip(indices[start : start + size], completions, strict=True)
                if completion.finish_reason != "failed"
            )

    def _rows(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        answered = {entry["index"]: entry for entry in self.growth.journal.of_kind("instances")}
        kinds = {entry["index"]: entry["value"] for entry in self.growth.journal.of_kind("classification")}
        rejected = [row for entry in answered.values() for row in entry["rejected"]]
        tasks: list[tuple[str, list[Instance]]] = []
        facts: dict[str, dict[str, Any]] = {}
        for index, row in enumerate(self.growth.kept):
            instances = [Instance(**instance) for instance in answered[index]["kept"]] if index in answered else []
            if not instances:
                reason = "no_instance" if index in answered else "request_failed"
                rejected.append(reject_row(row["request_idx"], Rejected(reason, row["instruction"])))
            tasks.append((row["instruction"], instances))
            facts[row["instruction"]] = row | {"is_classification": kinds.get(index, False)}
        return [facts[row.instruction] | vars(row) for row in shuffled_rows(tasks)], rejected

    def _open(self, kind: str) -> list[int]:
        done = {entry["index"] for entry in self.growth.journal.of_kind(kind)}
        return [index for index in range(len(self.growth.kept)) if index not in done]

    def _instruction(self, index: int) -> str:
        return str(self.growth.kept[index]["instruction"])

    def _seeds(self, index: int) -> list[SeedTask]:
        """Those of the instruction's language first."""
        language = self.growth.kept[index]["language"]
        return sorted(self.seeds, key=lambda seed: seed.language != language)
