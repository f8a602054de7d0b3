"""Writes the text of a new config in stage order, with every guess marked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from trueup.config.annotated import CHECK, GUESS, Draft
from trueup.config.durations import write_duration
from trueup.config.sections.ingest import IngestConfig
from trueup.config.sections.monitoring import DecayConfig
from trueup.domain.data.periods import complete_periods
from trueup.domain.data.values import as_text, text_of
from trueup.domain.profiling.feature_selection import Choice, Tried
from trueup.domain.profiling.period import Power, Spans

if TYPE_CHECKING:
    from trueup.onboarding.new_model import Findings
    from trueup.onboarding.read_table import Section

_PROBATION = {"day": 7, "week": 4, "month": 2}  # batches
_ROOM = 200  # the schema's default of labels per batch
_LATER = 100  # batches that may arrive before the first run


def write_draft(found: Findings) -> str:
    """Write the config from the findings."""
    made = Draft()
    _head(made, found)
    _ingest(made, found)
    _validate(made, found)
    _features(made, found)
    _train(made, found)
    _promote(made, found)
    return made.text


def _head(made: Draft, found: Findings) -> None:
    ask, times = found.ask, found.times.moments.dropna()
    made.say(
        f"From {found.rows:,} rows of {times.min():%Y-%m-%d} to {times.max():%Y-%m-%d}. `{GUESS}`: from the data; "
        f"`{CHECK}`: for you to look at; keys: docs/config.md"
    )
    made.put("model", ask.name, 0)
    made.put(
        "task",
        str(found.outcome.task),
        0,
        "" if ask.task else f"{ask.label} has {found.outcome.values.nunique():,} different values",
    )
    made.put("about", f"Predicts {ask.label}.", 0, "say for whom, and what it is used for", CHECK)
    made.put("clock", "data", 0, "the end of the newest complete batch; `wall` once data arrives by itself", GUESS)


def _ingest(made: Draft, found: Findings) -> None:
    ask, times = found.ask, found.times
    made.section("ingest", apart=True)
    for note in found.notes:
        made.say(note if note.startswith(CHECK) else f"{GUESS}: {note}", 1)
    made.put("source", found.source)
    made.put("time", ask.time)
    if "query" not in found.source and len(times.formats) == 1 and not times.iso:
        why = (
            f"{times.twin} would read it too; the other is better in order"
            if times.twin
            else "how all of them are written"
        )
        made.put("time_format", times.formats[0], why=why, mark=CHECK if times.twin else GUESS)
    if ask.timezone != "UTC" or times.zoned:
        made.put(
            "timezone", ask.timezone, why="the times name a zone, and are brought to this one" if times.zoned else ""
        )
    if found.disorder > 0.01:
        made.say(f"{GUESS}: {found.disorder:.0%} of the rows stand after a later one; they are put in order of time", 1)
    key_why = "" if found.key_why == "as you said" else found.key_why
    made.put("key", list(found.key), why=key_why, mark=CHECK if "share theirs" in key_why else GUESS)
    if found.duplicates:
        made.say(f"{CHECK}: {found.duplicates:,} rows repeat another or its key; of each the last counts", 1)
    made.put("period", found.spans.period, why=f"{found.spans.rows:,.0f} rows in a middle batch")
    known = times.moments.dropna()
    batches = len(complete_periods(known.min(), known.max(), found.spans.period))
    if batches > IngestConfig.model_fields["max_batches"].default:
        made.put("max_batches", batches + _LATER, why=f"the table holds {batches:,}", mark=CHECK)
    for gap in found.gaps:
        made.say(
            f"{CHECK}: no row from {gap.start:%Y-%m-%d} to {gap.end:%Y-%m-%d}; batches there are empty",
            1,
        )
    _label(made, found)
    if missing := missing_of(found):
        made.put("missing", missing, why=f"values that mean missing: {_said_missing(found, missing)}", mark=CHECK)
    if odd := coerced(found):
        made.put("coerce", odd, why="numbers with text between them, which becomes missing and is counted", mark=CHECK)


def _said_missing(found: Findings, missing: Mapping[str, Any]) -> str:
    counts: dict[str, Mapping[Any, int]] = {n: found.columns[n].sentinels for n in missing if n in found.columns}
    counts |= {found.ask.label: found.outcome.sentinels} if found.outcome.sentinels else {}
    said = [f"{name} {text_of(value)} ({n:,})" for name, values in counts.items() for value, n in values.items()]
    said += [f"{found.ask.time} ({found.times.unreadable:,})"] if found.ask.time in missing else []
    return ", ".join(said)


def _label(made: Draft, found: Findings) -> None:
    outcome = found.outcome
    label: Section = {"column": found.ask.label}
    if found.label_source is not None:
        label["source"] = found.label_source
        label |= {"key": outcome.key} if outcome.key else {}
        for here, there in outcome.key.items():
            made.say(f"{CHECK}: {there} of the outcomes holds the values of {here}", 1)
    label |= {k: v for k, v in (("positive", outcome.positive), ("above", found.ask.above)) if v is not None}
    label |= {} if outcome.negative is None else {"negative": [outcome.negative]}
    if outcome.sentinels:
        said = ", ".join(f"{value!r} ({count:,})" for value, count in outcome.sentinels.items())
        made.say(f"{CHECK}: {said} of {found.ask.label} mean no outcome, see `missing`", 1)
    clock = (
        {"known_at": outcome.known_at}
        if outcome.known_at
        else {"known_after": write_duration(outcome.known_after or timedelta(0))}
    )
    if outcome.positive is not None and found.ask.positive is None:
        share = float((as_text(outcome.values.dropna()) == as_text(pd.Series([outcome.positive])).iloc[0]).mean())
        made.say(f"{CHECK}: {outcome.positive!r} counts as 1, in {share:.1%} of the rows", 1)
    if outcome.known_at:
        said = f": {outcome.why}" if found.label_source is None else ""
        made.say(f"{CHECK}: {outcome.known_at} says when an outcome became known{said}", 1)
    guessed = f"known_after: {outcome.why}" if outcome.guessed and not outcome.known_at else ""
    made.put("label", {**label, **clock}, why=guessed, mark=CHECK)


def _validate(made: Draft, found: Findings) -> None:
    made.section(
        "validate", f"{CHECK}: a batch that is not so is broken; {usual_name(found.ask.name)} has lines to copy"
    )
    if (rows := int(max(min(30, found.spans.rows // 4), 1))) != 30:
        made.put("min_rows", rows)
    column = (found.key or (found.ask.time,))[0]
    made.put("expectations", [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}])


def usual_name(name: str) -> str:
    """The file beside a config with what was usual in the table."""
    return f"{name}.usual.yaml"


def write_usual(found: Findings) -> str:
    """Write what was usual in the table, as lines to copy into `validate` of the config."""
    made = Draft()
    made.say(
        f"What was usual in the {found.rows:,} rows that {found.ask.name}.yaml was written from. Nothing reads this file: "
        "the loop learns what is usual from the batches it has landed, and anew with each champion. A line that you copy "
        "into `validate` there becomes a contract: a batch that is not so is broken, or has its rows in quarantine."
    )
    for note in found.usual.left_out:
        made.say(note)
    if found.usual.max_missing:
        made.put("max_missing", found.usual.max_missing, 0, "twice the most of any batch, and a twentieth")
    if found.usual.rules:
        made.items("expectations", (({"type": r.type, "kwargs": r.kwargs}, r.why) for r in found.usual.rules), 0)
    return made.text


def _features(made: Draft, found: Findings) -> None:
    features, choice = found.features, found.choice
    made.section("features", "" if choice is None else _worth(choice), apart=True)
    for why, names in _by_reason(found.left_out).items():
        made.say(f"{CHECK if 'LEAK' in why or 'personal' in why else GUESS}: left out: {', '.join(names)}: {why}", 1)
    protected = [f"{n} ({why})" for n, why, naming in found.personal if not naming and n not in found.left_out]
    if protected:
        made.say(
            f"{CHECK}: personal data: {'; '.join(protected)}: may a model use it? See `fairness` in docs/config.md", 1
        )
    if strong := {n: why for n, why in found.strong.items() if n in {*features.numeric, *features.categorical}}:
        told = "; ".join(f"{n} ({why})" for n, why in strong.items())
        made.say(f"{CHECK}: predicts the outcome very well alone: {told}: is it known when a prediction is made?", 1)
    if choice is not None and (taken := [_said_tried(t) for t in choice.tried if t.taken and t.months is None]):
        made.say(f"{GUESS}: {'; '.join(taken)}", 1)
    if features.numeric:
        made.put("numeric", features.numeric)
    if features.categorical:
        made.put("categorical", features.categorical)
    if features.calendar:
        made.put("calendar", features.calendar)
    if features.history:
        items = [
            (h.model_dump(mode="json", exclude_defaults=True) | {"name": h.name, "counts": h.counts}, "")
            for h in features.history
        ]
        made.items("history", items)


def _by_reason(left_out: dict[str, str]) -> dict[str, list[str]]:
    """The columns of each reason, so that each reason is written once."""
    reasons: dict[str, list[str]] = {}
    for name, why in left_out.items():
        reasons.setdefault(why, []).append(name)
    return reasons


def _worth(choice: Choice) -> str:
    change = choice.loss / choice.prior - 1 if choice.prior else 0.0
    learned = "a quick model, refitted as time goes on,"
    if change >= 0:
        return f"{CHECK}: {learned} is no better than a constant baseline: look for more informative features"
    return f"{learned} has a loss {-change:.1%} below that of always saying the usual"


def _said_tried(tried: Tried) -> str:
    return f"{tried.what} ({tried.change:+.1%} of the loss)"


def _train(made: Draft, found: Findings) -> None:
    spans = found.spans
    made.section("train")
    if found.choice is not None and (months := found.choice.window) is not None:
        why = next(_said_tried(t) for t in found.choice.tried if t.months == months)
        made.put("window", f"{months} month{'s' * (months > 1)}", why=why)
    made.put("min_history", write_duration(spans.min_history), why="the first champion waits for this much")
    if _first_rows(found) < 1.5 * _ROOM:
        made.put("min_rows", max(30, min(_ROOM, int(spans.rows * 2))), why="the table is small")
    made.put("families", ["gradient_boosting", *(["linear"] if _linear_too(found) else [])])
    made.put("trials", 4, why="recipes that are tried at each retrain")
    if spans.block != timedelta(days=1):
        made.section("evaluate")
        why = "rows of the same block are judged together; ten of them fit into every span"
        made.put("block", write_duration(spans.block), why=why)


def _first_rows(found: Findings) -> float:
    """About how many rows train a first champion."""
    times = found.times.moments.dropna()
    low, high = times.quantile([0.001, 0.999])
    whole = max((high - low) / timedelta(days=1), 1.0)
    first = (found.spans.min_history - found.spans.gate_window) / timedelta(days=1)
    return float(len(times) * min(first / whole, 1.0))


def _linear_too(found: Findings) -> bool:
    """Whether to try a linear model, too: with few rows it is often the best."""
    return found.rows < 20_000


def _promote(made: Draft, found: Findings) -> None:
    spans = found.spans
    power = found.choice.power if found.choice is not None else None
    made.section("promote", "" if power is None else shown(spans, power), apart=True)
    made.put("gate_window", write_duration(spans.gate_window), why="the newest labels, on which a model is judged")
    made.put("min_new_days", spans.min_new_days, why="of labels that the champion has not seen")
    if _linear_too(found):  # a linear challenger is never better than itself
        gates: list[Section] = [{"kind": "paired"}, {"kind": "baseline", "beat": ["prior"]}, {"kind": "slices"}]
        made.put("gates", gates, why="linear is a family itself")
    batches = _PROBATION[spans.period]
    made.put("probation", {"batches": batches}, why="the replaced champion predicts along, and may return")
    made.section("monitor")
    matured = max(30, min(_ROOM, int(spans.rows // 2)))
    if matured != _ROOM:
        made.put("min_matured", matured, why="labels that a batch needs to be diagnosed")
    made.put("stale_after", write_duration(spans.stale_after), why="a challenger is tried this often while all is well")
    if spans.reference != DecayConfig().reference_window:
        why = "holds some hundreds of outcomes"
        made.put("decay", {"reference_window": write_duration(spans.reference)}, why=why)


def shown(spans: Spans, power: Power) -> str:
    """What the gates can show of a retrain at this pace, and what retraining gained on this table."""
    least, span = power.shown(spans.stale_after), write_duration(spans.stale_after)
    said = f"{span} of rows show a gain of {least:.1%} in 4 of 5 cases"
    gained = f"a retrain gained {power.gained:.1%}"
    if power.gained <= 0:
        return f"{said}; on this table a retrain gained nothing"
    need = power.span_for(power.gained)
    if power.gained >= least or need is None:
        return f"{said}; {gained}"
    return f"{said}; {gained}, shown in {need.days + 1} days: evidence adds up"


def missing_of(found: Findings) -> dict[str, list[str | float | int]]:
    """Values that mean "missing", by column of the features; a word that several share applies to all."""
    used = set(found.features.numeric) | set(found.features.categorical)
    held = {n: c.sentinels for n, c in found.columns.items() if n in used and c.sentinels}
    told: dict[str, list[str | float | int]] = {}
    if found.times.uniform and found.times.words:
        told[found.ask.time] = list(found.times.words)
    if found.outcome.sentinels:
        told[found.ask.label] = list(found.outcome.sentinels)
    for name, sentinels in held.items():
        told[name] = [int(s) if isinstance(s, float) and s.is_integer() else s for s in sentinels]
    return told


def coerced(found: Findings) -> list[str]:
    """Numeric columns with some text, which becomes missing, and is counted."""
    return [n for n in found.features.numeric if found.columns[n].odd]
