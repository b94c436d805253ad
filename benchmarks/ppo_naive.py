"""The naive loop of `benchmarks/ppo.py`: transformers' generate, four separate models, PPO in plain PyTorch as one would write it first.

naive         policy and value model trained in full, reference and reward model frozen
naive_lora    policy and value model with LoRA adapters of PEFT, each on a base of its own
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from ppo_log import UpdateLog
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

KL_COEF, GAMMA, LAM, CLIP, VALUE_CLIP, VALUE_COEF = 0.1, 1.0, 0.95, 0.2, 0.2, 0.2


@dataclass
class Models:
    """Four models of one size."""

    policy: Any
    reference: Any
    value: Any
    reward: Any

    @classmethod
    def load(cls, settings: dict[str, Any], told: dict[str, Any]) -> Models:
        folder = Path(settings["folder"]) / "model"
        policy, reference = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for _ in range(2))
        value, reward = (AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32) for _ in range(2))
        torch.nn.init.zeros_(value.score.weight)
        if settings["variant"].endswith("lora"):
            policy = get_peft_model(policy, LoraConfig(task_type="CAUSAL_LM", **told["lora"]))
            value.model = get_peft_model(value.model, LoraConfig(**told["lora"]))
        for frozen in (reference, reward):
            frozen.requires_grad_(False)
        for model in (policy, reference, value, reward):
            model.eval()  # no dropout
        return cls(policy, reference, value, reward)


@dataclass
class Answers:
    """Of one update, [B, P + R] rows and [B, R] numbers; every answer has R tokens."""

    ids: Tensor
    mask: Tensor
    start: int
    logprobs: Tensor
    kl: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


def naive(settings: dict[str, Any]) -> UpdateLog:
    """The whole run."""
    told = json.loads((Path(settings["folder"]) / "prompts.json").read_text())
    log = UpdateLog(settings)
    models = Models.load(settings, told)
    tokenizer = AutoTokenizer.from_pretrained(Path(settings["folder"]) / "model")
    trained = [p for model in (models.policy, models.value) for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings["lr"], weight_decay=0.0, fused=True)
    torch.manual_seed(settings["seed"])
    log.probe = _probe(models.policy, told["prompts"][0])
    log.begin()
    for update in range(settings["updates"] + 1):
        prompts = told["prompts"][update * settings["batch"] : (update + 1) * settings["batch"]]
        answers = answered(models, prompts, settings, tokenizer.pad_token_id, told["never"])
        learn(models, answers, optimizer, settings)
        log.add(tokens=answers.logprobs.numel(), kl=float(answers.kl.sum(1).mean()))
    return log


@torch.no_grad()
def answered(models: Models, prompts: list[list[int]], settings: dict[str, Any], pad: int, never: int) -> Answers:
    """Sample, score, and compute what the steps need."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    rows = models.policy.generate(
        input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0, temperature=1.0, max_new_tokens=settings["response"],
        eos_token_id=never, pad_token_id=pad,
    )  # fmt: skip
    mask = torch.cat((mask, torch.ones_like(rows[:, width:])), dim=1)
    logprobs, values = logprobs_of(models.policy, rows, mask, width), values_of(models.value, rows, mask, width)
    kl = logprobs - logprobs_of(models.reference, rows, mask, width)
    rewards = -KL_COEF * kl
    rewards[:, -1] += models.reward(input_ids=rows, attention_mask=mask).logits.squeeze(-1)
    advantages = torch.zeros_like(values)
    last = torch.zeros(len(rows))
    for t in reversed(range(values.shape[1])):
        following = values[:, t + 1] if t + 1 < values.shape[1] else 0.0
        last = rewards[:, t] + GAMMA * following - values[:, t] + GAMMA * LAM * last
        advantages[:, t] = last
    returns = advantages + values
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    return Answers(rows, mask, width, logprobs, kl, values, advantages, returns)


def logprobs_of(model: Any, rows: Tensor, mask: Tensor, start: int) -> Tensor:
    """[B, R] nats of the answers' tokens."""
    logits = model(input_ids=rows, attention_mask=mask, position_ids=_positions(mask), use_cache=False).logits[:, start - 1 : -1]
    return logits.log_softmax(-1).gather(-1, rows[:, start:, None]).squeeze(-1)


def values_of(model: Any, rows: Tensor, mask: Tensor, start: int) -> Tensor:
    """[B, R] of the states before the answers' tokens."""
    hidden = model.model(input_ids=rows, attention_mask=mask, position_ids=_positions(mask), use_cache=False).last_hidden_state
    return model.score(hidden).squeeze(-1)[:, start - 1 : -1]


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


def learn(models: Models, answers: Answers, optimizer: torch.optim.Optimizer, settings: dict[str, Any]) -> None:
    """Epochs of one optimizer step each, over micro-batches."""
    for _ in range(settings["epochs"]):
        for members in torch.randperm(len(answers.ids)).split(settings["micro"]):
            rows, mask = answers.ids[members], answers.mask[members]
            advantages, returns, old = answers.advantages[members], answers.returns[members], answers.values[members]
            ratio = (logprobs_of(models.policy, rows, mask, answers.start) - answers.logprobs[members]).exp()
            values = values_of(models.value, rows, mask, answers.start)
            policy = -torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
            bounded = torch.clamp(values, old - VALUE_CLIP, old + VALUE_CLIP)
            value = 0.5 * torch.maximum((values - returns) ** 2, (bounded - returns) ** 2).mean()
            ((policy + VALUE_COEF * value) * len(members) / len(answers.ids)).backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def _probe(model: Any, prompt: list[int]) -> float:
    row = torch.tensor([prompt])
    return float(logprobs_of(model, row, torch.ones_like(row), 1).sum())
