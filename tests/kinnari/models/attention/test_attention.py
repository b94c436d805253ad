"""XGLM and Bloom on SDPA compute what their eager attention computes: padded, packed, cached, checkpointed, adapted, saved."""

import copy

import peft
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from kinnari.models.attention import FAMILIES, attention_to_load, install_attention
from kinnari.models.packing import packed_inputs
from tests.kinnari.models.attention.toys import SHAPES, eager_toy, gradients, largest_gap, padded_batch, pair

NAMES = sorted(SHAPES)
RECORDS = [[5, 9, 17, 33, 60, 11, 8], [70, 4, 44, 90, 21], [6, 55, 13, 29, 31, 8, 44, 17, 9]]


@pytest.fixture(scope="module", params=NAMES)
def models(request):
    return pair(request.param)


@pytest.mark.parametrize("side", ["none", "left", "right", "holes"])  # ALiBi does not count a hole
def test_logits_and_gradients_equal_those_of_eager(models, side):
    ids, mask, tokens = padded_batch(side)
    (logits, grads), (expected, expected_grads) = (gradients(m, tokens, input_ids=ids, attention_mask=mask) for m in models[::-1])
    assert (logits - expected).abs().max() < 1e-5
    assert largest_gap(grads, expected_grads) < 1e-5
    assert all(grad.abs().sum() > 0 for grad in grads.values())


def test_packed_rows_give_the_logits_and_gradients_of_eager(models):
    ids = torch.tensor([[token for r in row for token in r] for row in (RECORDS, RECORDS[::-1])])
    positions = torch.tensor([[i for r in row for i in range(len(r))] for row in (RECORDS, RECORDS[::-1])])
    segments = torch.tensor([[k for k, r in enumerate(row) for _ in r] for row in (RECORDS, RECORDS[::-1])])
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    results = []
    for model in models:
        extra = packed_inputs(positions, segments, "mask4d", model.config._attn_implementation, torch.float32)
        extra.pop("use_cache")
        results.append(gradients(model, everywhere, input_ids=ids, **extra))
    (expected, expected_grads), (logits, grads) = results
    assert (logits - expected).abs().max() < 1e-5
    assert largest_gap(grads, expected_grads) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_changes_no_gradient_with_dropout_on(name):
    ids, mask, tokens = padded_batch("right")
    model = pair(name, attention_dropout=0.3)[1].train()
    torch.manual_seed(7)
    plain, expected = gradients(model, tokens, input_ids=ids, attention_mask=mask)
    model.gradient_checkpointing_enable()
    torch.manual_seed(7)
    again, grads = gradients(model, tokens, input_ids=ids, attention_mask=mask)
    torch.manual_seed(8)
    other, _ = gradients(model, tokens, input_ids=ids, attention_mask=mask)
    assert torch.equal(plain, again) and largest_gap(grads, expected) == 0.0
    assert not torch.allclose(plain, other), "nothing was dropped"


@pytest.mark.parametrize("use_cache", [True, False])
def test_left_padded_generation_writes_the_tokens_of_eager(models, use_cache):
    ids, mask, _ = padded_batch("left")
    eager, sdpa = (
        m.generate(input_ids=ids, attention_mask=mask, max_new_tokens=12, do_sample=False, use_cache=use_cache, min_new_tokens=12)
        for m in models
    )
    assert torch.equal(eager, sdpa)


@pytest.mark.parametrize("side", ["none", "left"])
def test_a_cached_step_gives_the_logits_of_the_whole_row(models, side):
    ids, mask, _ = padded_batch(side)
    model = models[1]

    def upto(end: int) -> torch.Tensor | None:
        return None if mask is None else mask[:, :end]

    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        past = model(input_ids=ids[:, :7], attention_mask=upto(7), use_cache=True).past_key_values
        middle = model(input_ids=ids[:, 7:10], attention_mask=upto(10), past_key_values=past, use_cache=True)
        last = model(input_ids=ids[:, 10:11], attention_mask=upto(11), past_key_values=middle.past_key_values, use_cache=True)
    assert (middle.logits[:2] - whole[:2, 7:10]).abs().max() < 1e-5  # the third row is padding up to place 10
    assert (last.logits - whole[:, 10:11]).abs().max() < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("side", ["none", "right"])
def test_no_matrix_of_scores_is_kept_for_the_backward_pass(name, dropout, side):
    """Eager attention keeps several of heads x length x length a layer; with dropout torch's own SDPA would do so on the CPU."""
    length, largest = 320, {}
    ids = torch.randint(4, 97, (1, length))
    mask = None if side == "none" else (torch.arange(length) < length - 5).long()[None]
    for kernel, model in zip(("eager", "sdpa"), pair(name, attention_dropout=dropout, max_position_embeddings=length), strict=True):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            model.train()(input_ids=ids, attention_mask=mask, use_cache=False).logits.sum().backward()
        largest[kernel] = max(sizes)
    heads = 6 if "6" in name else 4
    assert largest["eager"] == heads * length**2
    assert largest["sdpa"] <= length**2, "a boolean mask of one row may be kept, one per head may not"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("side", ["left", "right"])
