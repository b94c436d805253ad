"""A critic of its own and the data's answers in PPO's loss, on a toy model whose gradients are compared one by one."""

from __future__ import annotations

import functools

import pytest
import torch

from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.rollouts.critic import CRITIC, with_critic_lr
from kinnari.rollouts.rollout import Rollout, collate_rollouts
from kinnari.rollouts.settings import PPOSettings
from kinnari.strategies.fine_tuning import FineTuningSettings
from kinnari.strategies.optimizers import decay_groups
from kinnari.text.batches import Batch
from kinnari.text.prompts import Prompt
from lightning_modules import CausalLMSFT, PPOModule
from tests.kinnari.rollouts.test_ptx import answers
from tests.kinnari.strategies.toy import toy_model


def module(tuning="lora", recompute=False, **settings) -> PPOModule:
    model = toy_model(tuning, recompute=recompute).eval()
    made = PPOModule(model, byte_tokenizer(), lambda rollouts: [0.0] * len(rollouts), PPOSettings(**settings), data=answers())
    torch.nn.init.normal_(made.value_head.weight, generator=torch.Generator().manual_seed(2))
    return made


def batch(tokens: int = 5) -> dict:
    drawn = torch.Generator().manual_seed(4)
    rollouts = [Rollout(Prompt((), [5, 6, 7][:n], f"r:{n}", ""), [9, 11, 2][:n], "", finished=True) for n in (3, 2)]
    for rollout in rollouts:
        rollout.numbers = {name: torch.randn(len(rollout), generator=drawn) - 3 for name in ("logprobs", "values", "advantages", "returns")}
    return collate_rollouts(rollouts, 0, seq2seq=False, step_tokens=tokens)


