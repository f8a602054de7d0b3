"""The comment of a pull request: Markdown, the verdict first. Everything that is not ours in it is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from trueup.ci.escape import block, code, text
from trueup.ci.findings import (
    BETTER,
    DELETED,
    LEAK,
    NEW,
    NOT_COMPARED,
    SAME,
    WORSE,
    Comparison,
    Cost,
    FeatureChange,
    Measured,
    Result,
    TestsRun,
    better,
)
from trueup.domain.judging.metrics import figure
from trueup.domain.types import Metric

MARKER = "<!-- trueup:ci -->"  # by which the comment is found again, to be updated
LONGEST = 60_000  # characters: GitHub takes 65,536
_VERDICTS = 25_000  # characters of all verdicts together
_LISTED = 10
_SIGNS = {BETTER: "✅", WORSE: "❌", SAME: "⚪", LEAK: "🚨", NOT_COMPARED: "⚠️", NEW: "🆕", DELETED: "⚪"}


def render(result: Result) -> str:
    """The comment. Details of models that would make it too long are left out, with a remark."""
    parts = [MARKER, f"## {_title(result)}", "", *_verdicts(result), ""]
    tail = _tail(result)
    room = LONGEST - len("\n".join([*parts, *tail])) - 200
    left = list[str]()
    for comparison in result.comparisons:
        section = "\n".join(_section(comparison))
        if len(section) + 1 > room:
            left.append(comparison.model)
            continue
        parts.append(section)
        room -= len(section) + 1
    if left:
        parts += [f"The details of {len(left)} more models are in `comparison.json`, because this comment is full.", ""]
    return "\n".join([*parts, *tail])[:LONGEST]


def _title(result: Result) -> str:
    """The verdict in one line."""
    failing = [c for c in result.comparisons if c.fails]
    tests = result.tests is not None and result.tests.outcome not in {"passed", "none"}
    if not result.comparisons:
        return "Trueup: no model is affected" + (", but the project's tests fail" if tests else "")
    if len(result.comparisons) == 1:
        only = result.comparisons[0]
        what = f"Trueup: {code(only.model)}: {_SIGNS[only.verdict]} {only.verdict}"
    else:
        what = (
            f"Trueup: {len(failing)} of {len(result.comparisons)} models fail" if failing else "Trueup: all models pass"
        )
    return what + (", and the project's tests fail" if tests else "")


def _verdicts(result: Result) -> Iterator[str]:
    """What decided, for each model."""
    order = sorted(result.comparisons, key=lambda c: (not c.fails, c.verdict != LEAK))
    longest, written = 900 if len(order) <= 5 else 200, 0
    for number, comparison in enumerate(order):
        why = [f.sentence for f in comparison.findings if f.fails] or [f.sentence for f in comparison.findings]
        reasons = "; ".join(why[:3]) + (f"; and {len(why) - 3} more" if len(why) > 3 else "")
        if not reasons and comparison.remarks:
            reasons = comparison.remarks[0]
        rules = ", ".join(dict.fromkeys(f.kind for f in comparison.findings if f.fails))
        failing = f" — fails by `fail_on: {rules}`" if rules else ""
        sign, verdict = _SIGNS[comparison.verdict], comparison.verdict
        line = f"- {sign} {code(comparison.model)} **{verdict}**{failing}"
        line += f": {text(reasons, longest)}" if reasons else ""
        written += len(line)
        if written > _VERDICTS:
            yield f"- and {len(order) - number} more models, in `comparison.json`"
            break
        yield line
    if result.tests is not None:
        yield _tests_line(result.tests)
    if result.behind:
        commits = "1 commit" if result.behind == 1 else f"{result.behind} commits"
        yield f"- The head lacks {commits} of {code(result.base_name)}; what these change is not judged here."


def _tests_line(tests: TestsRun) -> str:
    sign = {"passed": "✅", "none": "⚪"}.get(tests.outcome, "❌")
    return f"- {sign} tests of the project: **{text(tests.outcome)}**" + (
        f", {text(tests.summary)}" if tests.summary else ""
    )


def _section(c: Comparison) -> Iterator[str]:
    """The details of one model."""
    yield f"### {code(c.model)}"
    yield ""
    if c.rows:
        span = f"{_day(c.judged_from)} to {_day(c.judged_until)}"
        yield f"Judged on {c.rows:,} rows of {span}, which neither side has trained on."
        yield ""
    if c.verdict == NEW or (c.verdict == LEAK and "base" not in c.costs and c.rows):
        yield "The base does not have this model, so nothing of the base judges it: these are its own gates and labels."
        yield ""
    said = {f.sentence for f in c.findings} or set(c.remarks[:1])  # above, beside the verdict
    yield from (f"- {text(remark)}" for remark in c.remarks if remark not in said)
    yield from _listed("Features that know the outcome:", [f"{code(s.column)}: {text(s.why)}" for s in c.suspects])
    yield from _listed(
        "Features of the base that know the outcome, too; the head adds none of these:",
        [f"{code(s.column)}: {text(s.why)}" for s in c.known_suspects],
    )
    yield from _listed(
        "New features that predict the outcome very well alone; are they known when a prediction is made?",
        [f"{code(s.column)}: {text(s.why)}" for s in c.strong],
    )
    yield from _metrics(c)
    yield from _listed(
        "Slices that got worse (each for itself, with the interval of its difference):",
        [
            f"{code(s.slice)}: {figure(s.difference, 3)} ({_bounds(s.difference_low, s.difference_high)}) on {s.rows:,} rows"
            for s in c.slices
        ],
    )
    yield from _listed("Features that only one side has:", [_feature(f) for f in c.features])
    yield from _data(c)
    yield from _costs(c)
    yield ""


def _metrics(c: Comparison) -> Iterator[str]:
    if not c.metrics:
        return
    other = "base" if "base" in c.costs else "prior"
    yield ""
    if c.verdict == LEAK:
        yield "While a feature knows the outcome, these figures say nothing about how well the model will predict."
        yield ""
    yield f"| metric | {other} | head | head minus {other} |"
    yield "|---|---|---|---|"
    yield from (_metric(m) for m in c.metrics)


def _metric(m: Measured) -> str:
    direction = better(m.name)
    difference = "–" if m.difference is None else f"{m.difference:+.4g}"
    if m.low is not None and m.high is not None:
        shown = m.low > 0 or m.high < 0
        good = (m.high < 0) == (direction == "lower")
        mark = (" ✅" if good else " ❌") if shown else ""
        difference += f" ({_bounds(m.low, m.high)}){mark}"
    return f"| {text(m.name)} ({direction} is better) | {_value(m.base)} | {_value(m.head)} | {difference} |"


def _value(metric: Metric | None) -> str:
    if metric is None:
        return "–"
    interval = "" if metric.low is None or metric.high is None else f" ({_bounds(metric.low, metric.high)})"
    return figure(metric.value) + interval


def _bounds(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{figure(low, 3)} to {figure(high, 3)}"


def _feature(f: FeatureChange) -> str:
    moved = (
        "" if f.drift is None else f"; drift from training rows to judged rows {f.drift:.3f} (0: alike, 1: disjoint)"
    )
    most = max(f.missing_before or 0.0, f.missing_after or 0.0)
    missing = f"; missing in {f.missing_after or 0:.0%} of the judged rows" if most >= 0.005 else ""
    return f"{code(f.name)} {f.change}{moved}{missing}"


def _data(c: Comparison) -> Iterator[str]:
    for side, batches in sorted(c.batches.items()):
        broken = [b for b in batches if b.status == "fail"]
        held = sum(b.quarantined for b in batches)
        if broken or held:
            yield ""
            yield (
                f"Data by the expectations of the {side}: {len(broken)} of {len(batches)} batches broken, {held:,} rows in "
                "quarantine."
            )
            reasons = list(dict.fromkeys(r for b in broken for r in b.reasons))
            yield from (f"- {text(reason)}" for reason in reasons[:_LISTED])


def _costs(c: Comparison) -> Iterator[str]:
    if not c.costs:
        return
    yield ""
    yield "| side | model | trained on | time | CPU time | memory |"
    yield "|---|---|---|---|---|---|"
    yield from (_cost(side, c.costs[side]) for side in ("base", "head") if side in c.costs)


def _cost(side: str, cost: Cost) -> str:
    made = f"{text(cost.family)}, best of {cost.trials} trials" if cost.trials != 1 else f"{text(cost.family)}, 1 trial"
    return f"| {side} | {made} | {cost.train_rows:,} rows | {cost.seconds:.1f} s | {cost.cpu_seconds:.1f} s | {cost.memory_mib:,.0f} MiB |"


def _listed(heading: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield ""
        yield heading
        yield ""
        yield from (f"- {item}" for item in items[:_LISTED])
        if len(items) > _LISTED:
            yield f"- and {len(items) - _LISTED} more, in `comparison.json`"


def _tail(result: Result) -> list[str]:
    lines = list[str]()
    if result.tests is not None and result.tests.outcome not in {"passed", "none"} and result.tests.output:
        lines += [
            "<details><summary>Output of the tests</summary>",
            "",
            block(result.tests.output),
            "",
            "</details>",
            "",
        ]
    pictures = [picture for c in result.comparisons for picture in c.pictures]
    if pictures:
        lines += [f"Pictures are in the report's folder: {', '.join(map(code, pictures[:_LISTED]))}.", ""]
    links = " · ".join(f"[{name}]({url})" for name, url in result.links.items())
    gates = "Rows, labels, gates and `fail_on` are those of the base."
    commits = (
        f"Base {code(result.base_name)} at `{result.base[:10]}`, head `{result.head[:10]}`, {result.seconds:,.0f} s."
    )
    return [*lines, f"<sub>{commits} {gates}{f' {links}' if links else ''}</sub>", ""]


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d}"
