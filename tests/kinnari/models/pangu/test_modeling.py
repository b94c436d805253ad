"""PanGu-alpha computes its equations, whatever pads, packs, caches or recomputes."""

import pytest
import torch
from transformers import AutoModel

from kinnari.models.packing import packed_inputs
from kinnari.models.pangu import PanguConfig, PanguForCausalLM, PanguModel
from tests.kinnari.models.pangu.equations import pangu_logits
from tests.kinnari.models.pangu.toy import SIZES, toy_model

ROW = [1, 17, 88, 5, 33, 140, 9, 61, 17]
SHORT = [1, 70, 5, 12]
ATTENTION = ("sdpa", "eager")
PAD = 6


def logits(model: PanguForCausalLM, ids: list[list[int]], **inputs) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids), **inputs).logits


def padded(side: str, dtype: torch.dtype) -> tuple[list[list[int]], torch.Tensor]:
    gap = [PAD] * (len(ROW) - len(SHORT))
    seen = [[1] * len(ROW), [1] * len(SHORT) + [0] * len(gap) if side == "right" else [0] * len(gap) + [1] * len(SHORT)]
    return [ROW, SHORT + gap if side == "right" else gap + SHORT], torch.tensor(seen).to(dtype)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize(("layers", "heads"), [(3, 2), (1, 4)])
def test_logits_are_those_of_the_equations(attention, layers, heads):
    model = toy_model(attention, num_layers=layers, num_heads=heads)
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    assert torch.allclose(logits(model, [ROW])[0], pangu_logits(weights, ROW, layers, heads), rtol=0, atol=1e-11)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.float32, torch.float16])
def test_a_padded_row_has_the_logits_of_the_row_alone(attention, side, dtype):
    model = toy_model(attention)
    ids, mask = padded(side, dtype)
    together = logits(model, ids, attention_mask=mask)
    assert torch.isfinite(together).all()
    assert torch.allclose(together[0], logits(model, [ROW])[0], rtol=0, atol=1e-12)
    assert torch.allclose(together[1][mask[1].bool()], logits(model, [SHORT])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_padding_overflows_in_no_half_precision(attention, dtype):
    model = toy_model(attention, dtype)
    ids, mask = padded("left", torch.int64)
    together = logits(model, ids, attention_mask=mask)
    assert together.dtype == dtype and torch.isfinite(together).all()
    assert torch.allclose(together[1][-4:].float(), logits(model, [SHORT])[0].float(), atol=0.15)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.float64])