def gradients(made: PPOModule, inputs: dict) -> dict[str, torch.Tensor]:
    made.zero_grad()
    (made(inputs)[0] / inputs["step_tokens"]).backward()
    return {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


def nudge(made: PPOModule, wanted) -> None:
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.requires_grad and wanted(name):
                parameter.add_(0.3)


def is_critic(name: str) -> bool:
    return f".{CRITIC}." in name


def test_a_separate_critic_begins_as_the_policys_adapter_and_is_trained_beside_it():
    made = module(critic="separate")
    named = dict(made.named_parameters())
    critic = [name for name in named if is_critic(name)]

    assert critic and all(torch.equal(named[name], named[name.replace(".critic.", ".default.")]) for name in critic)
    trained = {name for name, p in named.items() if p.requires_grad}
    assert trained == {*critic, *(name.replace(".critic.", ".default.") for name in critic), "value_head.weight"}
    assert not any(is_critic(f"model.{name}") for name in made.reference.whole)  # the reference keeps no copy of it


def test_the_policy_does_not_depend_on_the_critic_nor_the_critic_on_the_policy():
    made = module(critic="separate")
    with torch.no_grad():
        logprobs, entropy, values, _ = made.token_answers(batch())
        nudge(made, is_critic)
        after_critic = made.token_answers(batch())
        nudge(made, lambda name: ".default." in name)
        after_both = made.token_answers(batch())

    assert torch.equal(after_critic[0], logprobs) and torch.equal(after_critic[1], entropy) and not torch.equal(after_critic[2], values)
    assert not torch.equal(after_both[0], logprobs) and torch.equal(after_both[2], after_critic[2])


def test_policy_and_value_loss_reach_their_own_adapter_alone():
    both = gradients(module(critic="separate", value_coef=0.5), batch())
    policy = gradients(module(critic="separate", value_coef=0.0), batch())

    names = [name for name in both if ".default." in name]
    assert names and all(torch.equal(both[name], policy[name]) for name in names)
    assert all(both[name].abs().sum() > 0 for name in both if is_critic(name))
    assert all(not policy[name].any() for name in policy if is_critic(name))


def test_at_the_beginning_a_separate_critic_has_the_loss_and_the_value_gradient_of_a_shared_one():
    assert torch.allclose(module()(batch()), module(critic="separate")(batch()), atol=1e-6)
    values_alone = batch() | {"advantages": torch.zeros_like(batch()["advantages"])}
    shared, separate = gradients(module(), values_alone), gradients(module(critic="separate"), values_alone)

    for name, gradient in shared.items():
        assert torch.allclose(separate[name.replace(".default.", ".critic.")], gradient, atol=1e-6) and gradient.any()


def test_checkpointed_blocks_have_the_same_gradients():
    plain = gradients(module(critic="separate"), batch())
    made = module(critic="separate", recompute=True)
    for block in made.model.base_model.model.model.layers:
        block.training = True  # what `train_without_dropout` leaves on
    again = gradients(made, batch())

    assert plain.keys() == again.keys()
    assert all(torch.allclose(plain[name], again[name], atol=1e-6) for name in plain)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_ptx_adds_the_gradient_of_fine_tuning_times_its_coefficient(tuning):
    inputs = batch()
    plain = gradients(module(tuning), inputs)
    data = answers()
    data.beside([inputs], [1, 4], tokens=8, pad_id=0)  # 4 of the 8 trained tokens of the step are on this rank
    made = module(tuning, ptx_coef=3.0)
    mixed = gradients(made, inputs)

    sft = CausalLMSFT(toy_model(tuning).eval())
    rows = {name: inputs[f"ptx_{name}"] for name in ("input_ids", "attention_mask", "labels")}
    nll = sft(Batch(**rows, record_ids=[], step_tokens=8))[0]
    (nll / 8).backward()
    alone = {name: p.grad for name, p in sft.named_parameters() if p.grad is not None}

    assert alone and all(torch.allclose(mixed[name], plain[name] + 3.0 * alone[name], atol=1e-5) for name in alone)
    assert made._ptx_sums.tolist() == pytest.approx([float(nll), 4])


def test_ptx_without_data_is_refused():
    with pytest.raises(ConfigError, match="ptx_coef=1"):
        PPOModule(toy_model("lora"), byte_tokenizer(), lambda rollouts: [], PPOSettings(ptx_coef=1.0))


def test_trained_biases_of_the_base_are_refused():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(toy_model(), LoraConfig(r=2, target_modules=["q_proj"], bias="all"))
    with pytest.raises(ConfigError, match="bias=none"):
        PPOModule(model, byte_tokenizer(), lambda rollouts: [], PPOSettings(critic="separate"))


def test_a_critic_may_have_a_learning_rate_of_its_own():
    made = module(critic="separate")
    build = with_critic_lr(functools.partial(torch.optim.SGD, lr=1.0), made, 0.25)
    groups = [group for part in (made.model, made.value_head) for group in decay_groups(part, 0.1)]
    optimizer = build(groups)

    of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: of[id(p)] for name, p in made.named_parameters() if p.requires_grad}
    assert all(lr == (0.25 if is_critic(name) or name == "value_head.weight" else 1.0) for name, lr in found.items())
    assert all(group["weight_decay"] == 0.1 for group in optimizer.param_groups)


@pytest.mark.parametrize(("settings", "said"), [({"critic": "both"}, "critic=both"), ({"critic_lr": 1e-5}, "critic=shared"),
                                                ({"ema_beta": 1.0}, "ema_beta=1.0"), ({"ptx_coef": -1.0}, "ptx_coef=-1.0"),
                                                ({"critic": "separate", "critic_lr": 0.0}, "critic_lr=0.0")])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(ConfigError) as refusal:
        PPOSettings(**settings)
    assert said in str(refusal.value)


def test_the_optimizer_of_the_settings_is_used_for_both():
    made = PPOModule(toy_model("lora"), byte_tokenizer(), lambda rollouts: [], PPOSettings(critic="separate", critic_lr=0.5),
                     FineTuningSettings(optimizer=functools.partial(torch.optim.SGD, lr=2.0)))  # fmt: skip
    optimizer = made.tuning.settings.optimizer(decay_groups(made.model))

    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 0.5]
