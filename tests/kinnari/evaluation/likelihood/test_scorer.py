"""Shared beginnings, trees and batches give the numbers of one forward per candidate, for every family."""

import copy
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from kinnari.errors import ConfigError
from kinnari.evaluation.likelihood import LikelihoodScorer
from kinnari.evaluation.likelihood.forward import Abilities
from kinnari.evaluation.likelihood.scorer import PARTS
from kinnari.evaluation.question import Candidate, Question
from tests.kinnari.evaluation.likelihood.families import FAMILIES, TOKENIZER, questions, slowly, slowly_once, tiny

CASES = [(family, attention) for family in FAMILIES for attention in ("sdpa", "eager")]


def largest_gap(family, scorer) -> float:
    gaps = []
    for number, found in enumerate(scorer.score(questions())):
        for expected, likelihood in zip(slowly_once(family, number), found, strict=True):
            gaps += [abs(getattr(likelihood, part) - expected[part]) for part in PARTS]
    return max(gaps)


@pytest.mark.parametrize(("family", "attention"), CASES)
def test_every_number_is_that_of_a_forward_of_its_own(family, attention):
    scorer = LikelihoodScorer(tiny(family, attention), TOKENIZER, wanted=PARTS)
    assert scorer.engine.abilities == Abilities(trees=True, prefixes=True)
    assert largest_gap(family, scorer) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("abilities", [Abilities(trees=False, prefixes=True), Abilities(trees=False, prefixes=False)])
def test_a_family_that_takes_no_trees_is_scored_in_padded_rows(family, abilities):
    scorer = LikelihoodScorer(tiny(family), TOKENIZER, wanted=PARTS)
    scorer.engine.abilities = abilities
    assert largest_gap(family, scorer) < 1e-4


def test_adapters_are_part_of_the_model():
    torch.manual_seed(1)
    base = copy.deepcopy(tiny("llama"))
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.5))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_()
    model.eval()
    expected = slowly(model, questions()[0])
    model.train()  # dropout would change every number
    found = LikelihoodScorer(model, TOKENIZER, wanted={"label"}).score(questions()[:1])[0]
    assert model.training and all(module.training for module in model.modules())
    assert max(abs(likelihood.label - slow["label"]) for likelihood, slow in zip(found, expected, strict=True)) < 1e-4
    without = LikelihoodScorer(tiny("llama"), TOKENIZER, wanted={"label"}).score(questions()[:1])[0]
    assert abs(found[0].label - without[0].label) > 0.01


@pytest.mark.parametrize("family", ["llama", "bloom", "gpt2"])
def test_a_model_that_ignores_where_a_token_stands_is_found_out(family, monkeypatch):
    expected = [slowly_once(family, number) for number in range(len(questions()))]
    model = copy.deepcopy(tiny(family))
    backbone = model.base_model
    forward = type(backbone).forward

    def deaf(self, *args, attention_mask=None, position_ids=None, **kwargs):
        if attention_mask is not None and attention_mask.dim() == 4:
            attention_mask = torch.ones_like(attention_mask).tril(attention_mask.shape[-1] - attention_mask.shape[-2])
        return forward(self, *args, attention_mask=attention_mask, position_ids=position_ids, **kwargs)

    monkeypatch.setattr(type(backbone), "forward", deaf)
    scorer = LikelihoodScorer(model, TOKENIZER, wanted=PARTS)
    assert expected and scorer.engine.abilities == Abilities(trees=False, prefixes=True)
    assert largest_gap(family, scorer) < 1e-4


WORDS = st.text(st.sampled_from("abc ไ体"), min_size=1, max_size=6)
HEADERS = st.sampled_from(["", "h" * 20, "one shot. two shots. "])
CANDIDATES = st.lists(st.tuples(st.text("xy ", max_size=30), WORDS, st.text("pq", max_size=40)), min_size=2, max_size=7)


@settings(max_examples=15)
@given(
    asked=st.lists(st.tuples(HEADERS, st.text("tu", max_size=60), CANDIDATES), min_size=1, max_size=4),
    family=st.sampled_from(["llama", "opt", "bloom", "gemma3_text"]),
    wanted=st.sets(st.sampled_from(PARTS), min_size=1),
    budget=st.sampled_from([1, 100, 4096]),
)  # fmt: skip
def test_any_question_is_scored_as_one_by_one(asked, family, wanted, budget):
    # a text in front of everything, so that no label is the first token of a text
    made = [
        Question(id=str(i), header=header, candidates=tuple(Candidate("." + stem + a, b, c) for a, b, c in parts), gold=None, premise="-")
        for i, (header, stem, parts) in enumerate(asked)
    ]
    found = LikelihoodScorer(tiny(family), TOKENIZER, wanted=wanted, token_budget=budget).score(made)
    for question, likelihoods in zip(made, found, strict=True):
        for expected, likelihood in zip(slowly(tiny(family), question), likelihoods, strict=True):
            for part in PARTS:
                if part in wanted:
                    assert abs(getattr(likelihood, part) - expected[part]) < 1e-4
                else:
                    assert getattr(likelihood, part) is None


