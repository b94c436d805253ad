"""What the tasks that learn from preferences refuse before anything is read, and that the chain refuses it before its first stage."""

from __future__ import annotations

import math
import sys
import types

import pytest
from omegaconf import OmegaConf

from kinnari.errors import ConfigError, need_number
from kinnari.rollouts.settings import NUMBERS, PPOSettings
from kinnari.tasks import rlhf
from kinnari.tasks.compose import compose
from kinnari.tasks.rules import check
from tests.kinnari.tasks.test_rules import config

RULE = ("task=ppo", "model=tiny_causal", "ppo.reward=rule")
RULED = ("task=ppo", "model=tiny_causal")
REWARD = ("task=reward", "data=chatterbot_ranked")
DPO = ("task=dpo", "data=chatterbot_ranked")
# The words before, what is refused, what the message says, and what passes in its place.
CASES = [
    (RULE, "ppo.response_length=[5,3]", "1 <= least <= most", "ppo.response_length=[3,5]"),
    (RULE, "ppo.response_length=null", "ppo.response_length=null must be", "ppo.response_length=5"),
    (RULE, "ppo.response_length=2.5", "whole number", "ppo.response_length=2"),
    (RULE, "ppo.response_length=[a,b]", "whole numbers", "ppo.response_length=[2,2]"),
    (RULE, "ppo.response_length=256", "no room for a prompt", "ppo.response_length=255"),
    (RULE, "ppo.kl_coef=-0.1", "leaving the reference would be rewarded", "ppo.kl_coef=0"),
    (RULE, "ppo.kl_coef=.nan", "at least 0", "ppo.kl_coef=0.1"),
    (RULE, "ppo.kl_coef=.inf", "at least 0", "ppo.kl_coef=10"),
    (RULE, "ppo.temperature=0", "sampled answers", "ppo.temperature=0.1"),
    (RULE, "ppo.iterations=0", "ppo.iterations=0 must be a whole number at least 1", "ppo.iterations=1"),
    (RULE, "ppo.epochs=1.5", "whole number", "ppo.epochs=2"),
    (RULE, "ppo.clip=null", "ppo.clip=null", "ppo.clip=0.2"),
    (RULE, "ppo.whiten=maybe", "true or false", "ppo.whiten=false"),
    (RULE, "ppo.held_out_prompts=-1", "at least 0", "ppo.held_out_prompts=0"),
    (RULE, "ppo.num_layers_unfrozen=0", "or null for all", "ppo.num_layers_unfrozen=1"),
    (RULE, "ppo.query_tokens=3", "or null to leave questions whole", "ppo.query_tokens=[3,4]"),
    (RULE, "ppo.export_ema=true", "set ppo.ema_beta", "ppo.export_ema=false"),
    (RULE, "generation.top_p=0.9", "draws answers from the whole distribution", "ppo.temperature=0.9"),
    (RULE, "generation=sample", "generation.do_sample=True is not for task=ppo", "generation=greedy"),
    (RULE, "generation.repetition_penalty=1.2", "generation.repetition_penalty=1.2 is not", "generation.max_new_tokens=9"),
    (RULE, "ppo.surprise=1", "no setting", "ppo.gamma=1"),
    ((*RULE, "hw=cpux2"), "ppo.num_rollouts=7", "Use ppo.num_rollouts=8", "ppo.num_rollouts=8"),
    (RULE, "ppo.rule=matching", "must be a section", "ppo/rule=answer_overlap"),
    ((*RULE, "ppo/rule=matching"), "ppo.rule.pattern='('", "regular expression", "ppo.rule.pattern=x"),
    ((*RULE, "ppo/rule=near_length"), "ppo.rule.characters=0", "1 or more", "ppo.rule.characters=1"),
    ((*RULE, "ppo/rule=script_share"), "ppo.rule.language=xx", "choose one of", "ppo.rule.language=ja"),
    (RULE, "ppo.rule.words=4", "unexpected keyword argument 'words'", "ppo.gamma=1"),
    (RULED, "ppo.reward=judge", "choose model, rule, callable, llm", "ppo.reward=rule"),
    (RULED, "ppo.reward=callable", "package.module:function", "ppo.reward=rule"),
    (RULED, "ppo.reward=model", "needs a reward model", "reward.path=/some/reward"),
    (RULED, "ppo.reward=llm", "ppo.llm.model=NAME", "ppo.llm.model=judge"),
    ((*RULED, "ppo.reward=llm", "ppo.llm.model=judge"), "ppo.llm.instruction=Rate {answer}!", "{prompt} and {answer}",
     "ppo.llm.instruction=Rate {answer} to {prompt}!"),
    ((*RULED, "ppo.reward=llm", "ppo.llm.model=judge"), "ppo.llm.url=null", "http://HOST:PORT/v1", "ppo.llm.timeout_s=5"),
    ((*RULED, "ppo.reward=llm", "ppo.llm.model=judge"), "ppo.llm.parallel=0", "at least 1", "ppo.llm.parallel=1"),
    (REWARD, "reward.freeze_fraction=1", "the top is always trained", "reward.freeze_fraction=0.99"),
    (REWARD, "reward.freeze_fraction=most", "must be a number", "reward.freeze_fraction=0"),
    (REWARD, "reward.margin=wide", "must be a number", "reward.margin=1"),
    (REWARD, "reward.train_embeddings=1", "true or false", "reward.train_embeddings=false"),
    (REWARD, "reward.depth=1", "no setting", "reward.pooling=mean"),
    (REWARD, "task.construction=best", "adjacent or all", "task.construction=all"),
    (DPO, "task.pairs_per_prompt=0", "or null for all", "task.pairs_per_prompt=1"),
    (DPO, "task.beta=0", "task.beta=0 must be a number above 0", "task.beta=0.1"),
    (DPO, "task.beta=.inf", "above 0", "task.beta=5"),
    (DPO, "task.label_smoothing=0.5", "below 0.5", "task.label_smoothing=0.4"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "wrong", "says", "right"), CASES, ids=[wrong for _, wrong, _, _ in CASES])
