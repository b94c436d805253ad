"""The first weights, in use for a while."""

import pytest
import torch

from kinnari.models.dropout import train_without_dropout
from kinnari.strategies.reference import InitialWeights
from tests.kinnari.strategies.toy import toy_model

IDS = torch.randint(64, (2, 10), generator=torch.Generator().manual_seed(1))


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_the_model_computes_as_at_the_beginning_and_then_as_before_to_the_bit(tuning):
    model = toy_model(tuning)
    first = InitialWeights(model)
    at_first = logits(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())), alpha=0.1)
    trained = logits(model)
    first.place()

    for _ in range(3):
        with first.in_use():
            assert torch.equal(logits(model), at_first)
        assert torch.equal(logits(model), trained) and not torch.equal(trained, at_first)


def test_only_what_is_trained_is_kept():
    model = toy_model("lora")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)

    assert sum(t.numel() for t in InitialWeights(model).whole.values()) == trained < 0.2 * sum(p.numel() for p in model.parameters())


def test_without_dropout_two_forwards_agree_and_blocks_are_still_computed_again():
    model = toy_model("lora", recompute=True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model.config.attention_dropout = 0.5
    train_without_dropout(model)
    calls = []
    model.base_model.model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))

    one, two = model(input_ids=IDS).logits, model(input_ids=IDS).logits
    one.sum().backward()

    assert torch.equal(one, two)
    assert len(calls) == 3  # two forwards, and once again in the backward
