"""task=compare: the answers of two models to the same held-out prompts, and which of them a reward model (and a judge) prefers.

output_dir/answers.jsonl     prompt, reference, both answers with their scores, tokens and whether they were finished; the judge's verdict
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from kinnari.completion.endpoint import EndpointCompleter
from kinnari.completion.judge import Pair, PairJudge
from kinnari.errors import ConfigError
from kinnari.evaluation.judging.template import JudgeTemplate
from kinnari.evaluation.paired import gain_at_equal_length, paired_difference
from kinnari.generation.sampler import Answer, answer_end, generate
from kinnari.rollouts.rewards import checked
from kinnari.rollouts.rollout import Rollout
from kinnari.tasks import build
from kinnari.tasks.rewards import model_reward
from kinnari.text.progress import progress_line
from kinnari.text.prompts import Prompt

log = logging.getLogger(__name__)

SHOWN = 24  # samples in result.json


def compare(cfg: DictConfig) -> dict[str, Any]:
    """Answer, score, count; one model is in memory at a time.

    Raises:
        ConfigError: a model or the reward model is missing, or nothing is held out.
        RunStopped: the reward of an answer is no number.
    """
    if cfg.task.after is None or cfg.reward.path is None:
        raise ConfigError("task=compare needs a second model, task.after=DIR, and a reward model, reward.path=DIR.")
    sides = {"before": with_model(cfg, cfg.task.before), "after": with_model(cfg, cfg.task.after)}
    data, prompts = held_out_prompts(cfg)
    rows = {name: answered(side, data, prompts, name) for name, side in sides.items()}
    reward = model_reward(cfg, build.parts(cfg), None, Path(cfg.reward.path).expanduser())
    log.info("scoring %d answers with %s", 2 * len(prompts), cfg.reward.path)
    for rollouts in rows.values():
        for rollout, score in zip(rollouts, checked(reward, rollouts), strict=True):
            rollout.score = score
    lines = [side_by_side(before, after) for before, after in zip(rows["before"], rows["after"], strict=True)]
    result = (
        counted(lines)
        | gained(lines)
        | {f"{key}_{name}": value for name, rollouts in rows.items() for key, value in told(rollouts).items()}
    )
    result |= judged(cfg, lines)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (Path(cfg.output_dir) / "answers.jsonl").write_text(text, encoding="utf-8", errors="backslashreplace")
    sampled = {"temperature": float(cfg.generation.temperature) if cfg.generation.do_sample else None}
    return result | sampled | {"prompts": len(prompts), "samples": lines[:SHOWN]}


def with_model(cfg: DictConfig, place: str | None) -> DictConfig:
    """The config with the model of a folder: an adapter on the config's model, or a whole model in its stead; None as it is.

    Raises:
        ConfigError: the folder holds neither.
    """
    if place is None:
        return cfg
    folder = Path(place).expanduser()
    changed = cfg.copy()
    if (folder / "adapter_config.json").is_file():
        changed.model.adapter = str(folder)
    elif (folder / "config.json").is_file():
        whole: dict[str, Any] = {"path": str(folder), "package": None, "toy": None, "shrunk": False, "adapter": None, "add_tokens": []}
        changed.model = {**build.plain(cfg.model), **whole}
    else:
        raise ConfigError(f"{folder} holds neither adapter_config.json nor config.json; give the folder of an adapter or of a model.")
    return changed


def held_out_prompts(cfg: DictConfig) -> tuple[Any, list[Prompt]]:
    """The datamodule, set up, and the prompts that both models answer."""
    room = cfg.generation.max_new_tokens if cfg.model.architecture == "causal" else 0
    options = {"longest_prompt": cfg.model.max_length - room, "held_out_prompts": cfg.task.prompts}
    data = build.datamodule(cfg, build.tokenizer(cfg), **options)
    data.setup()
    if not data.held_out_asked:
        raise ConfigError("Nothing is held out, so there is no prompt to compare answers to. Raise held_out.fraction or held_out.most.")
    return data, data.held_out_asked


def answered(cfg: DictConfig, data: Any, prompts: Sequence[Prompt], name: str) -> list[Rollout]:
    """Answers of the model of `cfg`, which is gone afterwards."""
    model, tokenizer = build.load_for_inference(cfg)
    stop = answer_end(tokenizer, data.template, seq2seq=data.seq2seq)
    with progress_line(f"answers {name}", len(prompts)) as advance:
        answers = generate(model, tokenizer, [p.token_ids for p in prompts], build.generation_settings(cfg), seed=cfg.seed, stop_id=stop,
                           on_progress=advance)  # fmt: skip
    del model
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return [_rollout(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]


def _rollout(prompt: Prompt, answer: Answer) -> Rollout:
    return Rollout(prompt, answer.token_ids, answer.text, answer.finished)


def side_by_side(before: Rollout, after: Rollout) -> dict[str, Any]:
    """One line; equal answers are a tie, whatever rounding makes of their scores."""
    same = before.text == after.text or before.score == after.score
    return {
        "prompt": "\n".join(m.content for m in before.prompt.messages),
        "reference": before.prompt.reference,
        "before": before.text,
        "after": after.text,
        "score_before": before.score,
        "score_after": after.score,
        "tokens_before": len(before),
        "tokens_after": len(after),
        "better": "tie" if same else "after" if after.score > before.score else "before",
    }


def counted(lines: Sequence[dict[str, Any]], column: str = "better", prefix: str = "") -> dict[str, Any]:
    """Wins of `after`, ties, losses; the win rate takes a tie for half a win."""
    wins, ties = (sum(line[column] == side for line in lines) for side in ("after", "tie"))
    return {
        f"{prefix}win_rate": (wins + ties / 2) / len(lines),
        f"{prefix}wins": wins,
        f"{prefix}ties": ties,
        f"{prefix}losses": len(lines) - wins - ties,
    }


def gained(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How sure the gain in score is, and what of it is left where both answers are equally long; null where that cannot be told."""
    before, after = ([line[f"score_{side}"] for line in lines] for side in ("before", "after"))
    gains = [a - b for b, a in zip(before, after, strict=True)]
    longer = [line["tokens_after"] - line["tokens_before"] for line in lines]
    names = (f"reward_gain_at_equal_length{end}" for end in ("", "_low", "_high"))
    return paired_difference(before, after).named("reward_") | dict(zip(names, gain_at_equal_length(gains, longer), strict=True))


def told(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over the answers of one model."""
    n = len(rollouts)
    return {
        "reward": sum(r.score for r in rollouts) / n,
        "response_tokens": sum(len(r) for r in rollouts) / n,
        "eos_rate": sum(r.finished for r in rollouts) / n,
    }


def judged(cfg: DictConfig, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the judge says, added to the lines; null where none is named."""
    node = cfg.task.judge
    if node.model is None:
        return {"judge_win_rate": None}
    completer = EndpointCompleter(node.url, node.model, node.api_key_env, parallel=node.parallel, timeout_s=node.timeout_s)
    judge = PairJudge(completer, JudgeTemplate() if node.instruction is None else JudgeTemplate(user=node.instruction))
    pairs = [Pair(prompt=line["prompt"], first=line["before"], second=line["after"]) for line in lines]
    with progress_line(f"asking {node.model}", 2 * len(lines)) as advance:
        found = judge(pairs, advance)
    names = {"first": "before", "second": "after", "tie": "tie"}
    for line, judgement in zip(lines, found, strict=True):
        line |= {"judge": names[judgement.verdict], "judge_replies": list(judgement.replies)}
    return counted(lines, "judge", "judge_") | {"judge_unread": sum(j.unread for j in found), "judge_model": node.model}