def test_a_setting_that_means_nothing_is_refused_with_value_rule_and_remedy(words, wrong, says, right):
    with pytest.raises(ConfigError) as refusal:
        check(config(*words, wrong))
    assert says in str(refusal.value) and "\n" not in str(refusal.value)
    check(config(*words, *([wrong] if right.startswith(("reward.path", "ppo.llm.model")) else []), right))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["abc", True, math.nan, math.inf, [1]])
def test_every_number_of_ppo_is_a_number(name, value):
    with pytest.raises(ConfigError, match=f"ppo.{name}="):
        PPOSettings(**{name: value})


def test_every_setting_of_ppo_is_looked_at():
    others = {"response_length", "kl", "whiten", "reward_scaling", "baseline", "critic"}
    assert set(PPOSettings.__dataclass_fields__) == set(NUMBERS) | others


def test_bounds_are_told_as_they_are():
    need_number("x", 3, least=3, most=3, whole=True)
    need_number("x", None, null="none")
    with pytest.raises(ConfigError, match=r"^x=4 must be a whole number at least 1 and below 4, or null for all; so it is\.$"):
        need_number("x", 4, least=1, below=4, whole=True, null="all", why="so it is")


def test_the_chain_refuses_a_reward_that_cannot_be_before_its_first_stage(tmp_path):
    words = ["task=rlhf", "model=tiny_causal", f"rlhf.root={tmp_path}/stages", f"output_dir={tmp_path}/run", "ppo.reward=callable"]
    with pytest.raises(ConfigError, match="nowhere:f cannot be imported"):
        rlhf.rlhf(compose([*words, "ppo.callable=nowhere:f"]))
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize(("name", "says"), [("two", "too many positional arguments"), ("number", "not a callable")])
def test_a_function_that_cannot_take_three_lists_is_refused_before_anything_is_read(monkeypatch, name, says):
    made = types.ModuleType("my_rewards")
    made.two, made.number = lambda questions, answers: [], 3
    monkeypatch.setitem(sys.modules, "my_rewards", made)
    cfg = config(*RULED, "ppo.reward=callable")
    OmegaConf.update(cfg, "ppo.callable", f"my_rewards:{name}")
    with pytest.raises(ConfigError, match=says):
        check(cfg)
