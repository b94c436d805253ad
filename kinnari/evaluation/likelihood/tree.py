"""The candidates of a question as one tree of tokens: what they share is computed once, and only what is asked for.

    A B C d e          node    A B C d f          the last token of a branch is predicted, never read:
    A B C f            parent  . A B C C          "e" is no input, "d" is one, "f" is none
    A B C d g

A token of a causal model sees what stands before it, so a node's numbers are those of its own text alone if it sees its ancestors
only, at the position it has there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True)
class Branch:
    """The tokens of one text, and which sums are asked of them.

    Attributes:
        ids: the text; nothing behind what is asked for.
        spans: (start, stop), 1 <= start <= stop: sum of log p(ids[t] | ids[:t]) for t in [start, stop).
        itself: the mean over all t of log p(ids[t] | ids[: t + 1]) too, of the first `itself` tokens; 0 for none.
        source: what stands before for a model of two sides: the encoder's tokens, or GLM's context with its blank.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    itself: int = 0
    source: tuple[int, ...] = ()

    @property
    def read(self) -> int:
        """Tokens that are inputs: all that stand before one that is asked for."""
        return max([self.itself, *(stop - 1 for start, stop in self.spans if stop > start)])


@dataclass(frozen=True)
class Row:
    """One row of a forward.

    Attributes:
        ids: [W] tokens.
        parents: [W] column of the token before each, -1 for none (or for the last cached one). Lower than its own column.
        positions: [W] position of each token in its own text.
        places: [M] columns whose predictions are wanted.
        targets: [M] tokens there.
        slots: [M] where the answers go in `Tree.values`.
        tree: whose.
    """

    ids: list[int]
    parents: list[int]
    positions: list[int]
    places: list[int]
    targets: list[int]
    slots: list[int]
    tree: Tree

    @property
    def is_chain(self) -> bool:
        """One text alone, without branches."""
        return self.parents == list(range(-1, len(self.parents) - 1))


