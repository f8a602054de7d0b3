"""The rule of a rollout: from what servers counted, and the paired loss, to wait, advance or roll back.

A rollout is looked at every minute, so each test keeps its error however often it is looked at. All error is split
equally over four tests (`ALPHA` together), and each test's over the steps: the requests since each step's
start count for themselves, so that many good ones in shadow do not hide a fault that begins with the canary.

- Errors and predictions that are not finite: the share of requests is at most the limit. An e-process, a mixture of
  likelihood ratios against larger shares (Robbins 1970; Ville's inequality bounds the chance that it ever exceeds
  1 / alpha).
- Latency: at most half of the requests take the challenger more than the limit times as long as the champion takes for
  the same rows. The same e-process, at one half. Medians of ratios within one process are steady where latencies are not.
- Shift: the mean difference of the predictions for the same rows is within the limit, in standard deviations of the
  champion's predictions. An asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024,
  "Time-uniform central limit theory and asymptotic confidence sequences"), from `MIN_PAIRED` requests on.
- Loss on matured labels: the looks of a probation, see `probation`. Look k has the error alpha / (k (k + 1)), and needs
  half as many rows again as the one before, so their number needs no bound.

A step is complete with enough rows and every observed figure within its limit. No rows never advance. A figure beyond
its limit that is not significant yet waits for more rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from itertools import zip_longest
from typing import Literal

import numpy as np

from trueup.config.sections.promotion import RolloutConfig
from trueup.domain.types import Status, Verdict

ALPHA = 0.03  # of all tests but the loss: the probability of rolling back a challenger within its limits
MIN_PAIRED = 50  # requests from which the central limit theorem is trusted
GROWTH = 1.5  # of the labelled rows from one look at the loss to the next
Action = Literal["wait", "advance", "roll back"]

ERRORS, NON_FINITE, LATENCY, SHIFT, LOSS = "errors", "non_finite", "latency", "shift", "loss"
_ODDS = np.geomspace(1.25, 4096, 40)  # of the alternatives, in multiples of the limit's odds
_BEYOND = 1e9  # standard deviations
_TUNED_FOR = 500  # requests at which the confidence sequence is narrowest


@dataclass(frozen=True)
class Compared:
    """Sums over one output of both versions: a class of a multiclass model, otherwise there is one.

    A difference is the mean over a request's rows of the challenger's prediction less the champion's. `usual` is the
    standard deviation of the champion's predictions for its gate rows: requests of one hour may be more alike.
    """

    requests: int = 0  # with a difference
    difference_sum: float = 0.0
    difference_squares: float = 0.0
    champion_rows: int = 0
    champion_sum: float = 0.0
    champion_squares: float = 0.0
    usual: float = 0.0

    def __add__(self, other: Compared) -> Compared:
        sums = Compared(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
        return replace(sums, usual=max(self.usual, other.usual))


@dataclass(frozen=True)
class Traffic:
    """What servers counted while a rollout was at one step, over all processes.

    Only what the challenger does worse than the champion counts: a request on which both fail says nothing.
    """

    rows: int = 0  # that the challenger predicted, in shadow or as a canary
    answered: int = 0  # of these, rows that were the challenger's to answer
    requests: int = 0  # that both were asked for
    failures: int = 0  # of the requests: the challenger raised or was too late, the champion did neither
    non_finite: int = 0  # of the requests: the challenger's prediction was NaN or infinite, the champion's was not
    timed: int = 0  # requests that both were timed on
    slower: int = 0  # of these: the challenger took more than the limit times as long
    outputs: tuple[Compared, ...] = ()
    stopped: int = 0  # processes that stopped the canary by themselves, because most of its newest requests failed

    def __add__(self, other: Traffic) -> Traffic:
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "outputs"}
        pairs = zip_longest(self.outputs, other.outputs, fillvalue=Compared())
        return Traffic(**counts, outputs=tuple(ours + theirs for ours, theirs in pairs))


@dataclass(frozen=True)
class LossLook:
    """One look at the losses of both versions on matured labels; an inconclusive one is not counted."""

    look: int
    rows: int
    status: Status
    reasons: tuple[str, ...]
    figures: dict[str, int | float]

    @property
    def verdict(self) -> Verdict:
        """The look as the verdict of its test."""
        named = {"figure": self.figures["difference"], "limit": 0.0, "look": self.look}
        return Verdict(LOSS, self.status, self.reasons, {**self.figures, **named})


@dataclass(frozen=True)
class Judged:
    """What to do with a rollout, the verdict of each test, and why."""

    action: Action
    reasons: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = field(default=())

    @property
    def culprit(self) -> Verdict | None:
        """The first test that failed."""
        return next((v for v in self.verdicts if v.status is Status.FAIL), None)


def judge(config: RolloutConfig, traffic: Sequence[Traffic], loss: Verdict | None = None, labels: int = 0) -> Judged:
    """Judge a rollout at its present step, the last of `traffic`; step 0 is the shadow.

    `loss` is the newest conclusive look at the loss, `labels` the matured rows that both predicted.

    >>> alike = Compared(requests=600, champion_rows=600, champion_squares=600.0)
    >>> good = Traffic(rows=600, requests=600, timed=600, outputs=(alike,))
    >>> judge(RolloutConfig(), [good]).action
    'advance'
    >>> judge(RolloutConfig(), [good, Traffic()]).reasons
    ('0 of 300 rows of the canary with 5 % of the keys',)
    >>> judge(RolloutConfig(), [good, Traffic(requests=20, failures=8)]).action
    'roll back'
    """
    verdicts = (*operational(config, traffic), *([loss] if loss else []))
    if failed := [v for v in verdicts if v.status is Status.FAIL]:
        return Judged("roll back", tuple(r for v in failed for r in v.reasons), verdicts)
    waits = [*_missing(config, traffic, labels), *(r for v in verdicts if not v.ok for r in v.reasons)]
    return Judged("wait" if waits else "advance", tuple(waits) or ("all figures are within their limits",), verdicts)


def operational(config: RolloutConfig, traffic: Sequence[Traffic]) -> tuple[Verdict, ...]:
    """The verdicts that need no labels: errors, finite predictions, latency, shift. A fail is significant."""
    limits, spans = config.limits, _since(traffic)
    level = ALPHA / 4 / (1 + len(config.canary))
    return (
        _failures(limits.errors, spans, level),
        _not_finite(limits.non_finite, spans, level),
        _slow(limits.latency_ratio, spans, level),
        _shift(limits.shift, spans, level),
    )


def step_words(config: RolloutConfig, step: int) -> str:
    """A step in words.

    >>> step_words(RolloutConfig(), 1)
    'the canary with 5 % of the keys'
    """
    return "the shadow" if step == 0 else f"the canary with {100 * config.canary[step - 1].share:g} % of the keys"


def loss_level(alpha: float, look: int) -> float:
    """The error of a look at the loss, counted from 1; all of them together have `alpha`.

    >>> loss_level(0.02, 1), round(sum(loss_level(0.02, k) for k in range(1, 1000)), 4)
    (0.01, 0.02)
    """
    return alpha / (look * (look + 1))


def log_evidence(hits: int, trials: int, limit: float) -> float:
    """Log of the e-process against "the share of hits is at most `limit`".

    Whatever that share, and however often one looks, the chance that it ever reaches log(1 / alpha) is at most alpha.

    >>> log_evidence(0, 500, 0.01) < 0 < log_evidence(30, 500, 0.01)
    True
    """
    odds = _ODDS * limit / (1 - limit)
    q = odds / (1 + odds)
    ratios = hits * np.log(q / limit) + (trials - hits) * np.log((1 - q) / (1 - limit))
    return float(np.logaddexp.reduce(ratios) - np.log(len(q)))


def radius(n: int, spread: float, alpha: float) -> float:
    """Half the width of the asymptotic confidence sequence of a mean of `n` values with the standard deviation `spread`."""
    tuned = (-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / _TUNED_FOR
    grown = n * tuned + 1
    return float(spread * np.sqrt(2 * grown / (n**2 * tuned) * np.log(np.sqrt(grown) / alpha)))


def _since(traffic: Sequence[Traffic]) -> list[Traffic]:
    """The sums from each step's start up to now, the longest first."""
    return [_total(traffic[k:]) for k in range(len(traffic))]