def test_a_full_mask_may_be_boolean_integer_or_additive(attention, dtype):
    model = toy_model(attention)
    seen = torch.ones(1, 1, len(ROW), len(ROW)).tril()
    mask = seen.to(dtype) if dtype != torch.float64 else torch.zeros_like(seen, dtype=dtype).masked_fill(seen == 0, -1e9)
    assert torch.allclose(logits(model, [ROW], attention_mask=mask), logits(model, [ROW]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("method", ["position_ids", "mask4d"])
def test_packed_records_have_the_logits_of_separate_rows(attention, method):
    model = toy_model(attention)
    positions = torch.tensor([[*range(len(ROW)), *range(len(SHORT))], [*range(len(SHORT)), *range(len(ROW))]])
    segments = torch.tensor([[0] * len(ROW) + [1] * len(SHORT), [0] * len(SHORT) + [1] * len(ROW)])
    together = logits(model, [ROW + SHORT, SHORT + ROW], **packed_inputs(positions, segments, method, attention, torch.float64))
    alone = [logits(model, [ROW])[0], logits(model, [SHORT])[0]]
    assert torch.allclose(together[0], torch.cat(alone), rtol=0, atol=1e-12)
    assert torch.allclose(together[1], torch.cat(alone[::-1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("attention", ATTENTION)
def test_token_by_token_with_a_cache_computes_the_same(attention):
    model = toy_model(attention)
    ids, mask = padded("left", torch.int64)
    whole = logits(model, ids, attention_mask=mask)
    cache, steps = None, []
    for t in range(len(ROW)):
        with torch.no_grad():
            out = model(input_ids=torch.tensor(ids)[:, t : t + 1], attention_mask=mask[:, : t + 1], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        steps.append(out.logits)
    stepped = torch.cat(steps, dim=1)
    assert torch.allclose(stepped[0], whole[0], rtol=0, atol=1e-12)
    assert torch.allclose(stepped[1, -4:], whole[1, -4:], rtol=0, atol=1e-12)
    assert cache.get_seq_length() == len(ROW) and len(cache.layers) == SIZES["num_layers"]


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_generation_is_the_same_cached_or_not_in_a_batch_or_alone(attention, settings):
    model = toy_model(attention)
    ids, mask = padded("left", torch.int64)
    common = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": PAD, "eos_token_id": None, **settings}

    def generate(rows, attention_mask=None, use_cache=True):
        return model.generate(torch.tensor(rows), attention_mask=attention_mask, use_cache=use_cache, **common)[:, -8:].tolist()

    batch = generate(ids, mask)
    assert batch == generate(ids, mask, use_cache=False)
    assert batch == generate([ROW], torch.ones(1, len(ROW))) + generate([SHORT], torch.ones(1, len(SHORT), dtype=torch.int64))


def test_greedy_generation_takes_the_largest_logit_of_the_equations():
    model = toy_model()
    weights = dict(model.state_dict())
    ids = list(SHORT)
    for _ in range(5):
        ids.append(int(pangu_logits(weights, ids, 3, 2)[-1].argmax()))
    generated = model.generate(torch.tensor([SHORT]), max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=PAD)
    assert generated[0].tolist() == ids


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("side", ["left", "right"])
def test_gradients_reach_every_parameter_and_all_embeddings(attention, side):
    model = toy_model(attention).train()
    ids, mask = padded(side, torch.int64)
    labels = torch.tensor(ids).masked_fill((mask == 0) | (torch.tensor(ids) == 1), -100)  # a first token has nothing before it
    model(input_ids=torch.tensor(ids), attention_mask=mask, labels=labels).loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
    # adding one vector to all keys moves all scores of a query alike, which the softmax takes away again
    still = {name for name, g in gradients.items() if float(g.abs().max()) < 1e-12}
    assert still == {f"transformer.h.{i}.attn.k_proj.bias" for i in range(3)}
    moved = {
        table: (gradients[f"transformer.{table}.weight"].abs().sum(-1) > 1e-12).nonzero().flatten().tolist() for table in ("wpe", "wqe")
    }
    # the last token is only predicted; the first query sees one key, whatever it asks
    assert moved == {"wpe": [0, 1, 2, 3, 4, 5, 6, 7], "wqe": [1, 2, 3, 4, 5, 6, 7]}


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_no_gradient(reentrant):
    gradients = []
    for checkpointing in (False, True):
        model = toy_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        torch.manual_seed(1)
        ids, mask = padded("right", torch.int64)
        out = model(input_ids=torch.tensor(ids), attention_mask=mask).logits
        out.log_softmax(-1)[mask == 1].square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert model.is_gradient_checkpointing
    assert all(torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-9, atol=1e-9) for name in gradients[0])


def test_dropout_is_in_modules_alone():
    model = toy_model().train()
    assert not torch.equal(model(input_ids=torch.tensor([ROW])).logits, logits(toy_model(), [ROW]))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert torch.allclose(model(input_ids=torch.tensor([ROW])).logits, logits(toy_model(), [ROW]), rtol=0, atol=1e-12)


def test_the_loss_is_the_mean_over_shifted_labels():
    model = toy_model()
    labels = torch.tensor([ROW]).clone()
    labels[0, :4] = -100
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ROW]), labels=labels)
    expected = -sum(out.logits[0, t - 1].log_softmax(-1)[ROW[t]] for t in range(4, len(ROW))) / 5
    assert float(out.loss) == pytest.approx(float(expected), rel=1e-6)  # transformers computes its loss in float32


def test_the_backbone_is_reachable_and_its_states_are_what_the_head_reads():
    model = toy_model()
    backbone = model.base_model
    assert type(backbone) is PanguModel and type(AutoModel.from_config(model.config)) is PanguModel
    with torch.no_grad():
        states = backbone(input_ids=torch.tensor([ROW])).last_hidden_state
    assert torch.equal(states @ model.get_input_embeddings().weight.T, logits(model, [ROW]))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_hidden_states_and_attention_weights_are_there_when_asked_for():
    model = toy_model("eager")
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ROW]), output_hidden_states=True, output_attentions=True)
    assert [tuple(h.shape) for h in out.hidden_states] == [(1, 9, 16)] * 4
    assert [tuple(a.shape) for a in out.attentions] == [(1, 2, 9, 9)] * 3
    assert all(torch.allclose(a.sum(-1), torch.ones(())[None].double()) for a in out.attentions)