@dataclass
class Tree:
    """Branches that share their beginnings.

    Attributes:
        branches: sorted by their tokens, so that neighbours share the most.
        past: tokens at the beginning of every branch that are computed elsewhere, with the log-probability of the one behind them.
        tokens, parents, depths: of each node, in an order where parents come first; depth 0 is the first token of a text.
        paths: nodes of each branch from depth `past` on.
        values: [2 * nodes] log-probabilities: of the node behind its parent, then of the node behind itself.
        missing: numbers that no forward has given yet.
    """

    branches: list[Branch]
    past: int
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)
    values: np.ndarray = field(init=False)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        before: tuple[int, ...] = ()
        path: list[int] = []
        for branch in self.branches:
            path = path[: max(0, common_length((before, branch.ids)) - self.past)]
            for depth in range(self.past + len(path), len(branch.ids)):
                self.parents.append(path[-1] if path else -1)
                path.append(len(self.tokens))
                self.tokens.append(branch.ids[depth])
                self.depths.append(depth)
            self.paths.append(list(path))
            before = branch.ids
        self.values = np.zeros(2 * len(self.tokens))
        self.missing = 0

    def rows(self, *, branching: bool) -> list[Row]:
        """The tree as one row, or as one row for each of its leaves (where the model takes no trees)."""
        inputs, behind, itself = self._asked()
        if branching:
            rows = [self._row(sorted(inputs), behind, itself)] if inputs else []
        else:
            inner = {self.parents[node] for node in inputs}
            rows = []
            for leaf in sorted(inputs - inner):
                chain = self._ancestors(leaf)
                rows.append(self._row(chain, behind, itself))
                there = set(chain)  # what one row has answered no other is asked
                behind = {node for node in behind if self.parents[node] not in there}
                itself -= there
        self.missing = sum(len(row.slots) for row in rows)
        return rows

    def sums(self, prefix: np.ndarray | None = None) -> list[list[float]]:
        """For each branch the sums of its spans, then its mean over itself.

        Args:
            prefix: [2, past + 1] log-probabilities of the tokens at depths 0 .. past, and of those behind themselves; needed where a span
                begins there.
        """
        found = []
        for branch, path in zip(self.branches, self.paths, strict=True):
            behind, itself = self._along(path, prefix)
            sums = [float(behind[start:stop].sum()) for start, stop in branch.spans]
            found.append([*sums, float(itself[: branch.itself].mean())] if branch.itself else sums)
        return found

    def _along(self, path: list[int], prefix: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Both log-probabilities of every token of a branch."""
        nodes = np.array(path, dtype=np.int64)
        parts = [np.concatenate((np.zeros(self.past), self.values[nodes + at])) for at in (0, len(self.tokens))]
        if prefix is not None and self.past:
            parts[0][: self.past + 1] = prefix[0]
            parts[1][: self.past] = prefix[1, :-1]
        return parts[0], parts[1]

    def _asked(self) -> tuple[set[int], set[int], set[int]]:
        """Nodes that are inputs, nodes whose probability behind their parent is asked for, and behind themselves."""
        inputs: set[int] = set()
        behind: set[int] = set()
        itself: set[int] = set()
        for branch, path in zip(self.branches, self.paths, strict=True):
            inputs.update(path[: max(0, branch.read - self.past)])
            itself.update(path[: max(0, branch.itself - self.past)])
            for start, stop in branch.spans:
                behind.update(path[max(0, start - self.past) : stop - self.past])
        return inputs, {node for node in behind if self.parents[node] >= 0}, itself

    def _ancestors(self, leaf: int) -> list[int]:
        chain = []
        while leaf >= 0:
            chain.append(leaf)
            leaf = self.parents[leaf]
        return chain[::-1]

    def _row(self, nodes: Sequence[int], behind: Iterable[int], itself: Iterable[int]) -> Row:
        column = {node: at for at, node in enumerate(nodes)}
        asked = [(column[self.parents[node]], node, node) for node in sorted(behind) if self.parents[node] in column]
        asked += [(column[node], node, node + len(self.tokens)) for node in sorted(itself) if node in column]
        return Row(
            ids=[self.tokens[node] for node in nodes],
            parents=[column.get(self.parents[node], -1) for node in nodes],
            positions=[self.depths[node] for node in nodes],
            places=[place for place, _, _ in asked],
            targets=[self.tokens[node] for _, node, _ in asked],
            slots=[slot for _, _, slot in asked],
            tree=self,
        )


def common_length(texts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all texts begin with."""
    least, most = min(texts), max(texts)  # what these two share, all between them share
    for at, (one, other) in enumerate(zip(least, most, strict=False)):
        if one != other:
            return at
    return min(len(least), len(most))


def plant(branches: Sequence[Branch], past: int, hidden_size: int, most: int) -> list[tuple[list[int], Tree]]:
    """Trees over the branches: one, or several where branches are long and share little, because attention looks at a whole row.

    A block multiplies 12 H² numbers a token, and 2 H a token for each token it may look at: W (6 H + past + W) a row of W tokens.

    Args:
        past: tokens that all branches begin with and that are cached.
        hidden_size: H.
        most: tokens of a row, unless one branch alone has more.

    Returns:
        (indices of branches, their tree) in any order; every branch is in one.
    """
    order = sorted(range(len(branches)), key=lambda i: branches[i].ids)
    lengths = [max(1, branches[i].read - past) for i in order]
    shared = [0, *(common_length((branches[a].ids, branches[b].ids)) - past for a, b in itertools.pairwise(order))]
    fresh = np.array([length - min(length, common) for length, common in zip(lengths, shared, strict=True)])

    def cost(parts: list[np.ndarray]) -> float:
        sizes = [lengths[part[0]] + int(fresh[part[1:]].sum()) for part in parts]
        wide = sum(size > most and len(part) > 1 for size, part in zip(sizes, parts, strict=True))
        return wide * 1e30 + sum(size * (6.0 * hidden_size + past + size) for size in sizes)

    ways = [np.array_split(np.arange(len(order)), n) for n in (*SPLITS, len(order)) if n <= len(order)]
    best = min(ways, key=cost)
    return [([order[i] for i in part], Tree([branches[order[i]] for i in part], past)) for part in best]