def _total(traffic: Iterable[Traffic]) -> Traffic:
    return reduce(Traffic.__add__, traffic, Traffic())


def _missing(config: RolloutConfig, traffic: Sequence[Traffic], labels: int) -> list[str]:
    """What the step needs that is not there yet, in words."""
    step, here = len(traffic) - 1, traffic[-1]
    rows, wanted = (here.rows, config.shadow.rows) if step == 0 else (here.answered, config.canary[step - 1].rows)
    missing = [f"{rows:,} of {wanted:,} rows of {step_words(config, step)}"] if rows < wanted else []
    if step == len(config.canary) and labels < config.labels:
        missing.append(f"{labels:,} of {config.labels:,} rows with matured labels")
    return missing


def _failures(limit: float, spans: Sequence[Traffic], level: float) -> Verdict:
    words = "the challenger raised an error or was too late"
    if spans[0].stopped and spans[0].failures >= spans[0].non_finite:
        return _stopped(ERRORS, limit, spans[0], spans[0].failures)
    return _rate(ERRORS, words, limit, [(s.failures, s.requests) for s in spans], level)


def _not_finite(limit: float, spans: Sequence[Traffic], level: float) -> Verdict:
    words = "the challenger's prediction was NaN or infinite"
    if spans[0].stopped and spans[0].failures < spans[0].non_finite:
        return _stopped(NON_FINITE, limit, spans[0], spans[0].non_finite)
    return _rate(NON_FINITE, words, limit, [(s.non_finite, s.requests) for s in spans], level)


