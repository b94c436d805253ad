"""Several targets of one position, against a plain log-softmax."""

import pytest
import torch

from kinnari.functional.several_targets import several_logprobs


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("softcap", "logit_scale"), [(None, 1.0), (2.0, 0.5)])
def test_targets_that_share_a_position_get_the_numbers_of_a_log_softmax(chunk_size, bias, softcap, logit_scale):
    torch.manual_seed(0)
    hidden, weight = torch.randn(3, 8), torch.randn(11, 8)
    shift = torch.randn(11) if bias else None
    owners, targets = torch.tensor([2, 0, 2, 1, 0, 0]), torch.tensor([10, 3, 0, 4, 3, 9])
    logits = (hidden @ weight.T + (shift if bias else 0)).double() * logit_scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    found = several_logprobs(
        hidden, weight, owners, targets, bias=shift, softcap=softcap, logit_scale=logit_scale, chunk_size=chunk_size
    )  # fmt: skip
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), logits.log_softmax(-1)[owners, targets], atol=1e-5)


def test_a_target_far_below_the_smallest_number_keeps_its_logarithm():
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[500.0], [0.0]])
    assert several_logprobs(hidden, weight, torch.tensor([0, 0]), torch.tensor([0, 1])).tolist() == [0.0, -500.0]


def test_half_precision_products_are_summed_in_float32():
    torch.manual_seed(0)
    hidden, weight = torch.randn(2, 16, dtype=torch.bfloat16), torch.randn(5, 16, dtype=torch.bfloat16)
    found = several_logprobs(hidden, weight, torch.tensor([0, 1]), torch.tensor([1, 2]))
    expected = (hidden.float() @ weight.float().T).log_softmax(-1)[[0, 1], [1, 2]]
    assert found.dtype == torch.float32 and torch.allclose(found, expected, atol=0.05)


def test_no_target_is_no_number():
    none = torch.tensor([], dtype=torch.int64)
    assert several_logprobs(torch.randn(0, 4), torch.randn(5, 4), none, none).shape == (0,)


def test_one_owner_is_needed_for_every_target():
    with pytest.raises(ValueError, match=r"owners are \(2,\) and targets \(3,\)"):
        several_logprobs(torch.randn(2, 4), torch.randn(5, 4), torch.tensor([0, 1]), torch.tensor([0, 1, 2]))
