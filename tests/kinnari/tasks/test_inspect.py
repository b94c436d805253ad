"""task=inspect shows what is trained, writes it down, and does not pass over a broken rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from kinnari.models.toy import byte_tokenizer
from kinnari.tasks.compose import compose
from kinnari.tasks.inspect import InspectionFailed, inspect
from kinnari.tasks.inspect_terminal import as_text
from kinnari.tasks.shown_records import pieces_of
from kinnari.tasks.token_pieces import TokenPieces
from kinnari.text.records import Tokens

ROWS = [
    {"instruction": "Say hello in Thai", "input": "", "output": "สวัสดี"},
    {"instruction": "인사해", "input": "", "output": "안녕하세요"},
    {"instruction": "Long", "input": "", "output": "x" * 300},
    {"instruction": "y" * 300, "input": "", "output": "dropped"},
    {"instruction": "No answer", "input": "", "output": ""},
]


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    monkeypatch.setenv("COLUMNS", "200")
    return config(tmp_path, "tiny_causal")


def config(folder: Path, model: str, *more: str) -> DictConfig:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    data = ["data=[alpaca]", f"data.alpaca.path={folder / 'rows.jsonl'}", "held_out.fraction=0.0"]
    sizes = ["batch.global_size=2", "batch.micro_size=1", "model.max_length=200"]
    return compose(["task=inspect", f"model={model}", *data, *sizes, f"output_dir={folder / 'out'}", *more])


def test_counts_of_everything_that_did_not_arrive_whole(cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> None:
    result = inspect(cfg)
    counts = {name: result[name] for name in ("records", "held_out", "cut", "dropped", "rejected", "proven")}
    assert counts == {"records": 3, "held_out": 0, "cut": 1, "dropped": 1, "rejected": 1, "proven": 3}
    assert 0 < result["trained_fraction"] < 1
    assert {"padding/none", "padding/length_grouped", "padding/packed"} <= result.keys()
    out = capsys.readouterr().out
    for words in ("alpaca:2", "CUT at a limit", "dropped: the prompt fills", "rejected: column 'output'"):
        assert words in out
    assert "Proven for 3 of 3 records" in out


def test_answers_are_between_marks_and_their_eos_is_seen(cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(cfg)
    out = capsys.readouterr().out.replace("₃", "")
    assert "«สวัสดี[</s> EOS]»" in out
    assert "«안녕하세요[</s> EOS]»" in out
    assert "<|im_start|>assistant" in out


def test_the_file_holds_every_token_of_the_shown_records(cfg: DictConfig) -> None:
    cfg.task.records = 2
    inspect(cfg)
    rows = [json.loads(line) for line in (Path(cfg.output_dir) / "inspect.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert len(row["tokens"]) == len(row["token_ids"]) == len(row["trained"])
        trained = [i for i, flag in zip(row["token_ids"], row["trained"], strict=True) if flag]
        assert row["cut"] or trained[-1] == 2


def test_a_seq2seq_model_is_inspected_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = inspect(config(tmp_path, "tiny_seq2seq"))
    assert "padding/packed" not in result
    assert "[</s> EOS]«" in capsys.readouterr().out


def test_a_broken_rule_is_an_error_after_the_output(
    cfg: DictConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kinnari.tasks import build

    make = build.datamodule

    def broken(cfg: DictConfig, tokenizer: object) -> object:
        data = make(cfg, tokenizer)
        data.setup()
        records = data.train_records
        tokens = [Tokens(*(part.copy() for part in records[i])) for i in range(len(records))]
        tokens[0].input_ids[np.flatnonzero(tokens[0].trained)[-1]] = 40
        monkeypatch.setattr(type(records), "__getitem__", lambda self, i: (tokens[i].input_ids, tokens[i].trained))
        return data

    monkeypatch.setattr(build, "datamodule", broken)
    with pytest.raises(InspectionFailed, match="1 rules are broken in 3 of 3 records; the first: alpaca:0: an answer does not end"):
        inspect(cfg)
    assert "Longest records" in capsys.readouterr().out


def test_control_characters_of_the_data_do_not_reach_the_terminal() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer("\x1b[2Ja\nb", add_special_tokens=False)["input_ids"]
    record = pieces_of(np.array([1, *ids, 2]), np.array([False, *[True] * (len(ids) + 1)]), TokenPieces(tokenizer), 2)
    assert as_text(record).plain == "<s>«␛[2Ja↵\nb[</s> EOS]»"


def test_the_page_shows_the_same_records(cfg: DictConfig) -> None:
    inspect(cfg)
    text = (Path(cfg.output_dir) / "inspect.html").read_text(encoding="utf-8")
    for words in ("alpaca:0", "alpaca:1", "cut at a limit", "Sources", "Longest records", 'class="t e'):
        assert words in text