def test_logits_of_the_last_positions_alone():
    model = toy_model()
    whole = logits(model, [ROW])
    assert torch.allclose(logits(model, [ROW], logits_to_keep=2), whole[:, -2:])
    assert torch.allclose(logits(model, [ROW], logits_to_keep=torch.tensor([0, 3])), whole[:, [0, 3]])


def test_embedded_tokens_may_be_given_instead_of_ids():
    model = toy_model()
    with torch.no_grad():
        embedded = model.get_input_embeddings()(torch.tensor([ROW]))
        assert torch.equal(model(inputs_embeds=embedded).logits, logits(model, [ROW]))
        with pytest.raises(ValueError, match="either"):
            model(input_ids=torch.tensor([ROW]), inputs_embeds=embedded)


def test_more_tokens_than_positions_are_refused_but_padding_and_packing_are_not_tokens():
    model = toy_model()
    with pytest.raises(ValueError, match="33 tokens are more than the 32 positions"):
        logits(model, [[3] * 33])
    with pytest.raises(ValueError, match="33 tokens"):
        model.generate(torch.tensor([[3] * 32]), max_new_tokens=2, pad_token_id=PAD, eos_token_id=None)
    mask = torch.tensor([[0] * 30 + [1] * len(SHORT)])
    assert torch.allclose(logits(model, [[PAD] * 30 + SHORT], attention_mask=mask)[0, -4:], logits(model, [SHORT])[0], atol=1e-12)
    positions = torch.arange(20).repeat(2)[None]
    assert torch.allclose(logits(model, [[3] * 40], position_ids=positions, use_cache=False)[0, 20:], logits(model, [[3] * 20])[0])


@pytest.mark.parametrize(
    ("layers", "width", "heads", "vocabulary"),
    [(24, 1024, 16, 40000), (32, 2560, 32, 40000), (40, 5120, 40, 40064)],
    ids=["350M", "2.6B", "13B"],
)
def test_parameters_of_the_public_sizes_are_counted_by_hand(layers, width, heads, vocabulary):
    with torch.device("meta"):
        model = PanguForCausalLM(PanguConfig(num_layers=layers, hidden_size=width, num_heads=heads, vocab_size=vocabulary))
    # a block: 12 H² of matrices, 4 H biases of attention, 5 H of the MLP, 4 H of its two LayerNorms
    assert sum(p.numel() for p in model.parameters()) == layers * (12 * width**2 + 13 * width) + (vocabulary + 2 * 1024 + 2) * width


def test_new_weights_have_the_spread_of_gpt2():
    torch.manual_seed(0)
    model = PanguForCausalLM(PanguConfig(num_layers=8, hidden_size=128, num_heads=2, vocab_size=500))
    block = model.transformer.h[3]
    for weight, std in (
        (model.transformer.wqe.weight, 0.02), (block.attn.q_proj.weight, 0.02), (block.mlp.c_fc.weight, 0.02),
        (block.attn.c_proj.weight, 0.005), (block.mlp.c_proj.weight, 0.005),
    ):  # fmt: skip
        assert float(weight.std()) == pytest.approx(std, rel=0.05)
    assert float(block.attn.k_proj.bias.abs().max()) == 0 and torch.equal(block.ln_1.weight, torch.ones(128))
