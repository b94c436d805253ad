"""An answer of the policy and everything PPO knows of its tokens.

    prompt_ids          5 8 3                      token_ids      7 4 2      the answer with its end token
    row (causal)        5 8 3 7 4 2
    labels              . . . 7 4 2                not shifted; the target of a place is the label of the next
    logprobs, values    . . x x x .                stand where their token is predicted: the value is that of the state before it

For an encoder-decoder the prompt is the encoder's row and labels are the answer alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kinnari.functional.labels import IGNORED
from kinnari.text.batches import Batch, pad_rows
from kinnari.text.prompts import Prompt

TOKEN_NUMBERS = ("logprobs", "ref_logprobs", "values", "advantages", "returns")


@dataclass
class Rollout:
    """One answer; the tensors are [R] float32 on the CPU, for its R tokens, once they are known."""

    prompt: Prompt
    token_ids: list[int]
    text: str
    finished: bool
    score: float = 0.0
    reward: float = 0.0
    numbers: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.token_ids)


def longest_first(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Sorted by the length of their rows; the answers to one prompt stand together, at the place of the longest."""
    of_prompt: dict[int, list[Rollout]] = {}
    for rollout in rollouts:
        of_prompt.setdefault(id(rollout.prompt), []).append(rollout)
    groups = [sorted(group, key=lambda r: -len(r)) for group in of_prompt.values()]
    groups.sort(key=lambda group: -(len(group[0]) + len(group[0].prompt.token_ids)))
    return [rollout for group in groups for rollout in group]


def collate_rollouts(rollouts: Sequence[Rollout], pad_id: int, *, seq2seq: bool, step_tokens: int = 1) -> dict[str, Any]:
    """A `Batch` of whole rows, padded on the right, with whatever of TOKEN_NUMBERS all rollouts have, [B, T] float32."""
    if seq2seq:
        rows = [r.prompt.token_ids for r in rollouts]
        starts, answers = [0] * len(rollouts), [r.token_ids for r in rollouts]
    else:
        rows = [r.prompt.token_ids + r.token_ids for r in rollouts]
        starts = [len(r.prompt.token_ids) - 1 for r in rollouts]
        answers = [[IGNORED] * len(r.prompt.token_ids) + r.token_ids for r in rollouts]
    ids, mask = pad_rows(rows, pad_id)
    labels, _ = pad_rows(answers, IGNORED)
    batch: dict[str, Any] = dict(
        Batch(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            labels=torch.from_numpy(labels),
            record_ids=[r.prompt.record_id for r in rollouts],
            step_tokens=step_tokens,
        )
    )
    for name in TOKEN_NUMBERS:
        if all(name in r.numbers for r in rollouts):
            batch[name] = torch.zeros(labels.shape, dtype=torch.float32)
            for b, (rollout, start) in enumerate(zip(rollouts, starts, strict=True)):
                batch[name][b, start : start + len(rollout)] = rollout.numbers[name]
    return batch


def take_apart(values: Tensor, rollouts: Sequence[Rollout], *, seq2seq: bool) -> list[Tensor]:
    """Values [B, T] at the places of `collate_rollouts` -> [R] of each rollout, on the CPU."""
    values = values.detach().float().cpu()
    starts = [0 if seq2seq else len(r.prompt.token_ids) - 1 for r in rollouts]
    return [values[b, start : start + len(r)].clone() for b, (r, start) in enumerate(zip(rollouts, starts, strict=True))]


def side_by_side(rollouts: Sequence[Rollout], name: str) -> tuple[Tensor, Tensor]:
    """One of TOKEN_NUMBERS of all rollouts, [N, longest], and the mask of real tokens."""
    longest = max(len(r) for r in rollouts)
    values, mask = torch.zeros(len(rollouts), longest), torch.zeros(len(rollouts), longest, dtype=torch.bool)
    for i, rollout in enumerate(rollouts):
        values[i, : len(rollout)], mask[i, : len(rollout)] = rollout.numbers[name], True
    return values, mask
