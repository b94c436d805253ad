"""Scoring with GLM-chinese: one row holds a context with its blank and the tree of what may fill it.

row          [CLS] q [MASK] <eot>   <sop> a b c
position       0   1    2     3       2   2 2 2     the blank's
in the blank   0   0    0     0       1   2 2 3     the depth in the tree, counted from 1
sees         all of [CLS] .. <eot>    and its ancestors
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kinnari.evaluation.likelihood.rows import ancestors, asked, batches_of, deliver, padded
from kinnari.evaluation.likelihood.tree import Branch, Row, Tree
from kinnari.models.glm.inputs import BlankTokens
from kinnari.models.head import LossHead, base_model_of


class BlankEngine:
    """Sums of log-probabilities of what fills a blank; `Branch.source` is the context, `Branch.ids` begins with <sop>."""

    def __init__(self, model: nn.Module, head: LossHead, token_budget: int, blanks: BlankTokens) -> None:
        self.model, self.head, self.token_budget, self.blanks = model, head, token_budget, blanks
        self.device = next(base_model_of(model).get_input_embeddings().parameters()).device

    def score(
        self, groups: Sequence[Sequence[Branch]], sharing: Sequence[Hashable], done: Callable[[int, list[list[float]]], None]
    ) -> list[list[list[float]]]:
        """As `CausalEngine.score`; contexts are read in both directions, so questions share nothing."""
        results: list[list[list[float]]] = [[[] for _ in group] for group in groups]
        trees = [(i, order, tree) for i, group in enumerate(groups) for order, tree in trees_by_source(group)]
        rows = [_with_context(row) for _, _, tree in trees for row in tree.rows(branching=True)]
        waiting = [sum(i == owner for owner, _, _ in trees) for i in range(len(groups))]
        owners = {id(tree): (i, order) for i, order, tree in trees}
        for batch in batches_of(rows, self.token_budget):
            deliver(batch, self._forward(batch))
            for row in batch:
                i, order = owners[id(row.tree)]
                for branch, sums in zip(order, row.tree.sums(), strict=True):
                    results[i][branch] = sums
                waiting[i] -= 1
                if not waiting[i]:
                    done(i, results[i])
        return results

    def _forward(self, rows: Sequence[Row]) -> Tensor:
        contexts = [len(row.tree.branches[0].source) for row in rows]
        ids = padded([row.ids for row in rows])
        positions = torch.stack([self._positions(row, ids.shape[1]) for row in rows])
        mask = ancestors(rows, 0, contexts)[:, None]
        with self.head.several_logprobs(*asked(rows)):
            return self.model(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device), position_ids=positions.to(self.device), use_cache=False
            ).logits

    def _positions(self, row: Row, width: int) -> Tensor:
        """[2, width] int64."""
        source = row.tree.branches[0].source
        blank = next(i for i, token in enumerate(source) if token in self.blanks.masks)
        length, padding = len(row.ids), width - len(row.ids)
        first = [*range(len(source)), *[blank] * (length - len(source)), *[0] * padding]
        second = [*[0] * len(source), *(depth + 1 for depth in row.positions[len(source) :]), *[0] * padding]
        return torch.tensor([first, second])


def trees_by_source(group: Sequence[Branch]) -> list[tuple[list[int], Tree]]:
    """(indices of branches, their tree) for each source of a question."""
    by_source: dict[tuple[int, ...], list[int]] = {}
    for i, branch in enumerate(group):
        by_source.setdefault(branch.source, []).append(i)
    orders = [sorted(members, key=lambda i: group[i].ids) for members in by_source.values()]
    return [(order, Tree([group[i] for i in order], 0)) for order in orders]


def _with_context(row: Row) -> Row:
    """The row behind the context of its tree."""
    source = row.tree.branches[0].source
    shift = len(source)
    return replace(
        row,
        ids=[*source, *row.ids],
        parents=[*[-1] * shift, *(parent + shift if parent >= 0 else -1 for parent in row.parents)],
        positions=[*range(shift), *row.positions],
        places=[place + shift for place in row.places],
    )
