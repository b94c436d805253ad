"""task=reward from command line words to scores: the same curve under every strategy, and a folder that scores as the run did."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kinnari.errors import ConfigError
from kinnari.models.backbone import last_hidden_states
from kinnari.models.head import install_loss_head
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.reward import reward
from kinnari.tasks.reward_folder import load_backbone, read_head
from kinnari.tasks.rules import check
from kinnari.text.conversation import Message
from kinnari.text.tokens import SegmentEncoder
from tests.distributed import run_ranks

WITHOUT_DATA = ("task=reward", "model=tiny_causal", "callbacks=none", "logger=none", "trainer.precision=32-true", "batch.global_size=8",
                "batch.micro_size=2", "held_out.most=12", "held_out.fraction=null", "optimizer.lr=3e-3", "trainer.max_steps=5")  # fmt: skip
BASE = (*WITHOUT_DATA, "data=chatterbot_ranked", "data.chatterbot_ranked.limit=40")
TUNINGS = {"full": ["strategy=full"], "lora": ["strategy=lora", "strategy.tuning.r=4"]}
PARALLELS = ("ddp", "fsdp", "deepspeed_zero3")
KEPT = ("loss_curve", "val/loss", "val/reward_accuracy", "val/reward_margin", "trainable_parameters")


def run(overrides: Sequence[str], folder: str | None = None) -> dict:
    """A run in this process; on several ranks all of them call it with the same overrides."""
    with tempfile.TemporaryDirectory() as temporary:
        shared = [folder or temporary]
        if dist.is_initialized():
            dist.broadcast_object_list(shared)
        cfg = compose([*BASE, *overrides, f"output_dir={shared[0]}"])
        check(cfg)
        result = reward(cfg)
        if dist.is_initialized():
            dist.barrier()
    return {key: result[key] for key in KEPT}


def run_all(runs: Sequence[Sequence[str]]) -> list[dict]:
    return [run(overrides) for overrides in runs]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict, Path]]:
    folders = {tuning: tmp_path_factory.mktemp(tuning) for tuning in TUNINGS}
    return {tuning: (run(words, str(folders[tuning])), folders[tuning]) for tuning, words in TUNINGS.items()}


@pytest.fixture(scope="module")
def two_ranks() -> dict[tuple[str, str], dict]:
    keys = [(parallel, tuning) for parallel in PARALLELS for tuning in TUNINGS]
    runs = [[*TUNINGS[tuning], f"strategy/parallel={parallel}", "hw=cpux2"] for parallel, tuning in keys]
    return dict(zip(keys, run_ranks(run_all, 2, runs, timeout_s=300)[0], strict=True))


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("parallel", PARALLELS)
def test_every_strategy_trains_the_same_reward_model(single, two_ranks, parallel, tuning):
    expected, found = single[tuning][0], two_ranks[parallel, tuning]

    assert found["loss_curve"] == pytest.approx(expected["loss_curve"], abs=2e-5)
    assert found["val/reward_margin"] == pytest.approx(expected["val/reward_margin"], abs=2e-4)
    assert found["val/reward_accuracy"] == expected["val/reward_accuracy"]
    assert found["trainable_parameters"] == expected["trainable_parameters"]


@pytest.mark.parametrize("tuning", TUNINGS)
def test_the_folder_scores_answers_as_the_run_did(single, tuning):
    folder = single[tuning][1]
    model, settings = load_backbone(folder / "reward", dtype=torch.float32)
    loss_head, head = install_loss_head(model), read_head(folder / "reward")
    cfg = compose([*BASE, "model=tiny_causal"])
    tokenizer = build.tokenizer(cfg)
    encoder, template = SegmentEncoder(tokenizer), build.template(cfg, tokenizer)
    with open(folder / "scores.tsv", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if "\\" not in row["prompt"] + row["answer"]]

    assert settings.pooling == "last" and len(rows) > 10
    for row in rows[:6]:
        (tokens,) = encoder.encode_all([template.render([Message("user", row["prompt"]), Message("assistant", row["answer"])])])
        with torch.no_grad():
            hidden = last_hidden_states(model, loss_head, input_ids=torch.tensor([list(tokens.input_ids)]))
            assert float(head(hidden)[0, -1]) == pytest.approx(float(row["score"]), abs=1e-4)


def test_it_learns_a_preference_that_can_be_learnt(tmp_path):
    rows = [
        {"prompt": f"Question {i}?", "chosen": f"yes, {'abcdefgh'[i % 8]}", "rejected": f"no, {'abcdefgh'[(i + 3) % 8]}"} for i in range(96)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["data=preference_pairs", f"data.preference_pairs.path={tmp_path}/pairs.jsonl", "strategy=full", "trainer.max_steps=20",
             "held_out.near_duplicates=null", "optimizer.lr=1e-2"]  # fmt: skip

    result = reward(compose([*WITHOUT_DATA, *words, f"output_dir={tmp_path}/run"]))

    assert result["val/reward_accuracy"] > 0.9 and result["val/loss"] < 0.5 < result["val/loss_before"]


def test_a_source_without_preferences_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no preference between answers"):
        reward(compose([*WITHOUT_DATA, "data=chatterbot", f"output_dir={tmp_path}"]))


def test_answers_may_be_scored_without_their_prompts(tmp_path):
    result = run(["strategy=full", "reward.input=answer", "trainer.max_steps=1"], str(tmp_path))

    assert result["val/loss"] == pytest.approx(0.7, abs=0.1)
    assert load_backbone(tmp_path / "reward", dtype=torch.float32)[1].input == "answer"