def test_half_precision_is_no_further_from_float32_than_eager(models, dtype, side):
    ids, mask, tokens = padded_batch(side)
    exact, _ = gradients(models[1], tokens, input_ids=ids, attention_mask=mask)
    gaps = []
    for model in models:
        logits, grads = gradients(copy.deepcopy(model).to(dtype), tokens, input_ids=ids, attention_mask=mask)
        assert logits.dtype == dtype and all(grad.isfinite().all() for grad in grads.values())
        gaps.append((logits - exact).abs().mean().item())
    assert gaps[1] < 1.2 * gaps[0], "eager, sdpa"


def test_autocast_computes_in_bfloat16_and_trains_float32(models):
    ids, mask, tokens = padded_batch("right")
    exact, expected = gradients(models[1], tokens, input_ids=ids, attention_mask=mask)
    with torch.autocast("cpu", torch.bfloat16):
        logits, grads = gradients(models[1], tokens, input_ids=ids, attention_mask=mask)
    assert logits.dtype == torch.bfloat16 and (logits - exact).abs().mean() < 0.02 * exact.abs().mean()
    assert all(grad.dtype == torch.float32 for grad in grads.values())
    size = max(g.abs().max().item() for g in expected.values())
    assert largest_gap(grads, expected) < 0.05 * size


def test_positions_without_a_mask_equal_those_of_a_mask_of_ones(models):
    ids, _, tokens = padded_batch("none")
    without, grads = gradients(models[1], tokens, input_ids=ids)
    ones, expected = gradients(models[1], tokens, input_ids=ids, attention_mask=torch.ones_like(ids))
    assert torch.equal(without, ones) and largest_gap(grads, expected) == 0.0


def test_a_saved_model_is_one_that_plain_transformers_loads_and_runs_eager(models, tmp_path):
    sdpa = models[1]
    sdpa.save_pretrained(tmp_path)
    assert "attn_implementation" not in (tmp_path / "config.json").read_text()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert plain.config._attn_implementation == "eager" and type(plain) is type(sdpa)
    assert plain.config.architectures == [type(sdpa).__name__]
    ids, mask, tokens = padded_batch("left")
    with torch.no_grad():
        assert (plain(ids, attention_mask=mask).logits - sdpa(ids, attention_mask=mask).logits)[tokens].abs().max() < 1e-5


def test_parameters_and_module_names_stay(models):
    eager, sdpa = (dict(m.named_parameters()) for m in models)
    assert eager.keys() == sdpa.keys()
    assert [n for n, _ in models[0].named_modules()] == [n for n, _ in models[1].named_modules()]


@pytest.mark.parametrize("name", ["xglm", "bloom"])
def test_lora_on_the_attention_gives_eagers_gradients(name):
    targets = ["q_proj", "k_proj", "v_proj", "out_proj"] if name == "xglm" else ["query_key_value", "dense"]
    ids, mask, tokens = padded_batch("right")
    results = []
    for model in pair(name):
        torch.manual_seed(0)
        tuned = peft.get_peft_model(model, peft.LoraConfig(target_modules=targets, init_lora_weights=False))
        tuned.zero_grad()
        tuned(input_ids=ids, attention_mask=mask, use_cache=False).logits[tokens].square().mean().backward()
        results.append({n: p.grad for n, p in tuned.named_parameters() if p.requires_grad})
    assert len(results[0]) == 4 * len(targets)
    assert largest_gap(*results) < 1e-5 * max(g.abs().max().item() for g in results[0].values())


def test_what_from_pretrained_is_told():
    xglm, bloom = eager_toy("xglm").config, eager_toy("bloom").config
    for config in (xglm, bloom):
        assert [attention_to_load(config, a) for a in ("auto", "sdpa", "eager", "flash_attention_2")] == [
            "eager", "eager", "eager", "flash_attention_2"]  # fmt: skip
    llama = AutoConfig.for_model("llama")
    assert [attention_to_load(llama, a) for a in ("auto", "sdpa", "eager")] == [None, "sdpa", "eager"]


def test_families_transformers_serves_are_left_alone():
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("opt", vocab_size=97, hidden_size=32, ffn_dim=32, num_hidden_layers=1, num_attention_heads=2,
                             word_embed_proj_dim=32, max_position_embeddings=32), attn_implementation="eager")  # fmt: skip
    install_attention(model, "sdpa")
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("name", "changes"), [("xglm", {"add_cross_attention": True}), ("bloom", {"slow_but_exact": True, "pretraining_tp": 2})]
)
def test_variants_with_another_layout_keep_transformers_own_choice(name, changes):
    model = eager_toy(name, **changes)
    assert attention_to_load(model.config, "sdpa") == "sdpa", "which transformers then refuses by name"
    install_attention(model, "auto")
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_transformers_still_has_no_sdpa_of_its_own_for(family):
    """The day it has, this folder can go."""
    assert not eager_toy(family)._supports_sdpa
