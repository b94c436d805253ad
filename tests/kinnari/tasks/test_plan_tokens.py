"""Tokens of a plan: from prepared data if it is there, else from max_length; nothing is fetched or prepared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.plan_request import planned_config
from kinnari.tasks.plan_tokens import DataTokens, tokenizer_at_hand, tokens_of
from kinnari.text.plan import BatchPlan


def plan_of(lengths: list[int], trained: list[int], **more) -> BatchPlan:
    values = {"lengths": np.array(lengths), "trained_counts": np.array(trained), "weights": np.ones(len(lengths)), "global_size": 4,
              "micro_size": 2, "world_size": 1, "packing": "length_grouped", "capacity": 100, "seed": 0}  # fmt: skip
    return BatchPlan(**values | more)


def tokens(plan: BatchPlan | None, **more) -> DataTokens:
    values = {"widest": 100, "records": 9, "packed": False, "seq2seq": False, "told": ""}
    return DataTokens(plan, **values | more)


def test_without_data_every_row_is_as_long_as_allowed():
    rows = tokens(None).rows(2, 1)
    assert (rows.width, rows.mean, rows.records, rows.trained_share) == (100, None, 9, 1.0)


def test_the_longest_record_and_the_means_are_those_of_an_epoch():
    rows = tokens(plan_of([10, 20, 30, 40], [5, 5, 5, 5])).rows(2, 1)
    assert (rows.width, rows.mean, rows.trained_share, rows.records) == (40, 25.0, 0.2, 4)


def test_packed_rows_are_wider_where_fewer_are_computed_together():
    # 100 tokens of a step: two rows of 50 in one forward; one row of 100 where a forward takes one
    data = tokens(plan_of([10, 20, 30, 40], [1, 1, 1, 1], packing="packed"), packed=True)
    assert data.rows(2, 1).width == 50 and data.rows(1, 1).width == 100
    assert data.rows(2, 1).packed


def test_prompts_of_ppo_leave_room_for_an_answer_within_max_length():
    data = tokens(plan_of([30, 95], [10, 5]), answer=20)
    assert data.rows(1, 1).width == 80  # the longer prompt has 90 of 100
    assert data.rows(1, 1).mean == (20 + 80) / 2
    assert tokens(None, answer=20).rows(1, 1).width == 80
    of_two = tokens(None, answer=20, seq2seq=True).rows(1, 1)
    assert (of_two.width, of_two.target_width) == (100, 20)


def test_an_encoder_decoder_has_two_rows_of_one_batch():
    # sources 9, 1, 5, 5 and targets 1, 9, 5, 5: no record has nine of both
    rows = tokens(plan_of([10, 10, 10, 10], [1, 9, 5, 5], micro_size=1), seq2seq=True).rows(1, 1)
    assert rows.width + (rows.target_width or 0) == 10


def test_pairs_that_share_their_prompts_are_told_with_them_counted_once():
    found = dataclasses.replace(tokens(plan_of([30, 50], [1, 1]), pairs=True), shared=np.array([40, 70]))
    rows = found.rows(1, 1)
    assert (rows.pairs, rows.pair_mean, rows.width) == ((70,), 55.0, 50)


def test_pairs_have_the_width_of_their_longer_row():
    rows = tokens(plan_of([30, 50], [1, 1]), pairs=True).rows(1, 1)
    assert (rows.width, rows.mean, rows.trained_share) == (50, 40.0, 1.0)


def test_the_first_steps_alone():
    plan = plan_of([10, 20, 30, 40, 5, 6, 7, 8], [1] * 8)
    first = plan.order(0)[:4]
    assert tokens(plan, steps=1).rows(2, 1).width == plan.lengths[first].max()


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    cache = tmp_path_factory.mktemp("prepared")
    return planned_config(compose(["task=plan", "model=tiny_causal", "data.chatterbot.limit=40", f"preparation.cache_dir={cache}"]))


def test_data_that_was_prepared_is_found_and_data_that_was_not_is_said_not_to_be(cfg):
    parts = build.parts(cfg)
    before = tokens_of(cfg, parts, "sft")
    assert before.plan is None and "not prepared" in before.told and before.rows(1, 1).width == cfg.model.max_length
    assert before.records == 38  # 5 % of 40 are held out
    data = build.datamodule(cfg, build.tokenizer(cfg))
    data.folder = None
    data.setup()
    after = tokens_of(cfg, parts, "sft")
    assert after.plan is not None and "38 prepared records" in after.told
    assert after.rows(1, 1).mean == pytest.approx(float(data.train_records.lengths.mean()))
    assert tokens_of(cfg, parts, "ppo").rows(1, 1).width <= cfg.model.max_length


def test_pairs_are_counted_with_and_without_a_tokenizer():
    words = ["task=plan", "plan.task=reward", "data=chatterbot_ranked", "held_out.most=4"]
    cfg = planned_config(compose([*words, "model=tiny_causal", "model.max_length=4096"]))
    found = tokens_of(cfg, build.parts(cfg), "reward")
    assert found.pairs and f"{len(found.plan.lengths):,} prepared pairs" in found.told
    elsewhere = planned_config(compose([*words, "model=xglm7b", "model.path=nobody/has-this"]))
    counted = tokens_of(elsewhere, build.parts(elsewhere), "reward")
    assert counted.plan is None and "no tokenizer is on this machine" in counted.told
    assert counted.records == pytest.approx(found.records, rel=0.05)  # questions that are nearly the same are not looked for


def test_a_tokenizer_of_the_hub_is_at_hand_only_in_its_cache():
    assert tokenizer_at_hand(build.model_spec(compose(["model=tiny_causal"])))
    assert tokenizer_at_hand(build.model_spec(compose(["model=xglm7b", "model.shrunk=true"])))
    assert not tokenizer_at_hand(build.model_spec(compose(["model=xglm7b", "model.path=nobody/has-this"])))
