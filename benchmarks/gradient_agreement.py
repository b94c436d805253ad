"""In which layers do answers to different prompts teach the same? Cosines between policy gradients of disjoint sets of prompts.

    python launch.py experiment=rlhf_demo                              # a chain, whose SFT adapter and reward model are used
    python benchmarks/gradient_agreement.py --run outputs/rlhf/RUN     # a few minutes on two cores

Each prompt is answered `--answers` times; an answer's advantage is its score less the mean score of the others, and the gradient of a set
is that of the sum of advantage x log-probability. Where a gradient is noise, two sets have a cosine near 0; where c is the mean cosine,
signal and noise of a set have energies as c : 1 - c. `ppo.num_layers_unfrozen` of experiment=rlhf_small comes from this.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from kinnari.generation.sampler import answer_end, generate
from kinnari.generation.settings import GenerationSettings
from kinnari.rollouts.advantages import less_the_others
from kinnari.rollouts.rollout import Rollout
from kinnari.tasks import build
from kinnari.tasks.compare import held_out_prompts, with_model
from kinnari.tasks.rewards import model_reward


def main() -> None:
    arguments = _parser().parse_args()
    stages = {stage["name"]: Path(stage["folder"]) for stage in json.loads((arguments.run / "result.json").read_text("utf-8"))["stages"]}
    cfg: Any = OmegaConf.load(stages["evaluation"] / "config.yaml")
    data, _ = held_out_prompts(cfg)
    model, tokenizer = build.load_for_inference(with_model(cfg, cfg.task.before))
    chosen = np.random.default_rng(arguments.seed).permutation(len(data.prompts))[: arguments.sets * arguments.prompts]
    asked = [data.prompts[i] for i in chosen for _ in range(arguments.answers)]
    settings = GenerationSettings(do_sample=True, temperature=arguments.temperature, max_new_tokens=arguments.tokens, batch_size=32)
    said = generate(
        model, tokenizer, [p.token_ids for p in asked], settings, seed=arguments.seed, stop_id=answer_end(tokenizer, data.template)
    )
    rollouts = [Rollout(p, a.token_ids, a.text, a.finished) for p, a in zip(asked, said, strict=True)]
    reward = model_reward(cfg, build.parts(cfg), None, Path(cfg.reward.path))
    advantages = less_the_others(torch.tensor(reward(rollouts), dtype=torch.float64), arguments.answers).tolist()

    names = [name for name, _ in model.named_parameters() if "lora_" in name]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    size = arguments.prompts * arguments.answers
    gradients = [
        gradient(model, names, rollouts[start : start + size], advantages[start : start + size], arguments.temperature)
        for start in range(0, len(rollouts), size)
    ]
    report(gradients, names, arguments.step)


def gradient(
    model: Any, names: Sequence[str], rollouts: Sequence[Rollout], advantages: Sequence[float], temperature: float
) -> dict[str, Tensor]:
    """Of the sum of advantage x log-probability of the answers, by parameter."""
    model.zero_grad()
    for rollout, advantage in zip(rollouts, advantages, strict=True):
        ids = torch.tensor([rollout.prompt.token_ids + rollout.token_ids])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(rollout.prompt.token_ids) - 1 : -1].float() / temperature
        logprobs = logits.log_softmax(-1).gather(1, torch.tensor(rollout.token_ids)[:, None])
        (logprobs.sum() * advantage).backward()
    parameters = dict(model.named_parameters())
    return {name: parameters[name].grad.clone() for name in names}


def report(gradients: Sequence[dict[str, Tensor]], names: Sequence[str], step: int) -> None:
    """A line for each group of layers: mean cosine of all pairs of sets, and its standard error."""
    layer = {name: int(re.search(r"\.(\d+)\.", name)[1]) for name in names}  # type: ignore[index]
    print("| layers | mean cosine | ± |\n|---|---|---|")
    for first in range(0, max(layer.values()) + 1, step):
        group = [name for name in names if first <= layer[name] < first + step]
        flat = [torch.cat([part[name].flatten() for name in group]) for part in gradients]
        found = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in combinations(flat, 2)]
        print(f"| {first} to {first + step - 1} | {np.mean(found):.3f} | {np.std(found) / len(found) ** 0.5:.3f} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a chain (task=rlhf)")
    parser.add_argument("--sets", type=int, default=6)
    parser.add_argument("--prompts", type=int, default=12, help="of a set")
    parser.add_argument("--answers", type=int, default=8, help="to a prompt")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=24, help="most of an answer")
    parser.add_argument("--step", type=int, default=3, help="layers of a line")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
