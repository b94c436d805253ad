"""Sample answers: in a file always, in TensorBoard where that is the logger; training is not disturbed."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import SampleAnswers
from callbacks.sample_answers import as_markdown
from tests.callbacks.conftest import PAIRS, Fit, toy_lora

SHORT = {"max_new_tokens": 3}


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_round_asks_the_same_held_out_questions(fit: Fit, tmp_path: Path) -> None:
    trainer = fit(SampleAnswers(tmp_path, SHORT, every_n_steps=2, count=2))
    written = rows(tmp_path)
    assert [row["step"] for row in written] == [2, 2, 4, 4]
    assert [row["record_id"] for row in written[:2]] == [row["record_id"] for row in written[2:]]
    held_out = {c.record_id for c in trainer.datamodule.held_out_conversations}
    assert {row["record_id"] for row in written} <= held_out
    assert all((row["question"], row["reference"]) in PAIRS for row in written)


def test_tensorboard_shows_the_text(fit: Fit, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    fit(SampleAnswers(tmp_path, SHORT, every_n_steps=4, count=1), logger=logger)
    logger.experiment.flush()
    events = EventAccumulator(str(tmp_path)).Reload()
    tag = next(tag for tag in events.Tags()["tensors"] if tag.startswith("samples/"))
    text = events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
    assert rows(tmp_path)[0]["question"] in text


def test_training_is_the_same_with_and_without(fit: Fit, tmp_path: Path) -> None:
    plain, sampled = toy_lora(), toy_lora()
    sampled.load_state_dict(plain.state_dict())
    fit(model=plain)
    fit(SampleAnswers(tmp_path, SHORT | {"do_sample": True}, every_n_steps=1), model=sampled)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), sampled.parameters(), strict=True))


def test_what_the_model_writes_is_no_markdown() -> None:
    row = {"question": "a\nb", "answer": "# x", "reference": "", "finished": False}
    text = as_markdown(row)
    assert "    a\n    b" in text
    assert "    # x" in text
    assert text.endswith("(cut at max_new_tokens)")
