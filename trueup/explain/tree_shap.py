"""Exact Shapley values of a sum of trees, against background rows.

The game of a row x and a background row z gives a set of features the score of the row that has x's values there and z's
elsewhere (interventional: Janzing et al. 2020, "Feature relevance quantification in explainable AI: a causal problem"). A
leaf is reached by exactly those sets that have all of some features, A, and none of others, B; the features on its path on
which x and z agree do not matter. The Shapley values of such a game have a closed form (Lundberg et al. 2020, "From local
explanations to global understanding with explainable AI for trees", algorithm 3): with a = |A| and b = |B|, a leaf of value
v gives each feature of A v (a - 1)! b! / (a + b)!, and each of B -v a! (b - 1)! / (a + b)!. The values of a sum of trees and
of a mean over background rows are the sum and the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import binom

from trueup.adapters.onnx.trees import Tree

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
_AT_ONCE: Final = 4_096  # pairs of a tree and a background row that walk down together
_BITS: Final = 64


def shapley_values(trees: Sequence[Tree], row: Floats, background: Floats) -> Floats:
    """The contribution of each column (p,) to the sum of the trees' values for a row (p,).

    `background` is (n, p); each tree has one value a leaf, `values` (m, 1). The contributions add up to the row's sum less
    the mean of the background's sums.
    """
    contributions = np.zeros(len(row))
    if not trees:
        return contributions
    nodes = _Nodes.of(trees)
    columns = np.unique(nodes.feature[~nodes.leaf])
    pairs = len(trees) * len(background)
    for start in range(0, pairs, _AT_ONCE):
        pair = np.arange(start, min(start + _AT_ONCE, pairs))
        roots, rows = nodes.roots[pair // len(background)], pair % len(background)
        for value, ours, theirs in _leaves(nodes, roots, rows, row, background):
            _add(contributions, columns, value, ours, theirs)
    return contributions / len(background)


@dataclass(frozen=True)
class _Nodes:
    """The nodes of all trees, one after the other."""

    feature: NDArray[np.int64]
    threshold: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    leaf: NDArray[np.bool_]
    value: Floats
    roots: NDArray[np.int64]

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> _Nodes:
        roots = np.cumsum([0, *(len(tree.leaf) for tree in trees[:-1])])

        def joined(name: str, shift: bool = False) -> NDArray[Any]:
            return np.concatenate([getattr(t, name) + (r if shift else 0) for t, r in zip(trees, roots, strict=True)])

        return cls(
            joined("feature"), joined("threshold"), joined("left", True), joined("right", True),
            joined("missing_left").astype(bool), joined("leaf").astype(bool), joined("values")[:, 0], roots,
        )  # fmt: skip

    def child(self, node: NDArray[np.int64], left: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.where(left, self.left[node], self.right[node])


def _leaves(
    nodes: _Nodes, node: NDArray[np.int64], at: NDArray[np.int64], row: Floats, background: Floats
) -> Iterator[tuple[Floats, Words, Words]]:
    """Walk down, level by level, with every mixture of the row and a background row; yield the reached leaves.

    A leaf comes with its value and with two sets of columns: those that must be the row's, and the background row's.
    """
    ours = np.zeros((len(node), -(-len(row) // _BITS)), dtype=np.uint64)
    theirs = ours.copy()
    while len(node):
        leaf = nodes.leaf[node]
        if leaf.any():
            yield nodes.value[node[leaf]], ours[leaf], theirs[leaf]
            node, at, ours, theirs = node[~leaf], at[~leaf], ours[~leaf], theirs[~leaf]
        column = nodes.feature[node]
        word, bit = column // _BITS, np.uint64(1) << (column % _BITS).astype(np.uint64)
        lefts = [
            np.where(np.isnan(v), nodes.missing_left[node], v <= nodes.threshold[node])
            for v in (row[column], background[at, column])
        ]
        places = np.arange(len(node))
        is_ours, is_theirs = ((each[places, word] & bit) != 0 for each in (ours, theirs))
        apart = lefts[0] != lefts[1]
        both = apart & ~is_ours & ~is_theirs
        goes = np.where(apart & is_theirs, lefts[1], lefts[0])  # where both ways are open, the row's first
        second = np.flatnonzero(both)
        more_ours, more_theirs = ours[second].copy(), theirs[second].copy()
        more_theirs[np.arange(len(second)), word[second]] |= bit[second]
        ours[second, word[second]] |= bit[second]
        node = np.append(nodes.child(node, goes), nodes.child(node[second], lefts[1][second]))
        at = np.append(at, at[second])
        ours, theirs = np.concatenate([ours, more_ours]), np.concatenate([theirs, more_theirs])


def _add(contributions: Floats, columns: NDArray[np.int64], value: Floats, ours: Words, theirs: Words) -> None:
    """Add what leaves give to the columns of their two sets."""
    a, b = (np.bitwise_count(each).sum(axis=1).astype(np.float64) for each in (ours, theirs))
    with np.errstate(divide="ignore", invalid="ignore"):
        up, down = value / (a * binom(a + b, a)), -value / (b * binom(a + b, b))
    for column in columns.tolist():
        word, bit = column // _BITS, np.uint64(1) << np.uint64(column % _BITS)
        contributions[column] += up[(ours[:, word] & bit) != 0].sum() + down[(theirs[:, word] & bit) != 0].sum()
