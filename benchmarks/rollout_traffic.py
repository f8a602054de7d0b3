"""Made-up traffic for the rule of a rollout: two versions on the same rows, with a planted fault or none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from trueup.config.sections.promotion import RolloutConfig
from trueup.domain.judging import probation
from trueup.domain.judging.rollout import GROWTH, Action, Compared, Judged, Traffic, judge, loss_level
from trueup.domain.types import Status, Verdict

Floats = NDArray[np.float64]
DAY = timedelta(days=1)


@dataclass(frozen=True)
class World:
    """How the versions behave. The defaults are an equal challenger: other random errors, no fault.

    Predictions are probabilities. `noise` is each version's own error in log-odds, so that two equal versions differ
    from row to row. Days have a common error of both (`weather`), and single days suit one version more (`form`).
    """

    raises: float = 0.0  # share of rows
    nan: float = 0.0
    slow: float = 1.0  # factor of the challenger's time
    shift: float = 0.0  # of the challenger's predictions, in standard deviations of the champion's
    worse: float = 0.0  # more of the challenger's own error in log-odds
    noise: float = 0.3
    weather: float = 0.3
    form: float = 0.01  # how much better or worse a version does on single days, as a share of its loss
    from_step: int = 0  # at which the fault begins
    rows_per_look: int = 40
    rows_per_day: int = 200
    days: int = 28


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one look at one step, as both versions predicted them."""

    champion: Floats
    challenger: Floats  # NaN where there is none
    failed: NDArray[np.bool_]
    not_finite: NDArray[np.bool_]
    slower: NDArray[np.bool_]
    canary: NDArray[np.bool_]  # rows whose key the challenger answers
    truth: Floats

    def counted(self) -> Traffic:
        """The counts of a server for these rows, each a request of its own."""
        both = ~(self.failed | self.not_finite)
        c, d = self.champion[both], (self.challenger - self.champion)[both]
        compared = Compared(len(d), float(d.sum()), float(d @ d), len(c), float(c.sum()), float(c @ c))
        return Traffic(
            rows=int((~self.failed).sum()),
            answered=int((self.canary & ~self.failed).sum()),
            requests=len(both),
            failures=int(self.failed.sum()),
            non_finite=int((self.not_finite & ~self.failed).sum()),
            timed=int((~self.failed).sum()),
            slower=int((self.slower & ~self.failed).sum()),
            outputs=(compared,),
        )


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended: what was decided last, by which test, after how many rows, and at which step."""

    action: Action
    by: str
    rows: int
    step: int


def draw(world: World, config: RolloutConfig, step: int, n: int, rng: np.random.Generator) -> Rows:
    """Draw `n` rows at a step."""
    faulty = world if step >= world.from_step else replace(world, raises=0.0, nan=0.0, slow=1.0, shift=0.0, worse=0.0)
    share = config.canary[step - 1].share if step else 0.0
    true = rng.normal(-1.3, 1.0, n)
    ours, theirs = (_odds(true + rng.normal(0, s, n)) for s in (world.noise, world.noise + faulty.worse))
    spread = 0.16  # of the champion's predictions in this world
    ratio = np.exp(rng.standard_t(3, n) * 0.3) * faulty.slow
    return Rows(
        champion=ours,
        challenger=theirs + faulty.shift * spread,
        failed=rng.random(n) < faulty.raises,
        not_finite=rng.random(n) < faulty.nan,
        slower=ratio > config.limits.latency_ratio,
        canary=rng.random(n) < share,
        truth=_odds(true),
    )


def play(world: World, config: RolloutConfig, seed: int, most_rows: int = 20_000) -> Outcome:
    """Let the rule look at traffic every `rows_per_look` rows, until it ends or the traffic does."""
    rng = np.random.default_rng(seed)
    traffic, rows, last = [Traffic()], 0, Judged("wait", ())
    while rows < most_rows:
        traffic[-1] += draw(world, config, len(traffic) - 1, world.rows_per_look, rng).counted()
        rows += world.rows_per_look
        last = judge(config, traffic)
        if last.action == "roll back":
            return Outcome("roll back", last.culprit.check if last.culprit else "", rows, len(traffic) - 1)
        if last.action == "advance":
            if len(traffic) > len(config.canary):
                return Outcome("advance", "", rows, len(traffic) - 1)
            traffic.append(Traffic())
    return Outcome(last.action, "", rows, len(traffic) - 1)


def looks(world: World, config: RolloutConfig, seed: int) -> Iterator[Verdict]:
    """The looks at the loss, with the labels of one day after the other."""
    rng = np.random.default_rng(seed)
    losses: list[tuple[Floats, Floats]] = []
    days: list[NDArray[np.datetime64]] = []
    seen = look = 0
    for day in range(world.days):
        losses.append(_day(world, rng))
        days.append(np.full(world.rows_per_day, np.datetime64("2013-01-01", "us") + np.timedelta64(day, "D")))
        rows = (day + 1) * world.rows_per_day
        if rows < GROWTH * seen:
            continue
        new, old = (np.concatenate(side) for side in zip(*losses, strict=True))
        level = loss_level(config.limits.loss_alpha, look + 1)
        verdict = probation.look((new, old), np.concatenate(days), DAY, alpha=level, looks=1)
        if verdict.status is not Status.INCONCLUSIVE:
            look, seen = look + 1, rows
            yield verdict


def loses(world: World, config: RolloutConfig, seed: int) -> bool:
    """Whether any look at the loss rolls the challenger back."""
    return any(v.status is Status.FAIL for v in looks(world, config, seed))


def mean_losses(world: World, rows: int = 200_000) -> tuple[float, float]:
    """The mean log-loss of the challenger and of the champion."""
    many = replace(world, rows_per_day=rows, weather=0.0, form=0.0)
    new, old = _day(many, np.random.default_rng(0))
    return float(new.mean()), float(old.mean())


def _day(world: World, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The row losses of the challenger and the champion on one day."""
    n = world.rows_per_day
    true = rng.normal(-1.3, 1.0, n)
    outcome = rng.random(n) < _odds(true + rng.normal(0, world.weather))
    ours, theirs = (_odds(true + rng.normal(0, s, n)) for s in (world.noise, world.noise + world.worse))
    new, old = (-np.log(np.where(outcome, p, 1 - p)) * (1 + rng.normal(0, world.form)) for p in (theirs, ours))
    return new, old


def _odds(value: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-value)))
