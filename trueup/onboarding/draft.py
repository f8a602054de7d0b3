"""Writes the text of a new config in stage order, with every guess marked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from trueup.config.annotated import CHECK, GUESS, Draft
from trueup.config.durations import write_duration
from trueup.config.json_schema import CONFIG_LINE
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


def write_draft(findings: Findings) -> str:
    """Write the config from the findings."""
    made = Draft()
    _head(made, findings)
    _ingest(made, findings)
    _validate(made, findings)
    _features(made, findings)
    _train(made, findings)
    _promote(made, findings)
    _ci(made, findings)
    return made.text


def _head(made: Draft, findings: Findings) -> None:
    ask, times = findings.ask, findings.times.moments.dropna()
    made.lines.append(CONFIG_LINE)
    made.say(
        f"From {findings.rows:,} rows of {times.min():%Y-%m-%d} to {times.max():%Y-%m-%d}. `{GUESS}`: from the data; "
        f"`{CHECK}`: for you to look at; keys: docs/config.md"
    )
    made.put("model", ask.name, 0)
    made.put(
        "task",
        str(findings.outcome.task),
        0,
        "" if ask.task else f"{ask.label} has {findings.outcome.values.nunique():,} different values",
    )
    made.put("about", f"Predicts {ask.label}.", 0, "say for whom, and what it is used for", CHECK)
    made.put("clock", "data", 0, "the end of the newest complete batch; `wall` once data arrives by itself", GUESS)


def _ingest(made: Draft, findings: Findings) -> None:
    ask, times = findings.ask, findings.times
    made.section("ingest", apart=True)
    for note in findings.notes:
        made.say(note if note.startswith(CHECK) else f"{GUESS}: {note}", 1)
    made.put("source", findings.source)
    made.put("time", ask.time)
    if "query" not in findings.source and len(times.formats) == 1 and not times.iso:
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
    if findings.disorder > 0.01:
        made.say(f"{GUESS}: {findings.disorder:.0%} of the rows come after a later one; they are sorted by time", 1)
    key_why = "" if findings.key_why == "as you said" else findings.key_why
    made.put("key", list(findings.key), why=key_why, mark=CHECK if "share theirs" in key_why else GUESS)
    if findings.duplicates:
        made.say(f"{CHECK}: {findings.duplicates:,} rows repeat another or its key; of each the last counts", 1)
    made.put("period", findings.spans.period, why=f"{findings.spans.rows:,.0f} rows in a middle batch")
    moments = times.moments.dropna()
    batches = len(complete_periods(moments.min(), moments.max(), findings.spans.period))
    if batches > IngestConfig.model_fields["max_batches"].default:
        made.put("max_batches", batches + _LATER, why=f"the table holds {batches:,}", mark=CHECK)
    for gap in findings.gaps:
        made.say(
            f"{CHECK}: no row from {gap.start:%Y-%m-%d} to {gap.end:%Y-%m-%d}; batches there are empty",
            1,
        )
    _label(made, findings)
    if missing := missing_of(findings):
        made.put("missing", missing, why=f"values that mean missing: {_missing_words(findings, missing)}", mark=CHECK)
    if odd := coerced(findings):
        made.put("coerce", odd, why="numbers with text between them, which becomes missing and is counted", mark=CHECK)


def _missing_words(findings: Findings, missing: Mapping[str, Any]) -> str:
    counts: dict[str, Mapping[Any, int]] = {n: findings.columns[n].sentinels for n in missing if n in findings.columns}
    counts |= {findings.ask.label: findings.outcome.sentinels} if findings.outcome.sentinels else {}
    listed = [f"{name} {text_of(value)} ({n:,})" for name, values in counts.items() for value, n in values.items()]
    listed += [f"{findings.ask.time} ({findings.times.unreadable:,})"] if findings.ask.time in missing else []
    return ", ".join(listed)


def _label(made: Draft, findings: Findings) -> None:
    outcome = findings.outcome
    label: Section = {"column": findings.ask.label}
    if findings.label_source is not None:
        label["source"] = findings.label_source
        label |= {"key": outcome.key} if outcome.key else {}
        for here, there in outcome.key.items():
            made.say(f"{CHECK}: {there} of the outcomes holds the values of {here}", 1)
    label |= {k: v for k, v in (("positive", outcome.positive), ("above", findings.ask.above)) if v is not None}
    label |= {} if outcome.negative is None else {"negative": [outcome.negative]}
    if outcome.sentinels:
        listed = ", ".join(f"{value!r} ({count:,})" for value, count in outcome.sentinels.items())
        made.say(f"{CHECK}: {listed} of {findings.ask.label} mean no outcome, see `missing`", 1)
    clock = (
        {"known_at": outcome.known_at}
        if outcome.known_at
        else {"known_after": write_duration(outcome.known_after or timedelta(0))}
    )
    if outcome.positive is not None and findings.ask.positive is None:
        share = float((as_text(outcome.values.dropna()) == as_text(pd.Series([outcome.positive])).iloc[0]).mean())
        made.say(f"{CHECK}: {outcome.positive!r} counts as 1, in {share:.1%} of the rows", 1)
    if outcome.known_at:
        listed = f": {outcome.why}" if findings.label_source is None else ""
        made.say(f"{CHECK}: {outcome.known_at} says when an outcome became known{listed}", 1)
    guessed = f"known_after: {outcome.why}" if outcome.guessed and not outcome.known_at else ""
    made.put("label", {**label, **clock}, why=guessed, mark=CHECK)


def _validate(made: Draft, findings: Findings) -> None:
    made.section(
        "validate",
        f"{CHECK}: a batch that breaks one of these is broken; {usual_name(findings.ask.name)} has lines to copy",
    )
    if (rows := int(max(min(30, findings.spans.rows // 4), 1))) != 30:
        made.put("min_rows", rows)
    column = (findings.key or (findings.ask.time,))[0]
    made.put("expectations", [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}])


def usual_name(name: str) -> str:
    """The file beside a config with what was usual in the table."""
    return f"{name}.usual.yaml"


def write_usual(findings: Findings) -> str:
    """Write what was usual in the table, as lines to copy into `validate` of the config."""
    made = Draft()
    made.say(
        f"What was usual in the {findings.rows:,} rows that {findings.ask.name}.yaml was written from. Nothing reads this file: "
        "the loop learns what is usual from the batches it has landed, and anew with each champion. A line that you copy "
        "into `validate` there becomes a contract: a batch that breaks it is broken, or has its rows in quarantine."
    )
    for note in findings.usual.left_out:
        made.say(note)
    if findings.usual.max_missing:
        made.put("max_missing", findings.usual.max_missing, 0, "twice the most of any batch, and a twentieth")
    if findings.usual.rules:
        made.items("expectations", (({"type": r.type, "kwargs": r.kwargs}, r.why) for r in findings.usual.rules), 0)
    return made.text


def _features(made: Draft, findings: Findings) -> None:
    features, choice = findings.features, findings.choice
    made.section("features", "" if choice is None else _worth(choice), apart=True)
    for why, names in _by_reason(findings.left_out).items():
        made.say(f"{CHECK if 'LEAK' in why or 'personal' in why else GUESS}: left out: {', '.join(names)}: {why}", 1)
    protected = [f"{n} ({why})" for n, why, naming in findings.personal if not naming and n not in findings.left_out]
    if protected:
        made.say(
            f"{CHECK}: personal data: {'; '.join(protected)}: may a model use it? See `fairness` in docs/config.md", 1
        )
    if strong := {n: why for n, why in findings.strong.items() if n in {*features.numeric, *features.categorical}}:
        reasons = "; ".join(f"{n} ({why})" for n, why in strong.items())
        made.say(f"{CHECK}: predicts the outcome very well alone: {reasons}: is it known when a prediction is made?", 1)
    if choice is not None and (taken := [_tried_words(t) for t in choice.tried if t.taken and t.months is None]):
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


def _tried_words(tried: Tried) -> str:
    return f"{tried.what} ({tried.change:+.1%} of the loss)"


def _train(made: Draft, findings: Findings) -> None:
    spans = findings.spans
    made.section("train")
    if findings.choice is not None and (months := findings.choice.window) is not None:
        why = next(_tried_words(t) for t in findings.choice.tried if t.months == months)
        made.put("window", f"{months} month{'s' * (months > 1)}", why=why)
    made.put("min_history", write_duration(spans.min_history), why="the first champion waits for this much")
    if _first_rows(findings) < 1.5 * _ROOM:
        made.put("min_rows", max(30, min(_ROOM, int(spans.rows * 2))), why="the table is small")
    made.put("families", ["gradient_boosting", *(["linear"] if _linear_too(findings) else [])])
    made.put("trials", 4, why="recipes that are tried at each retrain")
    if spans.block != timedelta(days=1):
        made.section("evaluate")
        why = "rows of the same block are judged together; ten of them fit into every span"
        made.put("block", write_duration(spans.block), why=why)
    made.say("Each model also as one ONNX file, which predicts without scikit-learn; it decides nothing.")
    made.put("export", {"format": "onnx"}, 0)


def _first_rows(findings: Findings) -> float:
    """About how many rows train a first champion."""
    times = findings.times.moments.dropna()
    low, high = times.quantile([0.001, 0.999])
    whole = max((high - low) / timedelta(days=1), 1.0)
    first = (findings.spans.min_history - findings.spans.gate_window) / timedelta(days=1)
    return float(len(times) * min(first / whole, 1.0))


def _linear_too(findings: Findings) -> bool:
    """Whether to try a linear model, too: with few rows it is often the best."""
    return findings.rows < 20_000


def _promote(made: Draft, findings: Findings) -> None:
    spans = findings.spans
    power = findings.choice.power if findings.choice is not None else None
    made.section("promote", "" if power is None else shown(spans, power), apart=True)
    made.put("gate_window", write_duration(spans.gate_window), why="the newest labels, on which a model is judged")
    made.put("min_new_days", spans.min_new_days, why="of labels that the champion has not seen")
    if _linear_too(findings):  # a linear challenger is never better than itself
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


def _ci(made: Draft, findings: Findings) -> None:
    """The sample of `trueup ci compare`, if all data are files within the project: other sources may need secrets."""
    sources = [source for source in (findings.source, findings.label_source) if source is not None]
    paths = [str(source.get("path", "")) for source in sources if source["kind"] == "files"]
    if len(paths) == len(sources) and all("://" not in path and not path.startswith("../../") for path in paths):
        made.section("ci")
        made.put("sample", "source", why="`trueup ci compare` trains and judges on the file: commit it", mark=CHECK)


def shown(spans: Spans, power: Power) -> str:
    """The gain that the gates can show at this pace, and the gain of retraining on this table."""
    least, span = power.shown(spans.stale_after), write_duration(spans.stale_after)
    sentence = f"{span} of rows show a gain of {least:.1%} in 4 of 5 cases"
    gained = f"a retrain gained {power.gained:.1%}"
    if power.gained <= 0:
        return f"{sentence}; on this table a retrain gained nothing"
    need = power.span_for(power.gained)
    if power.gained >= least or need is None:
        return f"{sentence}; {gained}"
    return f"{sentence}; {gained}, shown in {need.days + 1} days: evidence adds up"


def missing_of(findings: Findings) -> dict[str, list[str | float | int]]:
    """Values that mean "missing", by column of the features; a word that several share applies to all."""
    used = set(findings.features.numeric) | set(findings.features.categorical)
    by_column = {n: c.sentinels for n, c in findings.columns.items() if n in used and c.sentinels}
    missing: dict[str, list[str | float | int]] = {}
    if findings.times.uniform and findings.times.words:
        missing[findings.ask.time] = list(findings.times.words)
    if findings.outcome.sentinels:
        missing[findings.ask.label] = list(findings.outcome.sentinels)
    for name, sentinels in by_column.items():
        missing[name] = [int(s) if isinstance(s, float) and s.is_integer() else s for s in sentinels]
    return missing


def coerced(findings: Findings) -> list[str]:
    """Numeric columns with some text, which becomes missing, and is counted."""
    return [n for n in findings.features.numeric if findings.columns[n].odd]
