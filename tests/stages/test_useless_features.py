"""A feature that is only noise, through the loop: the gate of features rejects the model that has it."""

import numpy as np

from tests.story import PLAIN, Story, stream

GATE = """  gates:
    - {kind: baseline}
    - {kind: features, must_earn: [signal]}
"""
# Trees this large fit the noise: without it the loss is lower by .04, beyond its interval.
CONFIG = (
    PLAIN.replace("max_iter: 40, learning_rate: 0.15, max_leaf_nodes: 8", "max_iter: 200, max_leaf_nodes: 16")
    .replace("numeric: [x, z]", "numeric: [x, z, noise]")
    .replace("  slices: [group]\n", "  ablation: {groups: {signal: [x, z], noise: [noise]}}\n")
    .replace("monitor:\n", GATE + "monitor:\n")
)


def test_a_feature_that_does_harm_is_named_and_the_challenger_rejected(tmp_path):
    frame = stream(5 * 7)
    told = Story(tmp_path, frame.assign(noise=np.random.default_rng(3).normal(size=len(frame))), CONFIG)
    decided = told.turn(5).decided
    assert decided.outcome == "rejected"
    (why,) = decided.reasons
    assert why.startswith("noise does harm: the loss without it is 0.0")
    (entry,) = told.home.ledger.entries("toy")
    groups = {g["group"]: g for v in entry.body.verdicts if v.check == "features" for g in v.figures["groups"]}
    assert groups["signal"]["answer"] == "earns its place"
    assert groups["noise"]["ms"] > 0
