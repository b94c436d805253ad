"""Blueprints are the published models: their parameters are counted from real modules of few blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinnari.planning.blueprint import Making, few_blocks, one_more, shapes_of, with_blocks
from kinnari.planning.request import Freezing
from kinnari.planning.trace import sizes_of
from kinnari.strategies.tuning import Tuning
from tests.end_to_end.shrunk_models import MODELS, shrunk_spec
from tests.kinnari.planning.specs import spec_of

MAKING = Making(weights=torch.bfloat16, trained=torch.bfloat16, compute=torch.bfloat16, fused=True, storage=torch.uint8)
PUBLISHED = [name for name in MODELS if name != "other" and not name.startswith("tiny_")]


@pytest.mark.parametrize("name", PUBLISHED)
def test_few_blocks_say_how_many_parameters_the_published_model_has(name):
    spec = replace(shrunk_spec(name), shrunk=False)
    assert sizes_of(spec, None, MAKING, "adamw").parameters == spec.parameters


def test_adapters_are_counted_from_the_layers_they_are_on():
    """r (in + out) for each of 4 projections in 32 blocks of width 4096."""
    tuning = Tuning(name="lora", r=8, targets=["q_proj", "k_proj", "v_proj", "o_proj"])
    sizes = sizes_of(spec_of("llama7b"), tuning, MAKING, "adamw")
    assert sizes.trainable == 32 * 4 * 8 * (4096 + 4096)
    assert sizes.optimizer_bytes == 8 * sizes.trainable


def test_layers_of_several_kinds_keep_their_own_counts():
    shapes = shapes_of(spec_of("gemma3_1b"))
    kinds = {block.variant[0] for block in shapes.blocks}
    assert kinds == {"sliding_attention", "full_attention"}
    few = few_blocks(shapes)
    assert len(few) == 2
    more = one_more(few, few[1])
    assert with_blocks(shapes, more).config.layer_types == [block.variant[0] for block in more]
    assert shapes.config.num_hidden_layers == len(shapes.blocks) == 26, "the shapes themselves are left alone"


def test_an_encoder_is_frozen_before_its_decoder():
    """mT0 base: 12 + 12 blocks, of which 7 stay trained."""
    shapes = shapes_of(spec_of("mt0_base"), Freezing(fraction=0.7))
    frozen = [(block.stack, block.frozen) for block in shapes.blocks]
    assert frozen == [("encoder", True)] * 12 + [("decoder", True)] * 5 + [("decoder", False)] * 7


def test_the_published_reward_model_of_pangu_trains_815_million_parameters():
    """README of sunzeyeah/RLHF: 815M of Pangu-2.6B: 9 of 32 blocks, embeddings and the query layer's own."""
    sizes = sizes_of(spec_of("pangu2_6b"), Tuning(name="full"), MAKING, "adamw", Freezing(fraction=0.7))
    assert sizes.trainable == 9 * (12 * 2560**2 + 13 * 2560) + 40000 * 2560 + 2 * 1024 * 2560 + 2 * 2560


def test_a_toy_and_a_shrunk_model_have_the_shapes_they_are_built_with():
    assert len(shapes_of(spec_of("tiny_causal")).blocks) == 2
    assert shapes_of(spec_of("llama7b", shrunk=True)).config.hidden_size == 64
