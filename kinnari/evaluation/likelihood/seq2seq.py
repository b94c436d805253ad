"""Scoring with an encoder-decoder: the encoder once per question, the decoder's candidates as padded rows.

The decoder's first token is the same for all candidates, so it is read once per question as well, and with it the keys and values that
the cross-attention makes of the encoder's states: as many as the question has tokens, which candidates then share.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from kinnari.evaluation.likelihood.glm import trees_by_source
from kinnari.evaluation.likelihood.rows import asked, deliver, padded
from kinnari.evaluation.likelihood.tree import Branch, Row, Tree
from kinnari.models.head import LossHead, base_model_of


@dataclass(frozen=True)
class _Asked:
    """One source and the rows of its candidates."""

    group: int
    order: list[int]
    tree: Tree
    rows: list[Row]

    @property
    def tokens(self) -> int:
        return len(self.tree.branches[0].source) + len(self.rows) * max(len(row.ids) for row in self.rows)


class Seq2SeqEngine:
    """Sums of log-probabilities of what a decoder says; `Branch.source` is the encoder's row, `Branch.ids` begins with the decoder's start.

    Args:
        shares_encoder: the encoder may be called apart from the model. Not under strategies that gather weights in the whole model's
            forward: there every candidate brings its own source.
    """

    def __init__(self, model: nn.Module, head: LossHead, token_budget: int, *, shares_encoder: bool = True) -> None:
        self.model, self.head, self.token_budget, self.shares_encoder = model, head, token_budget, shares_encoder
        self.base: Any = base_model_of(model)
        self.device = next(self.base.get_input_embeddings().parameters()).device

    def score(
        self, groups: Sequence[Sequence[Branch]], sharing: Sequence[Hashable], done: Callable[[int, list[list[float]]], None]
    ) -> list[list[list[float]]]:
        """As `CausalEngine.score`; the encoder reads in both directions, so questions share nothing."""
        results: list[list[list[float]]] = [[[] for _ in group] for group in groups]
        questions = [
            _Asked(i, order, tree, tree.rows(branching=False)) for i, group in enumerate(groups) for order, tree in trees_by_source(group)
        ]
        waiting = [sum(question.group == i for question in questions) for i in range(len(groups))]
        for batch in self._batches(questions):
            self._answer(batch)
            for question in batch:
                for branch, sums in zip(question.order, question.tree.sums(), strict=True):
                    results[question.group][branch] = sums
                waiting[question.group] -= 1
                if not waiting[question.group]:
                    done(question.group, results[question.group])
        return results

    def _batches(self, questions: Sequence[_Asked]) -> list[list[_Asked]]:
        batches: list[list[_Asked]] = []
        for question in sorted(questions, key=lambda q: (-len(q.tree.branches[0].source), -q.tokens)):
            if not batches or sum(q.tokens for q in batches[-1]) + question.tokens > self.token_budget:
                batches.append([])
            batches[-1].append(question)
        return batches

    def _answer(self, questions: Sequence[_Asked]) -> None:
        sources = [question.tree.branches[0].source for question in questions]
        ids = padded(sources).to(self.device)
        mask = (torch.arange(ids.shape[1]) < torch.tensor([[len(source)] for source in sources])).long().to(self.device)
        owners = torch.tensor([b for b, question in enumerate(questions) for _ in question.rows])
        rows = [row for question in questions for row in question.rows]
        if not self.shares_encoder:
            owned = owners.to(self.device)
            deliver(rows, self._decode(rows, {"input_ids": ids[owned], "attention_mask": mask[owned], "use_cache": False}))
            return
        read: Tensor = self.base.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        firsts = [_first_token(question.rows) for question in questions]
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        known = {"attention_mask": mask, "encoder_outputs": BaseModelOutput(read), "past_key_values": cache, "use_cache": True}
        deliver(firsts, self._decode(firsts, known))
        longer = [(b, _behind_first(row)) for b, row in zip(owners.tolist(), rows, strict=True) if len(row.ids) > 1]
        if longer:
            owned = torch.tensor([b for b, _ in longer], device=self.device)
            expanded = BaseModelOutput(read[owned])
            known = {
                "attention_mask": mask[owned],
                "encoder_outputs": expanded,
                "past_key_values": _expanded(cache, owned),
                "use_cache": True,
            }
            rest = [row for _, row in longer]
            deliver(rest, self._decode(rest, known))

    def _decode(self, rows: Sequence[Row], known: dict[str, Any]) -> Tensor:
        """[M] answers of decoder rows; padding behind them is seen by nothing before it."""
        with self.head.several_logprobs(*asked(rows)):
            return self.model(decoder_input_ids=padded([row.ids for row in rows]).to(self.device), **known).logits


def _first_token(rows: Sequence[Row]) -> Row:
    """The decoder's start, with all that is asked of it by any row."""
    asked_there = [(t, s) for row in rows for p, t, s in zip(row.places, row.targets, row.slots, strict=True) if p == 0]
    return replace(
        rows[0],
        ids=rows[0].ids[:1],
        parents=[-1],
        positions=[0],
        places=[0] * len(asked_there),
        targets=[target for target, _ in asked_there],
        slots=[slot for _, slot in asked_there],
    )


def _behind_first(row: Row) -> Row:
    """The row behind the decoder's start."""
    kept = [i for i, place in enumerate(row.places) if place > 0]
    return replace(
        row,
        ids=row.ids[1:],
        parents=list(range(-1, len(row.ids) - 2)),
        positions=row.positions[1:],
        places=[row.places[i] - 1 for i in kept],
        targets=[row.targets[i] for i in kept],
        slots=[row.slots[i] for i in kept],
    )


def _expanded(cache: EncoderDecoderCache, rows: Tensor) -> EncoderDecoderCache:
    """The cache of one row per question as one of a row per candidate."""
    both: list[list[Any]] = [cache.self_attention_cache.layers, cache.cross_attention_cache.layers]
    parts = [DynamicCache([(layer.keys[rows], layer.values[rows]) for layer in layers]) for layers in both]
    return EncoderDecoderCache(*parts)  # what is filled counts as computed, so the encoder's states are not looked at again