def _stopped(check: str, limit: float, span: Traffic, hits: int) -> Verdict:
    """Servers stopped the canary by themselves: that is a fail, however few requests there were."""
    which = "a server process" if span.stopped == 1 else f"{span.stopped} server processes"
    reason = f"{which} stopped the canary, because half of the challenger's newest requests failed"
    counts = {"hits": hits, "requests": span.requests, "stopped": span.stopped}
    return Verdict.failed(check, reason, figure=_share(hits, span.requests), limit=limit, **counts)


def _slow(ratio: float, spans: Sequence[Traffic], level: float) -> Verdict:
    words = f"the challenger took more than {ratio:g} times as long as the champion"
    return _rate(LATENCY, words, 0.5, [(s.slower, s.timed) for s in spans], level, ratio=ratio)


def _rate(
    check: str, words: str, limit: float, counts: Sequence[tuple[int, int]], level: float, **more: float
) -> Verdict:
    """Test a share of requests, given as hits and requests since the start of each step.

    Failed if one is significantly above the limit, inconclusive if one is above it.
    """
    evidence = [log_evidence(hits, requests, limit) for hits, requests in counts]
    strongest = int(np.argmax(evidence))
    failed = evidence[strongest] >= -np.log(level)
    hits, requests = counts[strongest] if failed else max(counts, key=lambda c: _share(*c))
    share = _share(hits, requests)
    figures = {"figure": share, "limit": limit, "hits": hits, "requests": requests, "level": level, **more}
    figures |= {"evidence": float(np.exp(min(evidence[strongest], 700.0)))}
    sentence = f"{words} for {hits:,} of {requests:,} requests ({100 * share:.3g} %, the limit is {100 * limit:g} %)"
    if failed:
        return Verdict.failed(check, sentence, **figures)
    if share > limit:
        return Verdict.inconclusive(check, f"{sentence}; not significant yet", **figures)
    return Verdict.passed(check, sentence, **figures)


def _shift(limit: float, spans: Sequence[Traffic], level: float) -> Verdict:
    """Test the mean difference of the predictions: failed if it is significantly beyond the limit on either side."""
    outputs = [[o for o in s.outputs if o.requests >= MIN_PAIRED] for s in spans]
    measured = [_difference(o, level / len(each)) for each in outputs for o in each]
    if not measured:
        most = max((o.requests for o in spans[0].outputs), default=0)
        reason = f"{most:,} of {MIN_PAIRED} requests that are needed to compare the predictions of both versions"
        return Verdict.inconclusive(SHIFT, reason, requests=most, limit=limit)
    nearest = max(measured, key=lambda m: abs(m[0]) - m[1])
    failed = abs(nearest[0]) - nearest[1] > limit
    mean, width, requests = nearest if failed else max(measured, key=lambda m: abs(m[0]))
    figures = {"figure": mean, "limit": limit, "low": mean - width, "high": mean + width, "requests": requests}
    sentence = (
        f"the challenger's mean prediction differs from the champion's by {mean:+.3g} standard deviations in {requests:,} "
        f"requests (the limit is {limit:g})"
    )
    if failed:
        return Verdict.failed(SHIFT, sentence, level=level, **figures)
    if abs(mean) > limit:
        return Verdict.inconclusive(SHIFT, f"{sentence}; not significant yet", level=level, **figures)
    return Verdict.passed(SHIFT, sentence, level=level, **figures)


def _difference(output: Compared, level: float) -> tuple[float, float, int]:
    """The mean difference in standard deviations of the champion's predictions, the half width around it, the requests.

    The standard deviation is that of the requests or of the gate rows, whichever is larger.
    """
    n = output.requests
    scale = max(_spread(output.champion_rows, output.champion_sum, output.champion_squares), output.usual)
    mean, spread = output.difference_sum / n, _spread(n, output.difference_sum, output.difference_squares)
    if scale == 0:  # the champion says the same of every row: any difference is beyond all limits
        return (0.0 if mean == 0 else float(np.copysign(_BEYOND, mean)), 0.0, n)
    return mean / scale, radius(n, spread / scale, level), n


def _spread(rows: int, total: float, squares: float) -> float:
    """The standard deviation, from sums."""
    variance = squares / rows - (total / rows) ** 2 if rows else 0.0
    return float(np.sqrt(variance)) if variance > 1e-12 * squares / max(rows, 1) else 0.0


def _share(hits: int, of: int) -> float:
    return hits / of if of else 0.0
