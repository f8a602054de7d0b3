"""A home with a challenger in a rollout, and servers' counts for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tests import streams
from tests.story import PLAIN, Story, stream
from trueup.governance.rollouts import require_under_way
from trueup.loop import steps
from trueup.loop.turn import retrain
from trueup.model import Model
from trueup.online.rollout import Checked, check, published_rollout
from trueup.serving import published
from trueup.serving.rollout.figures import Outcome
from trueup.serving.rollout.routing import Routing

ROLLOUT = "  rollout: {shadow: {rows: 100}, canary: [{share: 0.5, rows: 60}], deadline: 7 days}\n"
CONFIG = PLAIN.replace("  min_new_days: 6\n", "  min_new_days: 6\n  gates: []\n  refit: false\n")
CONFIG = CONFIG.replace("promote:\n", f"promote:\n{ROLLOUT}") + "serve: {}\n"
CHAMPION, CHALLENGER = 1, 2  # versions
CHAMPION_IN, TRIED_IN = 6, 7  # weeks


def begun(folder: Path, config: str = CONFIG) -> Story:
    """A home with a champion, and a challenger whose rollout has begun."""
    told = Story(folder, stream(9 * 7, per_day=60), config)
    told.turn(CHAMPION_IN)
    told.done = retrain(steps, told.model, streams.week(TRIED_IN), "manual")
    return told


def branch(story: Story, folder: Path) -> Story:
    """A copy to go on with, without the figures of another test."""
    other = story.branch(folder)
    shutil.rmtree(published.folder_of(other.home.root, "toy") / "rollout", ignore_errors=True)
    return other


class Servers:
    """Counts requests for both versions as servers do, one row a request."""

    def __init__(self, model: Model, seed: int = 0) -> None:
        self.model, self.rng, self.number = model, np.random.default_rng(seed), seed

    def count(
        self,
        requests: int,
        *,
        raises: float = 0,
        nan: float = 0,
        slow: float = 1,
        shift: float = 0,
        share: float | None = None,
    ) -> None:
        """Count requests at the present step; a share of them are the canary's (default: the step's)."""
        model, rng = self.model, self.rng
        current = require_under_way(model)
        champion = next(c for c in model.succession() if c.epoch == current.state.expected_epoch)
        rollout = published_rollout(model, current, champion)
        self.number += 1
        routing = Routing(rollout, published.folder_of(model.home.root, model.config.model), f"worker-{self.number}")
        canary = rollout.share if share is None else share
        spread = rollout.limits["scale"]
        for _ in range(requests):
            ours = rng.uniform(0.1, 0.9)
            theirs = np.nan if rng.random() < nan else ours + rng.normal(0, 0.02) + shift * spread
            failed = rng.random() < raises
            rows = "canary" if rng.random() < canary else "shadow"
            tried = Outcome(None, None, "Fail") if failed else Outcome(np.array([[theirs]]), 100 * slow)
            routing.note(rows, Outcome(np.array([[ours]]), 100.0), tried, fallback=failed and rows == "canary")
        routing.close()

    def checked(self, requests: int = 0, **faults: float) -> Checked:
        """Count requests, then check."""
        if requests:
            self.count(requests, **faults)
        done = check(self.model)
        assert done is not None
        return done
