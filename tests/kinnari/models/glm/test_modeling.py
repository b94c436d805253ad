"""GLM against its equations, written out in plain torch; padding, cache, checkpointing, saving."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoModelForCausalLM

from kinnari.errors import ConfigError
from kinnari.models.glm import GLMForConditionalGeneration, GLMModel
from kinnari.models.glm.inputs import build_inputs_for_multiple_choice, choice_scores
from tests.kinnari.models.glm.toys import (
    CLS,
    EOP,
    EOT,
    GMASK,
    MASK,
    ROW,
    SHORT,
    SOP,
    padded,
    public_folder,
    public_weights,
    toy_config,
    toy_model,
)

ROWS = [ROW, SHORT, [CLS, 7, MASK, 8, GMASK, EOT, SOP, 4, 5], [3, 4, 5, 6]]
IMPLEMENTATIONS = ["sdpa", "eager"]


@pytest.fixture(scope="module")
def model():
    return toy_model()


def norm(x: Tensor, weights: dict, name: str) -> Tensor:
    deviation = x - x.mean()
    return deviation / (deviation.square().mean() + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def slow_logits(model: GLMForConditionalGeneration, row: list[int]) -> Tensor:
    """[T, V] float64, token by token, head by head, from the equations."""
    weights = {name.removeprefix("glm."): tensor for name, tensor in model.state_dict().items()}
    config, sop = model.config, row.index(SOP) if SOP in row else None
    masks = [i for i, token in enumerate(row[:sop] if sop is not None else row) if token in config.mask_token_ids]
    states = []
    for i, token in enumerate(row):
        answer = sop is not None and i >= sop
        position, in_blank = (masks[0], i - sop + 1) if answer else (i, 0)
        states.append(
            weights["word_embeddings.weight"][token]
            + weights["transformer.position_embeddings.weight"][position]
            + weights["transformer.block_position_embeddings.weight"][in_blank]
        )
    size = config.hidden_size // config.num_attention_heads
    for layer in range(config.num_layers):
        name = f"transformer.layers.{layer}"

        def linear(x, part, name=name):
            return weights[f"{name}.{part}.weight"] @ x + weights[f"{name}.{part}.bias"]

        mixed = [linear(norm(x, weights, f"{name}.input_layernorm"), "attention.query_key_value").split(config.hidden_size) for x in states]
        new = []
        for i, x in enumerate(states):
            seen = range(sop) if sop is not None and i < sop else range(i + 1)
            heads = []
            for head in range(config.num_attention_heads):
                span = slice(head * size, (head + 1) * size)
                scores = torch.stack([mixed[i][0][span] @ mixed[j][1][span] / math.sqrt(size) for j in seen])
                shares = scores.exp() / scores.exp().sum()
                heads.append(sum(share * mixed[j][2][span] for share, j in zip(shares, seen, strict=True)))
            x = x + linear(torch.cat(heads), "attention.dense")
            inner = linear(norm(x, weights, f"{name}.post_attention_layernorm"), "mlp.dense_h_to_4h")
            gelu = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
            new.append(x + linear(gelu, "mlp.dense_4h_to_h"))
        states = new
    final = torch.stack([norm(x, weights, "transformer.final_layernorm") for x in states])
    return final @ weights["word_embeddings.weight"].T


@torch.no_grad()
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize("row", ROWS, ids=["blank at the end", "short", "two blanks", "plain text"])
def test_logits_are_those_of_the_equations(row, implementation, scale):
    model = toy_model(attn_implementation=implementation, attention_scale=scale)

    logits = model(torch.tensor([row])).logits[0]

    assert (logits - slow_logits(model, row)).abs().max() < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_a_padded_batch_equals_each_row_alone(left, implementation):
    model = toy_model(attn_implementation=implementation)
    ids, mask = padded(ROWS, left)
    for dtype in (torch.int64, torch.bool, torch.float64):
        logits = model(ids, attention_mask=mask.to(dtype)).logits
        for i, row in enumerate(ROWS):
            assert (logits[i, mask[i].bool()] - model(torch.tensor([row])).logits[0]).abs().max() < 1e-10


@torch.no_grad()
def test_the_plain_positions_that_callers_give_every_causal_model_change_nothing(model):
    ids, mask = padded(ROWS, left=True)
    positions = (mask.cumsum(1) - 1).clamp(min=0)

    assert model(ids, attention_mask=mask, position_ids=positions).logits.equal(model(ids, attention_mask=mask).logits)
    assert model(torch.tensor([ROW]), position_ids=torch.arange(len(ROW))[None]).logits.equal(model(torch.tensor([ROW])).logits)


@torch.no_grad()
def test_packed_rows_equal_each_record_alone(model):
    ids = torch.tensor([[token for row in ROWS for token in row] + [EOT] * 3])
    positions = torch.tensor([[t for row in [*ROWS, [EOT] * 3] for t in range(len(row))]])

    logits = model(ids, position_ids=positions, use_cache=False).logits[0]

    alone = torch.cat([model(torch.tensor([row])).logits[0] for row in ROWS])
    assert (logits[: len(alone)] - alone).abs().max() < 1e-10


@torch.no_grad()
def test_the_number_of_context_tokens_may_be_given_as_a_scalar_or_a_vector(model):
    ids, sop = torch.tensor([ROW, ROW]), ROW.index(SOP)
    expected = model(ids).logits

    for separator in (torch.tensor(sop), torch.tensor([sop, sop])):
        assert (model(ids, attention_mask=separator).logits - expected).abs().max() < 1e-12
    assert (model(ids, attention_mask=torch.tensor(0)).logits[:, 1] - expected[:, 1]).abs().max() > 1e-3


@torch.no_grad()
def test_every_kind_of_4d_mask_means_the_same(model):
    seen = torch.ones(len(ROW), len(ROW)).tril()
    seen[:, : ROW.index(SOP)] = 1
    mask, expected = seen[None, None], model(torch.tensor([ROW])).logits
    additive = torch.zeros_like(mask).double().masked_fill(mask == 0, torch.finfo(torch.float64).min)

    for given in (mask, mask.bool(), mask.long(), additive):
        assert (model(torch.tensor([ROW]), attention_mask=given).logits - expected).abs().max() < 1e-12


@torch.no_grad()
def test_choices_in_one_row_score_as_each_alone(model):
    context, choices = [CLS, 7, MASK, 8, EOT], [[4, 5], [6], [9, 10, 11]]
    row = build_inputs_for_multiple_choice(context, choices, model.config.blanks)

    scores = choice_scores(model, row)

    for score, choice in zip(scores, choices, strict=True):
        log_probs = model(torch.tensor([[*context, SOP, *choice]])).logits[0].log_softmax(-1)
        alone = sum(log_probs[len(context) + i, token] for i, token in enumerate(choice))
        assert float(score) == pytest.approx(float(alone), abs=1e-10)


@pytest.mark.parametrize("options", [{"do_sample": False}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_generation_is_the_same_with_and_without_cache_alone_and_in_a_batch(model, options):
    prompts = [row[: row.index(SOP) + 1] for row in ROWS[:3]]
    ids, mask = padded(prompts, left=True)
    options = {"max_new_tokens": 8, "eos_token_id": None, **options}

    cached = model.generate(ids, attention_mask=mask, use_cache=True, **options)
    uncached = model.generate(ids, attention_mask=mask, use_cache=False, **options)

    assert cached.equal(uncached)
    for i, prompt in enumerate(prompts):
        alone = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), **options)
        assert cached[i, ids.shape[1] :].equal(alone[0, len(prompt) :])


@torch.no_grad()
def test_greedy_answers_are_those_of_the_equations(model):
    row = ROW[: ROW.index(SOP) + 1]
    answer = model.generate(torch.tensor([row]), max_new_tokens=4, do_sample=False, eos_token_id=None)[0, len(row) :].tolist()

    for token in answer:
        assert token == int(slow_logits(model, row)[-1].argmax())
        row = [*row, token]


def test_answers_end_at_eop_or_at_the_end_of_text(model, tmp_path):
    assert model.generation_config.eos_token_id == [EOT, EOP] and model.generation_config.pad_token_id == EOT
    assert AutoModelForCausalLM.from_pretrained(public_folder(tmp_path, model)).generation_config.eos_token_id == [EOT, EOP]


@torch.no_grad()
def test_several_tokens_may_follow_a_cache(model):
    ids, sop = torch.tensor([ROW]), ROW.index(SOP)
    whole = model(ids).logits
    start = model(ids[:, : sop + 1], use_cache=True)
    layout = torch.tensor([[[4] * 3, [2, 3, 4]]])

    rest = model(ids[:, sop + 1 :], position_ids=layout, past_key_values=start.past_key_values, use_cache=True)

    assert (torch.cat([start.logits, rest.logits], 1) - whole).abs().max() < 1e-10


def test_labels_stand_on_the_tokens_and_the_answer_alone_is_their_business(model):
    labels = torch.tensor([[-100] * 7 + ROW[7:]])

    loss = model(torch.tensor([ROW]), labels=labels).loss

    expected = cross_entropy(slow_logits(model, ROW)[6:9], torch.tensor(ROW[7:]))
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_reach_every_parameter_and_checkpointing_changes_none(implementation):
    def gradients(checkpointing):
        model = toy_model(
            attn_implementation=implementation, embedding_dropout_prob=0.0, attention_dropout_prob=0.0, output_dropout_prob=0.0
        )
        if checkpointing:
            model.gradient_checkpointing_enable()
        assert model.is_gradient_checkpointing == checkpointing
        model.train()
        calls = []
        model.glm.transformer.layers[0].attention.register_forward_pre_hook(lambda *_: calls.append(1))
        model(torch.tensor([ROW]), labels=torch.tensor([[-100] * 7 + ROW[7:]])).loss.backward()
        assert len(calls) == 1 + checkpointing, "a block is computed again in the backward pass, or checkpointing did nothing"
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    plain, checkpointed = gradients(False), gradients(True)

    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in plain.values())
    assert "glm.word_embeddings.weight" in plain
    for name, gradient in plain.items():
        assert gradient.equal(checkpointed[name]), name


def test_dropout_acts_in_training_alone():
    model, ids = toy_model(), torch.tensor([ROW])

    assert model(ids).logits.equal(model(ids).logits)
    model.train()
    assert not model(ids).logits.equal(model(ids).logits)


def test_a_saved_model_is_bit_identical_and_keeps_the_public_names(model, tmp_path):
    model.save_pretrained(tmp_path)
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True, dtype=torch.float64)

    assert type(again) is GLMForConditionalGeneration
    assert not any(info.values())
    assert again.lm_head.weight is again.glm.word_embeddings.weight
    state = again.state_dict()
    assert all(state[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_the_public_layout_loads_strictly(model, tmp_path):
    folder = public_folder(tmp_path, model)

    loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    backbone, its_info = AutoModel.from_pretrained(folder, output_loading_info=True)

    assert not any(info.values()) and not any(its_info.values())
    assert type(loaded) is GLMForConditionalGeneration and type(backbone) is GLMModel
    for name, tensor in public_weights(model).items():
        assert loaded.state_dict()[name].equal(tensor) and backbone.state_dict()[name.removeprefix("glm.")].equal(tensor)
    with torch.no_grad():
        hidden = backbone(torch.tensor([ROW])).last_hidden_state
        assert (loaded(torch.tensor([ROW])).logits - loaded.lm_head(hidden)).abs().max() == 0


def test_the_backbone_alone_trains(model):
    backbone = toy_model().glm.train()
    backbone(torch.tensor([ROW])).last_hidden_state[:, -1].sum().backward()

    assert backbone.word_embeddings.weight.grad.abs().sum() > 0


def test_hidden_states_and_weights_can_be_asked_for():
    outputs = toy_model(attn_implementation="eager")(torch.tensor([ROW]), output_hidden_states=True, output_attentions=True)

    assert len(outputs.hidden_states) == 3 and len(outputs.attentions) == 2
    assert outputs.attentions[0].shape == (1, 2, 10, 10)


def test_new_weights_have_small_residual_matrices():
    model = GLMForConditionalGeneration(toy_config(hidden_size=256, num_layers=8))
    attention = model.glm.transformer.layers[0].attention

    assert float(attention.query_key_value.weight.std()) == pytest.approx(0.02, rel=0.05)
    assert float(attention.dense.weight.std()) == pytest.approx(0.02 / 4, rel=0.05)


def test_what_cannot_be_computed_is_refused(model):
    with pytest.raises(ConfigError, match=r"model\.max_length=32"):
        model(torch.full((1, 40), 3))
    cache = model(torch.tensor([ROW]), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="position_ids"):
        model(torch.tensor([[3]]), past_key_values=cache)
    with pytest.raises(ValueError, match="inputs_embeds"):
        model(inputs_embeds=torch.zeros(1, 3, 16))
    with pytest.raises(ValueError, match="2D"):
        model.generate(torch.tensor([SHORT]), attention_mask=torch.ones(1, 1, 7, 7), max_new_tokens=1)
    with pytest.raises(ValueError, match="cache_implementation"):
        model.generate(torch.tensor([SHORT]), max_new_tokens=1, cache_implementation="static")


@torch.no_grad()
def test_rows_longer_than_the_tables_are_fine_where_no_position_is(model):
    ids, mask = torch.full((1, 40), EOT), torch.zeros(1, 40, dtype=torch.long)
    ids[0, -7:], mask[0, -7:] = torch.tensor(SHORT), 1

    assert (model(ids, attention_mask=mask).logits[0, -7:] - model(torch.tensor([SHORT])).logits[0]).abs().max() < 1e-10
