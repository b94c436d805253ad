"""Answers to held-out questions while the model learns."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from callbacks.answers import HeldOutQuestions, answer, as_settings, needs_all_ranks
from callbacks.throughput import no_training_time
from kinnari.generation.sampler import Answer
from kinnari.generation.settings import GenerationSettings
from kinnari.text.conversation import Conversation

log = logging.getLogger(__name__)


class SampleAnswers(pl.Callback):
    """Writes question, answer and reference to `samples.jsonl`, and as text to TensorBoard where that is the logger.

    Args:
        folder: receives samples.jsonl, one line per answer; a resumed run appends.
        generation: how to answer; a mapping holds the fields of `GenerationSettings`.
        every_n_steps: optimizer steps between two rounds; costs `count` answers each time.
        count: questions, drawn once from the held-out conversations.
        seed: of the draw.
    """

    def __init__(
        self,
        folder: str | Path,
        generation: GenerationSettings | Mapping[str, Any],
        every_n_steps: int = 100,
        count: int = 4,
        seed: int = 42,
    ) -> None:
        self.folder, self.settings = Path(folder), as_settings(generation)
        self.every_n_steps, self.count, self.seed = every_n_steps, count, seed
        self._questions: HeldOutQuestions | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.every_n_steps:
            return
        if not (trainer.is_global_zero or needs_all_ranks(trainer)):
            return
        with no_training_time(trainer):
            if self._questions is None:
                self._questions = HeldOutQuestions(trainer, pl_module, self.count, self.seed, self.settings)
            answers = answer(trainer, pl_module, self._questions, self._questions.prompts)
            if trainer.is_global_zero:
                self._write(trainer, self._questions.conversations, answers)

    def _write(self, trainer: pl.Trainer, conversations: list[Conversation], answers: list[Answer]) -> None:
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "samples.jsonl", "a", encoding="utf-8") as out:
            for conversation, said in zip(conversations, answers, strict=True):
                question = conversation.prompt()[-1]
                row = {
                    "step": trainer.global_step,
                    "record_id": conversation.record_id,
                    "question": "\n\n".join(filter(None, (question.content, question.context))),
                    "answer": said.text,
                    "reference": conversation.reference(),
                    "finished": said.finished,
                }
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                for board in boards:
                    board.experiment.add_text(f"samples/{conversation.record_id}", as_markdown(row), trainer.global_step)


def as_markdown(row: Mapping[str, Any]) -> str:
    """A sample for TensorBoard, as code blocks: what a model writes is not meant as markdown."""
    parts = {"question": row["question"], "answer": row["answer"], "reference": row["reference"]}
    cut = "" if row["finished"] else "\n\n(cut at max_new_tokens)"
    blocks = ["**{}**\n\n{}".format(name, "\n".join(f"    {line}" for line in text.split("\n"))) for name, text in parts.items()]
    return "\n\n".join(blocks) + cut
