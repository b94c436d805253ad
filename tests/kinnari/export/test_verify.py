"""A merge that is off is seen and refused; one that is only rounded is not."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from kinnari.errors import ExportRejected, RunStopped
from kinnari.export.probe import Probe
from kinnari.export.verify import GapLimits, LogitGap, accepted, float_products, load_plain, logit_gap, probe_logits, widen

PROBE = Probe([[1, 5, 9, 3], [7, 2]])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **shape)).eval()


def gap(**changes):
    return LogitGap(
        **{"logit_gap_max": 0.01, "greedy_agreement": 1.0, "logit_spread": 2.0, "positions": 6, "computed_in": "float32"} | changes
    )


def test_the_gap_is_the_largest_difference_of_any_logit(model):
    expected = probe_logits(model, PROBE)
    assert [tuple(row.shape) for row in expected] == [(4, 32), (2, 32)]
    expected[1][0, expected[1][0].argmin()] -= 0.25  # one logit of one position, and not its greedy token
    expected[0][2, expected[0][2].argmin()] += 100.0  # now the greedy token of another
    found = logit_gap(expected, model, PROBE)
    assert found.logit_gap_max == pytest.approx(100.0, rel=1e-5)
    assert found.greedy_agreement == pytest.approx(5 / 6) and found.positions == 6 and found.computed_in == "float32"


def test_the_spread_is_the_standard_deviation_of_the_logits_per_position(model):
    rows = [torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 1.0], [5.0, 5.0]])]  # deviations sqrt(2), 0, 0

    class Echo(torch.nn.Module):
        dtype = torch.float32

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids):
            return type("Out", (), {"logits": rows[input_ids.shape[1] - 1].unsqueeze(0)})

    found = logit_gap(rows, Echo(), Probe([[0], [0, 0]]))
    assert found.logit_spread == pytest.approx(math.sqrt(2) / 3) and found.logit_gap_max == 0


def test_a_gap_over_the_limit_is_refused_with_its_numbers():
    with pytest.raises(ExportRejected, match=r"0\.01.*at most 0\.001.*export\.max_logit_gap") as refused:
        GapLimits(0.001, 0.9).check(gap(), "The merge")
    assert refused.value.measured == {"logit_gap_max": 0.01, "greedy_agreement": 1.0} and isinstance(refused.value, RunStopped)
    GapLimits(0.01, 1.0).check(gap(), "The merge")


def test_fewer_same_tokens_than_the_limit_are_refused():
    with pytest.raises(ExportRejected, match=r"90\.0%"):
        GapLimits(1.0, 0.95).check(gap(greedy_agreement=0.9), "The merge")


def test_a_gap_that_is_no_number_is_refused():
    with pytest.raises(ExportRejected):
        GapLimits(1e9, 0.0).check(gap(logit_gap_max=math.nan), "The merge")


@pytest.mark.parametrize(("kind", "limit"), [("float32", 0.002), ("float16", 0.2), ("bfloat16", 1.0), ("Q8_0", 1.6)])
def test_default_limits_grow_with_the_rounding_and_the_spread(kind, limit):
    assert accepted(gap(), kind).max_logit_gap == pytest.approx(limit)  # the spread is 2
    assert accepted(gap(logit_spread=4.0), kind).max_logit_gap == pytest.approx(2 * limit)


def test_a_named_limit_wins():
    assert accepted(gap(), "bfloat16", max_logit_gap=0.5, min_greedy_agreement=0.1) == GapLimits(0.5, 0.1)


def test_a_nan_in_the_written_weights_is_a_gap_that_is_no_number(model, tmp_path):
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.norm.weight"][0] = math.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = logit_gap(probe_logits(model, PROBE), load_plain(tmp_path, seq2seq=False, dtype=torch.float32), PROBE)
    assert math.isnan(found.logit_gap_max)


def test_widening_changes_the_dtype_and_no_number(model):
    short = LlamaForCausalLM(model.config).to(torch.bfloat16)
    before = {name: parameter.detach().clone() for name, parameter in short.named_parameters()}
    widen(short)
    assert {parameter.dtype for parameter in short.parameters()} == {torch.float32}
    assert all(torch.equal(parameter, before[name].float()) for name, parameter in short.named_parameters())


def test_eight_bit_layers_multiply_in_float_only_meanwhile():
    import bitsandbytes as bnb

    torch.manual_seed(0)
    layer = bnb.nn.Linear8bitLt(16, 8, bias=False, has_fp16_weights=False)
    layer.weight = bnb.nn.Int8Params(torch.randn(8, 16), requires_grad=False, has_fp16_weights=False)
    layer = layer.to("cpu").eval()
    x = torch.randn(3, 16)
    rounded = layer(x)
    with float_products(torch.nn.Sequential(layer)):
        exact = layer(x)
    weight = bnb.functional.int8_vectorwise_dequant(layer.weight.data, layer.state.SCB)
    assert torch.allclose(exact, x @ weight.float().T, atol=1e-6)
    assert not torch.equal(exact, rounded) and torch.equal(layer(x), rounded)
