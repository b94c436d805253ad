"""Seq2SeqSFT on every T5 family against transformers' own loss, and in float16 where plain float16 overflows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedModel

from kinnari.text.batches import Batch, collate_seq2seq
from lightning_modules import Seq2SeqSFT
from lightning_modules.seq2seq_sft import shifted_right
from tests.lightning_modules.seq2seq_toy import module_of, records, train

SIZES = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0, "pad_token_id": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "t5": {"model_type": "t5", "feed_forward_proj": "relu", "tie_word_embeddings": True, "vocab_size": 262},
    "flan_t5": {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "vocab_size": 262},
    "mt5": {"model_type": "mt5", "vocab_size": 300},
    "byt5": {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "vocab_size": 384,
             "num_decoder_layers": 1},
    "umt5": {"model_type": "umt5", "vocab_size": 300},
}  # fmt: skip


def family(name: str) -> PreTrainedModel:
    options = {**SIZES, **FAMILIES[name]}
    torch.manual_seed(1)
    return AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(options.pop("model_type"), **options)).eval()


def batch_of(*members: int) -> Batch:
    return collate_seq2seq(tuple((member,) for member in members), records(), pad_id=0, step_tokens=1)


def alone(model: PreTrainedModel, member: int) -> torch.Tensor:
    """Summed loss of one record without padding, by transformers."""
    ids, trained = records()[member]
    source, target = (torch.from_numpy(ids[flags]).long()[None] for flags in (~trained, trained))
    return model(input_ids=source, labels=target).loss * target.numel()


@pytest.mark.parametrize("name", FAMILIES)
def test_loss_and_gradients_of_a_padded_batch_are_those_of_transformers_row_by_row(name: str) -> None:
    model = family(name)
    torch.stack([alone(model, member) for member in range(4)]).sum().backward()
    expected = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    total = float(sum(alone(model, member) for member in range(4)))
    model.zero_grad(set_to_none=True)

    nll_sum, _ = Seq2SeqSFT(model)(batch_of(0, 1, 2, 3))
    nll_sum.backward()

    assert float(nll_sum) == pytest.approx(total, rel=1e-5)
    found = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-3, atol=1e-4)


def test_the_tied_head_of_the_first_t5_scales_its_input() -> None:
    """d_model ** -0.5 = 0.177: without it the loss is another."""
    model = family("t5")
    assert model.config.scale_decoder_outputs
    assert model.lm_head.weight is model.shared.weight
    assert not family("flan_t5").config.scale_decoder_outputs
    module = Seq2SeqSFT(model)
    with torch.no_grad():
        scaled = float(module(batch_of(0))[0])
        model.config.scale_decoder_outputs = False
        assert abs(float(module(batch_of(0))[0]) - scaled) > 1.0


@pytest.mark.parametrize("name", ["t5", "mt5", "umt5"])
def test_the_decoder_begins_with_its_start_token_and_reads_pad_where_nothing_is_wanted(name: str) -> None:
    config = family(name).config
    labels = torch.tensor([[5, 6, 1], [7, 1, -100]])
    assert shifted_right(labels, config).tolist() == [[0, 5, 6], [0, 7, 1]]
    assert torch.equal(shifted_right(labels, config), family(name).prepare_decoder_input_ids_from_labels(labels))


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_checkpointed_blocks_give_the_same_gradients_and_keep_less(tuning: str) -> None:
    def kept_and_gradients(checkpointing: bool) -> tuple[int, dict[str, torch.Tensor]]:
        module = module_of(tuning, gradient_checkpointing=checkpointing).train()
        weights, kept = {p.data_ptr() for p in module.parameters()}, {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in weights:
                kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = module(batch_of(*range(8)))[0]
        loss.backward()
        return sum(kept.values()), {n: p.grad for n, p in module.named_parameters() if p.grad is not None}

    whole, expected = kept_and_gradients(False)
    less, found = kept_and_gradients(True)
    assert less < 0.7 * whole
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tuning", ["full", "lora", "qlora"])
def test_float16_trains_as_float32_where_it_would_overflow(tuning: str) -> None:
    expected = train("single", tuning, growth=1e5)
    found = train("single", tuning, growth=1e5, precision="16-mixed")
    assert found["losses"] == pytest.approx(expected["losses"], rel=5e-3)
    assert found["norms"] == pytest.approx(expected["norms"], rel=0.05)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_without_the_guard_it_would_not(tuning: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(precision: str) -> float:
        module = module_of(tuning, precision=precision, growth=1e5)
        with torch.no_grad(), torch.autocast("cpu", torch.float16, enabled=precision == "16-mixed"):
            return float(module(batch_of(*range(8)))[0])

    expected, guarded = loss("32-true"), loss("16-mixed")
    monkeypatch.setattr("lightning_modules.seq2seq_sft.guard_float16", lambda model: 0)
    unguarded = loss("16-mixed")
    assert guarded == pytest.approx(expected, rel=5e-3)
    # NaN; or clamped, where the base is frozen and the residual stream float16: finite and another model's
    assert not abs(unguarded - expected) < 10 * abs(guarded - expected)
