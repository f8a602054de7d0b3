"""What policies that differ in one thing say about it."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from trueup.config.policies import parse, parse_all
from trueup.domain.retraining.frontier import Contest
from trueup.replay.paired_policies import better_ranked, gates, sweeps
from trueup.replay.policy_run import PolicyRun, Tried

ROWS = np.full(40, 25.0)


def tried(outcome, day, figures=None, rival=None):
    at = datetime(2024, 1, day)
    return Tried(at, "schedule", outcome, 2, "", 1.0, rival, rival, rival, figures or {})


def life(policy, *all_tried):
    return PolicyRun(policy, pd.DataFrame(), list(all_tried))


def test_gates_are_held_against_the_same_policy_without_them():
    gated, bare = parse("every 1 week"), parse("every 1 week, no gate")
    found = Contest(
        {"every 1 week": ROWS * 0.40, "every 1 week, no gate": ROWS * 0.45, "frozen": ROWS * 0.5},
        ROWS,
        {"every 1 week": 30.0, "every 1 week, no gate": 50.0, "frozen": 0.0},
    )
    runs = [
        life(gated, tried("rejected", 8, rival=-0.1), tried("rejected", 15, rival=0.1), tried("promoted", 22)),
        life(bare),
        life(parse("frozen")),
    ]
    (told,) = gates(found, runs)
    assert (told["policy"], told["without"]) == ("every 1 week", "every 1 week, no gate")
    assert told["difference"] == pytest.approx(-0.05)
    assert told["cost_s"] == -20
    assert (told["refused"], told["refused_wrongly"], told["refused_wrongly_shown"]) == (2, 1, 1)


def test_one_that_ranks_better_and_loses_more_is_told_once_with_all_who_tried_it():
    figures = {"log_loss": (0.51, 0.50), "brier": (0.1, 0.1), "auc": (0.75, 0.74)}
    plain = {"log_loss": (0.51, 0.50), "auc": (0.73, 0.74)}
    runs = [
        life(parse("every 1 week"), tried("rejected", 8, figures), tried("rejected", 15, plain)),
        life(parse("on decay"), tried("rejected", 8, figures), tried("promoted", 22, figures)),
        life(parse("on drift"), tried("rejected", 9)),
    ]
    (told,) = better_ranked(runs)
    assert told["policies"] == ["every 1 week", "on decay"]
    assert told["figures"] == {
        "log_loss": {"challenger": 0.51, "champion": 0.50},
        "auc": {"challenger": 0.75, "champion": 0.74},
    }


def test_a_sweep_is_told_against_its_first_value():
    policies = parse_all(["frozen", "on decay, cooldown {0, 7} days"])
    names = [p.name for p in policies]
    found = Contest(
        {n: ROWS * loss for n, loss in zip(names, (0.5, 0.4, 0.42), strict=True)}, ROWS, dict.fromkeys(names, 1.0)
    )
    (told,) = sweeps(found, policies)
    assert told["of"] == "on decay, cooldown {0, 7} days"
    first, second = told["values"]
    assert "against_first" not in first
    assert second["against_first"]["difference"] == pytest.approx(0.02)
    assert sweeps(found, parse_all(["frozen", "on decay, cooldown {7} days"])) == []
