"""PPO under LoRA: policy, value, reference and reward stand on one copy of the base weights; and answers in one row learn the same."""

from __future__ import annotations

import gc
import json

import pytest
import torch

from kinnari.models.backbone import hidden_size_of
from kinnari.models.head import install_loss_head
from kinnari.models.reward import RewardSettings
from kinnari.models.scalar_head import ScalarHead
from kinnari.models.toy import byte_tokenizer
from kinnari.rollouts.reward_model import ModelReward, share_backbone
from kinnari.rollouts.rollout import Rollout, collate_rollouts
from kinnari.rollouts.settings import PPOSettings
from kinnari.text.prompts import Prompt
from lightning_modules import PPOModule
from tests.kinnari.strategies.toy import toy_model
from tests.lightning_modules.test_ppo_parts import gradients


def batch() -> dict:
    drawn = torch.Generator().manual_seed(4)
    pairs = [([5, 6, 7, 8, 9, 3], [9, 11, 2]), ([5, 6, 7, 8, 4], [9, 2]), ([5, 6, 7, 8, 9, 3], [12, 2])]
    rollouts = [Rollout(Prompt((), p, f"r:{i}", ""), a, "", finished=True) for i, (p, a) in enumerate(pairs)]
    for rollout in rollouts:
        rollout.numbers = {name: torch.randn(len(rollout), generator=drawn) - 3 for name in ("logprobs", "values", "advantages", "returns")}
    return collate_rollouts(rollouts, 0, seq2seq=False, step_tokens=7)


def module(tuning: str, packing: str, **settings) -> PPOModule:
    made = PPOModule(toy_model(tuning).eval(), byte_tokenizer(), lambda rollouts: [], PPOSettings(**settings), packing=packing)
    torch.nn.init.normal_(made.value_head.weight, generator=torch.Generator().manual_seed(2))
    return made


@pytest.mark.parametrize(("tuning", "settings"), [("full", {}), ("lora", {}), ("lora", {"critic": "separate"})])
def test_one_row_gives_the_numbers_and_gradients_of_separate_rows(tuning, settings):
    separate, row = module(tuning, "none", **settings), module(tuning, "position_ids", **settings)
    assert row._row_inputs(batch())[2] is not None and separate._row_inputs(batch())[2] is None
    with torch.no_grad():
        mask = separate.token_answers(batch())[3]
        for one, other in zip(separate.token_answers(batch()), row.token_answers(batch()), strict=True):
            torch.testing.assert_close(other[mask], one[mask])
        torch.testing.assert_close(row.reference_logprobs(batch())[mask], separate.reference_logprobs(batch())[mask])

    expected, found = gradients(separate, batch()), gradients(row, batch())
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-4)


def test_four_models_on_one_backbone_hold_one_copy_of_its_weights(tmp_path):
    """Bytes of every tensor that is alive once all four have computed, not those of `parameters()` alone."""
    before = _alive()
    policy = toy_model("lora").eval()
    base = sum(p.numel() for n, p in policy.named_parameters() if "lora_" not in n) * 4
    adapter = sum(p.numel() for n, p in policy.named_parameters() if "lora_" in n) * 4
    policy.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    assert share_backbone(policy, tmp_path)
    head = ScalarHead(hidden_size_of(policy, install_loss_head(policy)))
    reward = ModelReward(policy, install_loss_head(policy), head, RewardSettings(), lambda rows: [], pad_id=0, adapter="reward")
    made = PPOModule(policy, byte_tokenizer(), reward, PPOSettings(critic="separate"), packing="position_ids")
    made.reference.place()
    inputs = batch()
    made(inputs)[0].backward()
    with torch.no_grad(), made.reference.in_use():
        made.reference_logprobs(inputs)
    del inputs

    # trained adapters of policy and critic with their gradients, the frozen reward adapter, the reference's first values
    most = base + 6 * adapter + 3 * 4 * head.in_features + 16_384
    held = _alive() - before
    assert base <= held <= most < 1.9 * base, (base, adapter, held)


def _alive() -> int:
    gc.collect()
    tensors = [t for t in gc.get_objects() if isinstance(t, torch.Tensor) and t.device.type == "cpu" and not t.is_sparse]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    grads = {t.grad.untyped_storage().data_ptr(): t.grad.untyped_storage().nbytes() for t in tensors if t.is_leaf and t.grad is not None}
    return sum((storages | grads).values())