def test_nothing_depends_on_order_budget_padding_side_or_company():
    model, asked = tiny("llama"), questions()
    expected = LikelihoodScorer(model, TOKENIZER).score(asked)
    rng = random.Random(3)
    for budget, side in ((1, "left"), (300, "right"), (100_000, "left")):
        TOKENIZER.padding_side = side
        order = rng.sample(range(len(asked)), len(asked))
        turns = [rng.sample(range(6), 6) for _ in asked]
        shuffled = [replace(asked[i], candidates=tuple(asked[i].candidates[c] for c in turns[i])) for i in order]
        found = LikelihoodScorer(model, TOKENIZER, token_budget=budget).score(shuffled)
        for i, likelihoods in zip(order, found, strict=True):
            for c, likelihood in zip(turns[i], likelihoods, strict=True):
                assert abs(likelihood.sequence - expected[i][c].sequence) < 1e-4
                assert abs(likelihood.label - expected[i][c].label) < 1e-4
    alone = LikelihoodScorer(model, TOKENIZER).score(asked[4:5])
    assert abs(alone[0][2].continuation - expected[4][2].continuation) < 1e-4


def test_a_label_of_one_token_needs_the_question_once_and_one_position_of_the_head():
    letters = Question(id="m", candidates=tuple(Candidate("Answer: ", letter) for letter in "ABCD"), gold=0)
    scorer = LikelihoodScorer(tiny("llama"), TOKENIZER, wanted={"label"})
    rows = []
    forward = scorer.engine.forward
    scorer.engine.forward = lambda batch, prefix=None: rows.extend(batch) or forward(batch, prefix)
    scorer.engine.forward.head = forward.head
    found = scorer.score([letters])
    (row,) = rows
    assert len(row.ids) == len("Answer: ") and row.places == [len("Answer: ") - 1] * 4
    assert [likelihood.label_tokens for likelihood in found[0]] == [1] * 4


def test_a_header_is_computed_once_for_all_questions_that_have_it():
    asked = [replace(question, id=f"{i}{question.id}") for i in range(3) for question in questions()]
    scorer = LikelihoodScorer(tiny("llama"), TOKENIZER, wanted={"label"})
    forward, seen = scorer.engine.forward, []
    prefix = forward.prefix
    forward.prefix = lambda ids, *rest, **wanted: seen.append(len(ids)) or prefix(ids, *rest, **wanted)
    scorer.score(asked)
    header = next(question.header for question in asked if question.header)
    assert seen == [len(header) - 1]  # its last token is read with every question, to predict what follows


def test_a_model_in_training_is_in_training_again_after_an_error():
    model = tiny("opt")
    model.train()
    scorer = LikelihoodScorer(model, TOKENIZER)
    empty = Question(id="e", candidates=(Candidate("a", ""), Candidate("a", "b")), gold=0)
    try:
        with pytest.raises(ConfigError, match="no token"):
            scorer.score([empty])
        assert model.training
    finally:
        model.eval()


def test_progress_counts_questions_up_to_all():
    told = []
    LikelihoodScorer(tiny("llama"), TOKENIZER, wanted=PARTS, token_budget=64).score(questions(), told.append)
    assert told == sorted(told) and told[-1] == len(questions())


def test_questions_in_blocks_are_questions_together(monkeypatch):
    expected = LikelihoodScorer(tiny("llama"), TOKENIZER).score(questions())
    monkeypatch.setattr("kinnari.evaluation.likelihood.scorer.BLOCK_CHARACTERS", 700)
    told = []
    found = LikelihoodScorer(tiny("llama"), TOKENIZER).score(questions(), told.append)
    assert told == sorted(told) and told[-1] == len(questions())
    for one, other in zip(expected, found, strict=True):
        assert max(abs(a.sequence - b.sequence) for a, b in zip(one, other, strict=True)) < 1e-4


@pytest.mark.parametrize("wanted", [{"label", "pmi"}, set()])
def test_an_unknown_part_is_refused(wanted):
    with pytest.raises(ConfigError, match="sequence, label, continuation, unconditional, legacy"):
        LikelihoodScorer(tiny("llama"), TOKENIZER, wanted=wanted)
