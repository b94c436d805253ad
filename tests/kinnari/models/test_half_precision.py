"""T5 in float16: equal to float32 where nothing overflows, and still so where plain float16 gives inf and NaN."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForSeq2SeqLM, BitsAndBytesConfig, PreTrainedModel

from kinnari.models.half_precision import guard_float16
from kinnari.models.lora_layers import fuse_lora

SIZES = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
FAMILIES = {
    "t5": {"model_type": "t5", "feed_forward_proj": "relu", "tie_word_embeddings": True},
    "flan_t5": {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "mt5": {"model_type": "mt5"},
    "umt5": {"model_type": "umt5"},
}
LARGE = 2e6  # 30 times what float16 holds
SOURCE = torch.randint(2, 64, (3, 11), generator=torch.Generator().manual_seed(1))
TARGET = torch.randint(2, 64, (3, 7), generator=torch.Generator().manual_seed(2))


def family(name: str, growth: float = 1.0) -> PreTrainedModel:
    """A model of two layers a side whose feed-forward layers add about `growth` times what they were initialised to add."""
    options = {**SIZES, **FAMILIES[name], "dropout_rate": 0.0}
    torch.manual_seed(3)
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(options.pop("model_type"), **options)).eval()
    for parameter in (p for name, p in model.named_parameters() if name.endswith("wo.weight")):
        parameter.data *= growth
    return model


def loss_and_gradients(model: torch.nn.Module, float16: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.float16, enabled=float16):
        loss = model(input_ids=SOURCE, labels=TARGET).loss
    # a loss scale, as a trainer has it: gradients of a mean loss would be lost in float16 too
    (loss * 256).backward()
    return loss.detach(), {n: p.grad / 256 for n, p in model.named_parameters() if p.grad is not None}


def assert_close(found: tuple, expected: tuple, tolerance: float) -> None:
    torch.testing.assert_close(found[0].float(), expected[0], rtol=tolerance, atol=0)
    assert found[1].keys() == expected[1].keys()
    norms = [torch.cat([g.float().flatten() for g in gradients.values()]) for gradients in (found[1], expected[1])]
    assert torch.isfinite(norms[0]).all()
    assert float((norms[0] - norms[1]).norm() / norms[1].norm()) < 10 * tolerance


@pytest.mark.parametrize("name", FAMILIES)
def test_where_nothing_overflows_float16_gives_the_loss_of_float32(name: str) -> None:
    model = family(name)
    expected = loss_and_gradients(model, float16=False)
    assert guard_float16(model) == 4
    assert_close(loss_and_gradients(model, float16=True), expected, 2e-3)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_where_plain_float16_overflows_the_guarded_model_stays_close_to_float32(name: str, attention: str) -> None:
    model = family(name, growth=LARGE)
    model.set_attn_implementation(attention)
    expected = loss_and_gradients(model, float16=False)
    assert not torch.isfinite(loss_and_gradients(model, float16=True)[0])
    guard_float16(model)
    assert_close(loss_and_gradients(model, float16=True), expected, 5e-3)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("held_in", [torch.float16, torch.float32])
def test_adapters_on_an_overflowing_layer_train_as_in_float32(fused: bool, held_in: torch.dtype) -> None:
    torch.manual_seed(4)
    base = family("flan_t5", growth=LARGE / 50).to(torch.float16)
    model = get_peft_model(base, LoraConfig(r=3, lora_alpha=8, target_modules=["q", "v", "wi_0", "wi_1", "wo"]))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter, dtype=torch.float32) * 0.1
    expected = loss_and_gradients(copy.deepcopy(model).float(), float16=False)
    model.to(held_in)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        parameter.data = parameter.data.float()
    assert guard_float16(model) == 4
    if fused:
        assert fuse_lora(model) > 0
    assert_close(loss_and_gradients(model, float16=True), expected, 5e-3)


@pytest.mark.parametrize("growth", [1.0, LARGE / 50])
def test_a_model_held_in_float16_alone_computes_as_in_float32(growth: float) -> None:
    """No autocast: what DeepSpeed makes of a model, `wo` and adapters included."""
    held = get_peft_model(family("mt5", growth), LoraConfig(r=3, target_modules=["q", "wo"])).half()
    model = copy.deepcopy(held).float()
    guard_float16(held)
    with torch.no_grad():
        expected = model(input_ids=SOURCE, labels=TARGET).loss
        found = held(input_ids=SOURCE, labels=TARGET).loss
    torch.testing.assert_close(found.float(), expected, rtol=5e-3, atol=0)


def test_weights_loaded_in_float16_answer_as_those_in_float32(tmp_path: Path) -> None:
    """A gate that overflows, which float32 weights in `wo` cannot mend."""
    model = family("flan_t5")
    for parameter in (p for n, p in model.named_parameters() if n.endswith(("wi_0.weight", "wi_1.weight"))):
        parameter.data *= 1000.0
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float16).eval()
    options = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    with torch.no_grad():
        plain = loaded.generate(SOURCE, **options).logits[0]
    assert not torch.isfinite(plain).all()
    guard_float16(loaded)
    expected, found = model.generate(SOURCE, **options), loaded.generate(SOURCE, **options)
    scale = expected.logits[0].abs().max()
    torch.testing.assert_close(found.logits[0].float() / scale, expected.logits[0] / scale, rtol=0, atol=5e-3)


def quantised_with_adapters(folder: Path, bits: int, dtype: torch.dtype) -> PeftModel:
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    config = BitsAndBytesConfig(**(four if bits == 4 else {"load_in_8bit": True}))
    held = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype, quantization_config=config, device_map={"": "cpu"})
    torch.manual_seed(4)
    # in train mode: bitsandbytes repacks 4-bit weights for evaluation
    return get_peft_model(held, LoraConfig(r=3, target_modules=["q", "wi_0", "wo"])).train()


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_base_keeps_its_projections_whole_and_does_not_overflow(bits: int, tmp_path: Path) -> None:
    family("flan_t5", growth=LARGE).save_pretrained(tmp_path)
    expected = loss_and_gradients(quantised_with_adapters(tmp_path, bits, torch.float32), float16=False)
    model = quantised_with_adapters(tmp_path, bits, torch.float16)
    layers = [m.base_layer for n, m in model.named_modules() if n.endswith(".wo")]
    assert len(layers) == 4
    assert all(type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32 for layer in layers)
    assert not torch.isfinite(loss_and_gradients(model, float16=True)[0])
    guard_float16(model)
    assert_close(loss_and_gradients(model, float16=True), expected, 1e-2)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_other_precisions_are_not_touched(precision: torch.dtype) -> None:
    model = family("flan_t5")
    plain = copy.deepcopy(model)
    guard_float16(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        found, expected = (m(input_ids=SOURCE, labels=TARGET).logits for m in (model, plain))
    assert torch.equal(found, expected)


def test_the_guard_is_idempotent_and_leaves_no_trace_in_saved_files(tmp_path: Path) -> None:
    model = family("flan_t5")
    names = list(model.state_dict())
    assert guard_float16(model) == guard_float16(model) == 4
    assert len(model.encoder.block[0]._forward_pre_hooks) == 1
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


def test_checkpointed_blocks_are_guarded_in_their_recomputation() -> None:
    model = family("flan_t5", growth=LARGE).train()
    model.config.use_cache = False
    guard_float16(model)
    expected = loss_and_gradients(model, float16=True)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # torch takes another attention kernel here: float16 rounds otherwise
    assert_close(loss_and_gradients(model, float16=True), expected, 1e-3)


def test_other_families_are_left_alone() -> None:
    from transformers import BartConfig, BartForConditionalGeneration

    bart = BartForConditionalGeneration(
        BartConfig(vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
                   encoder_ffn_dim=16, decoder_ffn_dim=16)
    )  # fmt: skip
    assert guard_float16(bart) == 0
