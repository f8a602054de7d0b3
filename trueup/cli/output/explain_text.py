"""Prints the explanation of one prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from trueup.cli.output import lines, out, say, table

if TYPE_CHECKING:
    from trueup.explain.explanation import Contribution, Explanation, SliceCalibration


def explained(done: Explanation) -> None:
    """Print all about one prediction, the prediction first."""
    key = ", ".join(f"{name}={value}" for name, value in done.key.items())
    say(f"[bold]{escape(done.model)}[/]  {escape(key or f'row_id={done.row_id}')}")
    say(f"  row_id {done.row_id}, {done.event_time:%Y-%m-%d %H:%M}, batch {done.batch} r{done.revision}")
    if done.quarantined:
        say(f"  [yellow]in quarantine[/]: {escape('; '.join(done.quarantined))}")
    if (served := done.served) is not None:
        how = "a server answered at" if served.online else "the run of"
        say(
            f"  served: [bold]{escape(_figure(served.prediction))}[/] by version {served.version}, "
            f"{how} {served.predicted_at:%Y-%m-%d %H:%M}"
        )
        if served.probabilities is not None:
            shares = sorted(served.probabilities.items(), key=lambda share: -share[1])
            say(f"  probabilities: {escape(', '.join(f'{name} {p:.4f}' for name, p in shares))}")
    if done.recomputed is not None:
        same = " (the same)" if done.same else ""
        say(f"  version {done.version} from the features below: {escape(_figure(done.recomputed))}{same}")
    if (outcome := done.outcome) is not None:
        known = "" if outcome.known_at is None else f", known from {outcome.known_at:%Y-%m-%d %H:%M}"
        say(f"  outcome: {escape(_figure(outcome.value))}{known}")
    if done.features:
        _features(done)
    if done.neighbours:
        _neighbours(done)
    if done.slices:
        _slices(done)
    for note in done.notes:
        say(f"  [yellow]note[/]: {escape(note)}")
    say("  as landed:")
    lines([f"{name}: {_figure(value)}" for name, value in done.row.items()])


def _features(done: Explanation) -> None:
    """The features, those that contribute most first, with what they add to the score."""
    made, features = done.contributions, {feature.name: feature for feature in done.features}
    if made is None:
        rows = [[escape(f.name), escape(_figure(f.value)), ""] for f in done.features]
    else:
        say(
            f"  {made.scale} {made.score:.4f} = {made.base:.4f}, the mean of {made.background} training rows, "
            f"{made.score - made.base:+.4f} by the features ({made.method}):"
        )
        order = [part.feature for part in made.parts]
        parts = {part.feature: f"{part.contribution:+.4f}{_error(part)}" for part in made.parts}
        names = [*order, *(name for name in features if name not in parts)]
        rows = [[escape(n), escape(_figure(features[n].value)), parts.get(n, "not used")] for n in names]
    out.print(table(["feature", "value", "contribution"], rows, figures=["value", "contribution"]))


def _neighbours(done: Explanation) -> None:
    of = "" if done.target is None else f" of {done.target}"
    say(f"  the nearest of {done.neighbours_of:,} sampled training rows (0 is the same, 1 differs in everything):")
    for n in done.neighbours:
        unlike = ", ".join(f"{name}={_figure(value)}" for name, value in n.unlike.items())
        say(
            f"    {n.distance:.3f}  {n.event_time:%Y-%m-%d %H:%M}  outcome {escape(_figure(n.outcome))}  predicted{of} "
            f"{n.prediction:.4f}  differs most in {escape(unlike) or 'nothing'}"
        )


def _slices(done: Explanation) -> None:
    of = "" if done.target is None else f" of {done.target}"
    say("  calibration of its slices on the gate rows:")
    rows = [
        [escape(s.slice), f"{s.rows:,}", f"{s.predicted:.4f}", f"{s.observed:.4f}", _interval(s)] for s in done.slices
    ]
    columns = ["slice", "rows", f"predicted{of}", "observed", "interval of observed"]
    out.print(table(columns, rows, figures=columns[1:4]))


def _interval(of: SliceCalibration) -> str:
    if of.low is None or of.high is None:
        return "too few rows"
    return f"{100 * of.confidence:g} % {of.low:.4f} to {of.high:.4f}"


def _error(part: Contribution) -> str:
    return f" ± {part.error:.4f}" if part.error else ""


def _figure(value: Any) -> str:
    """A value in short.

    >>> _figure(0.123456789), _figure(None), _figure("UA"), _figure(3)
    ('0.1235', 'missing', 'UA', '3')
    """
    return "missing" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
