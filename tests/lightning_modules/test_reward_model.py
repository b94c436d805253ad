"""RewardModel: what it reads, what it trains, what it learns."""

import pytest
import torch

from kinnari.errors import ConfigError
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


def reward_model(tuning="full", packing="none", **reward) -> RewardModel:
    torch.manual_seed(0)
    model = apply_tuning(load_model(spec(), dtype=torch.float32), Tuning(name=tuning, r=2), spec())
    return RewardModel(model, FineTuningSettings(block_classes=["LlamaDecoderLayer"]), RewardSettings(**reward), packing)


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


def test_alone_it_freezes_the_bottom_of_the_layers_that_transformers_names():
    model = RewardModel(load_model(spec(), dtype=torch.float32))
    trained = {name.split(".")[3] for name, parameter in model.named_parameters() if ".layers." in name and parameter.requires_grad}
    assert trained == {"7", "8", "9"}


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


LONG = [*range(20, 40)]  # a prompt that both answers follow


def gradients(model: RewardModel, batch: Batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(batch)[0].backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def kept_bytes(model: RewardModel, batch: Batch) -> int:
    """Bytes that the forward of a batch keeps for its backward, parameters not counted."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(batch)[0]
    total = sum(kept.values())
    loss.backward()
    return total


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean", "divergence"])
def test_a_shared_prompt_is_computed_once_and_changes_no_loss_and_no_gradient(pooling, left):
    model = reward_model(packing="position_ids", pooling=pooling, centering=0.1, freeze_fraction=0.0)
    batch = pairs(LONG + CHOSEN, LONG + REJECTED, LONG[3:] + REJECTED, LONG[3:] + CHOSEN, left=left, width=32)
    read = []
    model.model.get_input_embeddings().register_forward_hook(lambda _, inputs, output: read.append(tuple(inputs[0].shape)))
    shared, losses = gradients(model, batch), model(batch)
    model.reward = RewardSettings(pooling=pooling, centering=0.1, freeze_fraction=0.0, share_prompts=False)
    separate = gradients(model, batch)

    assert read == [(2, 32), (2, 32), (4, 32)]  # the first pair has 23 tokens in common and 2 + 4 of its own
    torch.testing.assert_close(losses, model(batch), atol=1e-5, rtol=1e-5)
    assert shared.keys() == separate.keys()
    torch.testing.assert_close(shared, separate, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("packing", ["none", "position_ids"])
def test_answers_without_a_shared_prompt_are_read_in_rows_of_their_own(packing):
    model = reward_model(packing=packing)
    read = []
    model.model.get_input_embeddings().register_forward_hook(lambda _, inputs, output: read.append(tuple(inputs[0].shape)))
    one, other = ([7, 8, 9], [7, 8, 5]) if packing == "none" else ([7, 8, 9, 9, 9, 9, 9, 9], [6, 8, 9, 9, 9, 9, 9, 9])
    model(pairs(one, other, width=8))

    assert read == [(2, 8)]


def test_frozen_blocks_below_trained_embeddings_are_kept_or_computed_again():
    kept, found = {}, {}
    for again in (False, True):
        model = reward_model(checkpoint_frozen=again)
        model.model.train()
        batch = pairs(LONG + CHOSEN, LONG + REJECTED, width=32)
        ran = []
        for number, block in enumerate(model.model.model.layers):
            block.input_layernorm.register_forward_hook(lambda *_, number=number, ran=ran: ran.append(number))
        kept[again] = kept_bytes(model, batch)
        assert ran == [*range(10), *([6, 5, 4, 3, 2, 1, 0] if again else [])]  # 7 of 10 are frozen
        found[again] = gradients(model, batch)

    assert kept[True] < 0.7 * kept[False]
    torch.testing.assert_close(found[True], found[False])


def test_frozen_blocks_below_frozen_embeddings_keep_nothing_and_run_once():
    kept = {}
    for fraction, again in ((0.7, True), (0.7, False), (0.0, False)):
        model = reward_model(checkpoint_frozen=again, train_embeddings=False, freeze_fraction=fraction)
        model.model.train()
        kept[fraction, again] = kept_bytes(model, pairs(LONG + CHOSEN, LONG + REJECTED, width=32))

    assert kept[0.7, True] == kept[0.7, False]  # nothing to compute again
    assert kept[0.7, False] < 0.4 * kept[0.0, False]  # 3 of 10 blocks


@pytest.mark.parametrize("option", ["share_prompts", "checkpoint_frozen"])
def test_options_that_are_no_truth_value_are_refused(option):
    with pytest.raises(ConfigError, match=f"reward.{option}=often must be true or false"):
        RewardSettings(**{option: "often"})
