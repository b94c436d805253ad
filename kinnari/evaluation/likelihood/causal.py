"""Scoring texts with a causal model: shared beginnings as a cache, questions as trees, trees in batches.

header   (shots)      computed once for all questions that have it: a prefix
question              computed once for all its candidates: the stem of a tree
labels                the branches; where the family takes no trees, padded rows
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from kinnari.evaluation.likelihood.forward import Abilities, CausalForward, Prefix
from kinnari.evaluation.likelihood.rows import batches_of, deliver
from kinnari.evaluation.likelihood.tree import Branch, Tree, common_length, plant

SHORTEST_PREFIX = 16  # tokens; less is not worth a forward of its own
LONGEST_ROW = 4096  # tokens of a tree, whatever the budget: parting it would compute its stem again


class CausalEngine:
    """Sums of log-probabilities of groups of texts.

    Args:
        forward: the model.
        abilities: `abilities_of(forward)`.
        token_budget: padded tokens of a forward.
    """

    def __init__(self, forward: CausalForward, abilities: Abilities, token_budget: int) -> None:
        self.forward, self.abilities, self.token_budget = forward, abilities, token_budget

    def score(
        self, groups: Sequence[Sequence[Branch]], sharing: Sequence[Hashable], done: Callable[[int, list[list[float]]], None]
    ) -> list[list[list[float]]]:
        """`Tree.sums` of every branch of every group.

        Args:
            groups: the candidates of each question.
            sharing: groups with equal keys are likely to begin alike; None is like no other.
            done: called with the index of each group that is finished, and its results.
        """
        results: list[list[list[float]]] = [[[] for _ in group] for group in groups]
        together: dict[Hashable, list[int]] = {}
        for i, key in enumerate(sharing):
            if groups[i]:
                together.setdefault(("alone", i) if key is None else ("shared", key), []).append(i)
        alone: list[int] = []
        for members in together.values():
            past = self._shared_length([branch for i in members for branch in groups[i]])
            if past:
                self._score(groups, members, past, results, done)
            else:
                alone += members
        if alone:
            self._score(groups, alone, 0, results, done)
        return results

    def _shared_length(self, branches: Sequence[Branch]) -> int:
        """Tokens of the prefix that is worth a forward; the token behind it is common too, and every branch reads on."""
        if len(branches) < 2 or not self.abilities.prefixes:
            return 0
        past = min(common_length([branch.ids for branch in branches]) - 1, min(branch.read for branch in branches) - 1)
        return past if past >= SHORTEST_PREFIX else 0

    def _prefix(self, branches: Sequence[Branch], past: int) -> Prefix:
        ids = branches[0].ids
        spans = [span for branch in branches for span in branch.spans if span[1] > span[0]]
        return self.forward.prefix(
            ids[:past],
            ids[past],
            behind=any(start <= past for start, _ in spans),
            itself=any(branch.itself for branch in branches),
        )

    def _score(
        self,
        groups: Sequence[Sequence[Branch]],
        members: Sequence[int],
        past: int,
        results: list[list[list[float]]],
        done: Callable[[int, list[list[float]]], None],
    ) -> None:
        prefix = self._prefix([branch for i in members for branch in groups[i]], past) if past else None
        planted = {i: plant(groups[i], past, self.forward.head.in_features, max(self.token_budget, LONGEST_ROW)) for i in members}
        owners = {id(tree): i for i, trees in planted.items() for _, tree in trees}
        rows = [row for trees in planted.values() for _, tree in trees for row in tree.rows(branching=self.abilities.trees)]
        values = None if prefix is None else prefix.values

        def finish(i: int) -> None:
            for order, tree in planted.pop(i):
                for branch, sums in zip(order, tree.sums(values), strict=True):
                    results[i][branch] = sums
            done(i, results[i])

        for i in [i for i in members if not _waits(planted[i])]:
            finish(i)
        for batch in batches_of(rows, self.token_budget):
            deliver(batch, self.forward(batch, prefix))
            for i in dict.fromkeys(owners[id(row.tree)] for row in batch):
                if i in planted and not _waits(planted[i]):
                    finish(i)


def _waits(trees: Sequence[tuple[list[int], Tree]]) -> bool:
    return any(tree.missing for _, tree in trees)
