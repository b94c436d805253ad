"""RewardModel: what it reads, what it trains, what it learns."""

import pytest
import torch

from kinnari.models.load import load_model
from kinnari.models.reward import RewardSettings
from kinnari.models.spec import ModelSpec
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.strategies.tuning import Tuning, apply_tuning
from kinnari.text.batches import Batch
from lightning_modules import RewardModel
from tests.kinnari.models.specs import toy_spec

TOY = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 10, "num_attention_heads": 4,
       "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip


def spec() -> ModelSpec:
    return toy_spec(toy=TOY)


def reward_model(tuning="full", **reward) -> RewardModel:
    torch.manual_seed(0)
    model = apply_tuning(load_model(spec(), dtype=torch.float32), Tuning(name=tuning, r=2), spec())
    return RewardModel(model, FineTuningSettings(block_classes=["LlamaDecoderLayer"]), RewardSettings(**reward))


def pairs(*rows, pad=2, left=False, width=12):
    """Rows of ids, chosen and rejected in turn; the last two tokens of each are its answer."""
    ids = torch.full((len(rows), width), pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for b, row in enumerate(rows):
        span = slice(width - len(row), width) if left else slice(0, len(row))
        ids[b, span], mask[b, span] = torch.tensor(row), 1
        labels[b, span.start + len(row) - 2 : span.start + len(row)] = torch.tensor(row[-2:])
    names = [f"s:{p}" for p in range(len(rows) // 2)]
    return Batch(input_ids=ids, attention_mask=mask, labels=labels, record_ids=names, step_tokens=len(rows) // 2, rows_together=2)


CHOSEN, REJECTED = [7, 8, 9, 10, 2], [7, 8, 9, 11, 12, 13, 2]  # 2 is EOS, and pads


@pytest.mark.parametrize("pooling", ["last", "mean", "divergence"])
def test_padding_pad_token_and_batch_change_no_score(pooling):
    model = reward_model(pooling=pooling)
    with torch.no_grad():
        alone = [float(model.pooled(model.token_scores(b := pairs(row, row, width=len(row))), b)[0]) for row in (CHOSEN, REJECTED)]
        for pad, left, width in ((2, False, 12), (2, True, 12), (0, False, 20), (0, True, 9)):
            batch = pairs(CHOSEN, REJECTED, REJECTED, CHOSEN, pad=pad, left=left, width=width)
            found = model.pooled(model.token_scores(batch), batch)
            torch.testing.assert_close(found, torch.tensor([*alone, *alone[::-1]]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean", "divergence"])
def test_the_loss_of_a_batch_is_the_sum_over_its_pairs(pooling):
    model = reward_model(pooling=pooling, centering=0.1)
    with torch.no_grad():
        both = model(pairs(CHOSEN, REJECTED, REJECTED, CHOSEN))
        apart = model(pairs(CHOSEN, REJECTED)) + model(pairs(REJECTED, CHOSEN))

    torch.testing.assert_close(both, apart, atol=1e-5, rtol=1e-5)


def test_the_loss_of_a_pair_by_hand():
    model = reward_model()
    batch = pairs(CHOSEN, REJECTED)
    with torch.no_grad():
        chosen, rejected = model.pooled(model.token_scores(batch), batch).tolist()
        loss, right = model(batch).tolist()

    assert loss == pytest.approx(-torch.tensor(chosen - rejected).sigmoid().log().item(), abs=1e-6)
    assert right == float(chosen > rejected)


def test_an_empty_micro_batch_counts_nothing_but_reaches_every_parameter():
    model = reward_model()
    batch = pairs(CHOSEN, REJECTED)
    batch["labels"][:] = -100

    totals = model(batch)
    totals[0].backward()

    assert totals.tolist() == [0.0, 0.0]
    assert model.reward_head.weight.grad is not None and float(model.reward_head.weight.grad.abs().sum()) == 0.0


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_the_bottom_seventy_percent_takes_no_gradient(tuning):
    model = reward_model(tuning)
    model(pairs(CHOSEN, REJECTED))[0].backward()

    for name, parameter in model.named_parameters():
        block = int(name.split(".layers.")[1].split(".")[0]) if ".layers." in name else None
        if block is not None and block < 7:
            assert not parameter.requires_grad and parameter.grad is None
    trained = {int(n.split(".layers.")[1].split(".")[0]) for n, p in model.named_parameters() if p.requires_grad and ".layers." in n}
    assert trained == {7, 8, 9}
    assert any("embed_tokens" in n for n, p in model.named_parameters() if p.requires_grad) is (tuning == "full")
    assert not any("lm_head" in n for n, p in model.named_parameters() if p.requires_grad)


def test_embeddings_are_frozen_on_request():
    model = reward_model(train_embeddings=False)

    assert not model.frozen.passes_gradient
    assert not any("embed_tokens" in n for n, p in model.named_parameters() if p.requires_grad)


def test_frozen_parameters_are_in_no_optimizer():
    model = reward_model()
    model.tuning.settings = FineTuningSettings(block_classes=["LlamaDecoderLayer"], total_steps=3)
    held = {id(p) for group in model.configure_optimizers()["optimizer"].param_groups for p in group["params"]}

    assert held == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("pooling", ["last", "mean", "divergence"])
def test_it_learns_to_tell_two_answers_apart(pooling):
    model = reward_model(pooling=pooling)
    batch = pairs(CHOSEN, REJECTED)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(12):
        optimizer.zero_grad()
        loss = model(batch)[0]
        loss.backward()
        optimizer.step()

    assert float(loss) < 0.1 and float(model(batch)[1]) == 1.0
