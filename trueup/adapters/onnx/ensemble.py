"""Trees as one TreeEnsemble of ai.onnx.ml 5 in double: the same branches and sums as in scikit-learn."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from trueup.adapters.onnx.graph import ML, Graph
from trueup.adapters.onnx.trees import Tree


def tree_ensemble(graph: Graph, rows: str, trees: list[tuple[int, Tree]], targets: int) -> str:
    """Add trees of one value each, with the number of the output that each adds to; returns the sums (n, targets).

    Inner nodes and leaves have lists of their own, over all trees. No tree is a leaf only.
    """
    inner = np.cumsum([0, *((~tree.leaf).sum() for _, tree in trees)])
    leaves = np.cumsum([0, *(tree.leaf.sum() for _, tree in trees)])
    columns: dict[str, list[np.ndarray]] = {}
    for (target, tree), first_inner, first_leaf in zip(trees, inner[:-1], leaves[:-1], strict=True):
        # the position of each node in the list of its kind
        place = np.where(tree.leaf, first_leaf + np.cumsum(tree.leaf) - 1, first_inner + np.cumsum(~tree.leaf) - 1)
        node = ~tree.leaf
        left, right = tree.left[node], tree.right[node]
        of_tree = {
            "nodes_featureids": tree.feature[node],
            "nodes_splits": tree.threshold[node],
            "nodes_missing_value_tracks_true": tree.missing_left[node],
            "nodes_truenodeids": place[left],
            "nodes_trueleafs": tree.leaf[left],
            "nodes_falsenodeids": place[right],
            "nodes_falseleafs": tree.leaf[right],
            "leaf_targetids": np.full(tree.leaf.sum(), target),
            "leaf_weights": tree.values[tree.leaf, 0],
        }
        for name, values in of_tree.items():
            columns.setdefault(name, []).append(values)
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    splits, weights = (numpy_helper.from_array(whole.pop(name)) for name in ("nodes_splits", "leaf_weights"))
    modes = numpy_helper.from_array(np.zeros(inner[-1], dtype=np.uint8))  # at most the threshold
    return graph.node(
        "TreeEnsemble", rows, domain=ML, n_targets=targets, tree_roots=inner[:-1], nodes_splits=splits,
        nodes_modes=modes, leaf_weights=weights, aggregate_function=1, post_transform=0, **whole,
    )  # fmt: skip
