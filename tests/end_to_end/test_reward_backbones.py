"""task=reward on encoders and encoder-decoders, and what becomes of such a model in task=ppo."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.rollouts.rollout import Rollout
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.ppo import ppo
from kinnari.tasks.reward import reward
from kinnari.tasks.rewards import model_reward
from kinnari.tasks.rules import check
from kinnari.text.conversation import Message
from kinnari.text.prompts import Prompt
from lightning_modules import RewardModel
from tests.distributed import run_ranks
from tests.end_to_end.test_ppo import PPO
from tests.end_to_end.test_ppo import run as run_task
from tests.end_to_end.test_reward import BASE, KEPT, WITHOUT_DATA, run

# without dropout, whose masks depend on the rank
MODELS = {
    "tiny_encoder": ["model=tiny_encoder", "+model.toy.hidden_dropout_prob=0.0", "+model.toy.attention_probs_dropout_prob=0.0"],
    "tiny_seq2seq": ["model=tiny_seq2seq", "+model.toy.dropout_rate=0.0"],
}
TUNINGS = {"full": ["strategy=full"], "lora": ["strategy=lora", "strategy.tuning.r=4"]}
STRATEGIES = [("tiny_encoder", "ddp", "full"), ("tiny_encoder", "fsdp", "lora"), ("tiny_seq2seq", "fsdp", "full"),
              ("tiny_seq2seq", "deepspeed_zero3", "lora")]  # fmt: skip


def run_all(runs: Sequence[Sequence[str]]) -> list[dict]:
    return [run(overrides) for overrides in runs]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[dict, Path]]:
    folders = {(model, tuning): tmp_path_factory.mktemp(f"{model}_{tuning}") for model in MODELS for tuning in TUNINGS}
    return {key: (run([*MODELS[key[0]], *TUNINGS[key[1]]], str(folder)), folder) for key, folder in folders.items()}


@pytest.fixture(scope="module")
def two_ranks() -> dict[tuple[str, str, str], dict]:
    runs = [[*MODELS[model], *TUNINGS[tuning], f"strategy/parallel={parallel}", "hw=cpux2"] for model, parallel, tuning in STRATEGIES]
    return dict(zip(STRATEGIES, run_ranks(run_all, 2, runs, timeout_s=300)[0], strict=True))


@pytest.mark.parametrize("key", STRATEGIES, ids="-".join)
def test_every_strategy_trains_the_same_reward_model(single, two_ranks, key):
    expected, found = single[key[0], key[2]][0], two_ranks[key]

    assert found["loss_curve"] == pytest.approx(expected["loss_curve"], abs=2e-5)
    assert {name: found[name] for name in KEPT[1:]} == pytest.approx({name: expected[name] for name in KEPT[1:]}, abs=2e-4)


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("model", MODELS)
def test_the_folder_scores_answers_as_the_run_did(single, model, tuning):
    folder = single[model, tuning][1]
    rows = scored(folder)
    found = reward_of(folder)([rollout(row["prompt"], row["answer"]) for row in rows])

    assert len(rows) > 10
    assert found == pytest.approx([float(row["score"]) for row in rows], abs=1e-4)


HOW = [("tiny_encoder", "pooling=first"), ("tiny_encoder", "pooling=divergence"), ("tiny_seq2seq", "pooling=mean"),
       ("tiny_seq2seq", "input=answer"), ("tiny_encoder", "input=answer"), ("tiny_causal", "input=answer")]  # fmt: skip


@pytest.mark.parametrize(("model", "how"), HOW)
def test_so_it_does_however_it_is_read(model, how, tmp_path):
    run([f"model={model}", f"reward.{how}", "strategy=full", "trainer.max_steps=1"], str(tmp_path))
    rows = scored(tmp_path)

    found = reward_of(tmp_path)([rollout(row["prompt"], row["answer"]) for row in rows])

    assert found == pytest.approx([float(row["score"]) for row in rows], abs=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_it_learns_a_preference_that_can_be_learnt(tmp_path, model):
    rows = [
        {"prompt": f"Question {i}?", "chosen": f"yes, {'abcdefgh'[i % 8]}", "rejected": f"no, {'abcdefgh'[(i + 3) % 8]}"} for i in range(96)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["data=preference_pairs", f"data.preference_pairs.path={tmp_path}/pairs.jsonl", "strategy=full", "trainer.max_steps=20",
             "held_out.near_duplicates=null", "optimizer.lr=5e-3"]  # fmt: skip

    result = reward(compose([*WITHOUT_DATA, *words, f"model={model}", f"output_dir={tmp_path}/run"]))

    assert result["val/reward_accuracy"] > 0.9 and result["val/loss"] < 0.3 < result["val/loss_before"]


@pytest.mark.parametrize("model", MODELS)
def test_a_policy_of_another_kind_is_trained_on_its_scores(single, model):
    words = [w for w in PPO if "rule" not in w]
    more = ["ppo.reward=model", f"reward.path={single[model, 'lora'][1]}/reward", "model=tiny_causal", "strategy=lora", "ppo.iterations=1"]
    result = run_task(ppo, [*words, *more])

    assert result["curves"]["score"][0] != 0 and result["curves"]["kl"][0] == pytest.approx(0, abs=1e-6)


def test_an_encoder_decoder_scores_on_its_own_backbone_as_it_did_alone(single, tmp_path):
    words = [w for w in PPO if "rule" not in w]
    folder = single["tiny_seq2seq", "lora"][1]
    more = ["ppo.reward=model", f"reward.path={folder}/reward", "strategy=lora", "strategy.tuning.r=4", "ppo.iterations=1"]
    cfg = compose([*words, *more, *MODELS["tiny_seq2seq"], f"output_dir={tmp_path}"])
    parts = build.parts(cfg)
    policy = build.tuned_model(cfg, parts, build.tokenizer(cfg))
    shared = model_reward(cfg, parts, policy, folder / "reward")
    answers = [rollout("Who are you?", "A program."), rollout("Why?", "Because it rains, and rains."), rollout("Why?", "")]

    assert shared.adapter == "reward" and shared.model is policy
    assert shared(answers) == pytest.approx(reward_of(folder)(answers), abs=1e-5)


def test_an_answer_longer_than_the_positions_is_read_at_its_end(single, caplog):
    """The policy may have no such limit."""
    score = reward_of(single["tiny_encoder", "full"][1])
    long = rollout("Why?", "because " * 200)

    (found,) = score([long])
    (tokens,) = score.encode([(*long.prompt.messages, Message("assistant", long.text))])
    ids = [tokens.input_ids[0], *tokens.input_ids[-512:]]

    assert len(tokens.input_ids) > 513 and "longer than the 513 positions" in caplog.text
    assert found == pytest.approx(score.scores([type(tokens)(ids, [True] * 513)])[0], abs=1e-6)


def test_only_a_reward_model_can_be_made_of_an_encoder():
    for task in ("sft", "dpo", "ppo", "generate", "compare", "rlhf"):
        with pytest.raises(ConfigError, match=rf"task={task} with model=tiny_encoder: an encoder reads a text and writes none"):
            check(compose([f"task={task}", "model=tiny_encoder"]))
    check(compose(["task=reward", "model=tiny_encoder", "data=chatterbot_ranked"]))


def test_the_first_token_of_a_decoder_is_refused(tmp_path):
    for model in ("tiny_causal", "tiny_seq2seq"):
        with pytest.raises(ConfigError, match="reads the first token"):
            reward(compose([*BASE, f"model={model}", "reward.pooling=first", f"output_dir={tmp_path}"]))


def scored(folder: Path) -> list[dict[str, str]]:
    """Prompts, answers and scores of scores.tsv whose texts were written as they are."""
    with open(folder / "scores.tsv", encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if "\\" not in row["prompt"] + row["answer"]]


def reward_of(folder: Path) -> Any:
    cfg = compose(["task=ppo", "model=tiny_causal", "strategy=full", "trainer.precision=32-true", f"reward.path={folder}/reward"])
    return model_reward(cfg, build.parts(cfg), None, folder / "reward")


def rollout(question: str, answer: str) -> Rollout:
    messages = (Message("user", question),)
    ids = byte_tokenizer()(answer, add_special_tokens=False).input_ids
    return Rollout(Prompt(messages, ids, "s:0", ""), ids, answer, finished=True)


def test_frozen_blocks_are_counted_over_both_stacks():
    cfg = compose([*BASE, "model=tiny_seq2seq", "strategy=full"])
    parts = build.parts(cfg)
    module = RewardModel(build.tuned_model(cfg, parts, build.tokenizer(cfg)), build.fine_tuning_settings(cfg, parts, 1))
    trained = [name for name, p in module.model.named_parameters() if p.requires_grad and ".block." in name]

    assert module.frozen.frozen_blocks == 3 and trained and all(name.startswith("decoder.block.1.") for name in trained)
