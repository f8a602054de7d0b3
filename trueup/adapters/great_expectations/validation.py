"""Validation: whether a batch keeps the contract of its config.

The suite has the YAML's expectations and those that always apply (`checks.always`). Expectations about single values
send their failing rows to quarantine; all others judge the batch as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from trueup.adapters.great_expectations import engine
from trueup.adapters.great_expectations.checks import Check, CheckResult, Outcome, Result, Rows, always, without_values
from trueup.adapters.great_expectations.parts import ask
from trueup.adapters.great_expectations.tally import plain
from trueup.config.rules import Mistake
from trueup.config.schema import ModelConfig
from trueup.config.sections.validation import ExpectationConfig
from trueup.domain.data.column_kinds import REWRITTEN
from trueup.domain.data.outcome_values import odd_outcomes
from trueup.domain.data.sentinels import ALL_COLUMNS
from trueup.domain.data.values import ColumnKind, as_text, canonical_text
from trueup.domain.types import ROW_ID, Facts, Verdict
from trueup.errors import ConfigError
from trueup.hints import did_you_mean

CHECK: Final = "validate"  # the verdict's name
_PLACE: Final = ("validate", "expectations")
_NOT_ARGUMENTS: Final = {"batch_id", "catch_exceptions", "id", "meta", "result_format", "severity"}
_NEED_DATABASE: Final = {
    "expect_query_results_to_match_comparison",
    "expect_table_row_count_to_equal_other_table",
    "unexpected_rows_expectation",
}
_FEW: Final = 3  # rows without a time, such as a title, a total and a note
_ODD: Final = {  # messages for landing's counts
    "duplicates": "{:,} rows had the key of another row; the last of them counts",
    "null_keys": "{:,} rows without a key were left out",
    "null_times": "{:,} rows without a time were left out",
    "repeated_hour": "{:,} rows are of the second pass of an hour that the clocks repeat; they are rows of their own",
    "no_such_time": "{:,} rows have a time that the clocks leave out; they are kept as they are",
    "infinite_outcomes": "{:,} outcomes are infinite and do not count",
    "rounded_outcomes": "{:,} outcomes have more digits than a floating-point number holds, and are rounded",
    "known_at_clipped": "{:,} labels claim to be known before their row's time; that time counts",
    "known_at_missing": "{:,} outcomes have no time at which they became known, and do not count",
}


@dataclass(frozen=True)
class ValidationResult:
    """The validation of one batch.

    `row_failures`: `row_id` (int64) and `expectation` (str), one line for each row and critical expectation it fails.
    `quarantined` counts rows, each once; `left_out` counts those without key or time that the batch is judged by.
    """

    verdict: Verdict
    row_failures: pd.DataFrame
    batch_failures: tuple[str, ...]
    warnings: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    rows: int
    quarantined: int
    left_out: int

    @property
    def share(self) -> float:
        return (self.quarantined + self.left_out) / max(self.rows + self.left_out, 1)


def check(rows: Rows, config: ModelConfig, facts: Facts) -> ValidationResult:
    """Check one batch of landed rows; `facts` are the counts of landing.

    Rows that are not in memory are read in parts, with the same result: see `parts`.

    A few rows without a time, such as a title or a line of totals, do not count: they belong to no batch, and a source
    returns them with each.

    Fails if the batch is broken: a column is missing or has text for numbers, a critical expectation about the batch
    fails, or more than `validate.max_quarantined` of the rows cannot be used. Inconclusive without rows, and below
    `validate.min_rows` unless the columns themselves are wrong. Thread-safe. Raises ConfigError for an unknown
    expectation or wrong arguments.
    """
    if not config.validation.expectations:
        raise ConfigError(
            config.model, [str(Mistake(_PLACE, "an empty suite would pass anything; declare at least one"))]
        )
    if not len(rows):
        return _no_data(facts, config)
    if isinstance(rows, pd.DataFrame) and not rows.index.equals(pd.RangeIndex(len(rows))):
        rows = rows.reset_index(drop=True)  # GX names failing rows by their index
    absent = sorted({*facts.get("missing", []), *(c for c in config.input_columns if c not in rows)})
    text = [c for c in config.numeric_columns if c not in absent and not dtypes.is_numeric_dtype(rows[c])]
    checks = [*always(rows, config, facts, absent, text), *_declared(rows, config, facts, absent)]
    unfit = {**dict.fromkeys(absent, "is missing"), **dict.fromkeys(text, "does not hold numbers")}
    results = {i: c.result or _not_run(c, unfit) for i, c in enumerate(checks)}
    if left := {i: checks[i] for i, result in results.items() if result is None}:
        results |= ask(rows, [c for c in config.input_columns if c not in absent], left)
    checked = [(c, _shown(c, r, config)) for c, r in zip(checks, results.values(), strict=True) if r is not None]
    return _summarise(rows, config, facts, checked)


def problems(declared: Mapping[int, ExpectationConfig]) -> list[Mistake]:
    """Find invalid expectations, by their positions, without data. Imports Great Expectations."""
    return [Mistake((*_PLACE, i, *at), what) for i, one in declared.items() for at, what in _mistakes(one)]


def _no_data(facts: Facts, config: ModelConfig) -> ValidationResult:
    """A batch without rows: nothing was checked."""
    count = Check("expect_table_row_count_to_be_between", {"min_value": 1}, Outcome.INCONCLUSIVE)
    checks = (_checked(count, Result(False, {"observed_value": 0})),)
    left_out = _left_out(facts)
    verdict = Verdict.inconclusive(CHECK, "no data", rows=0, quarantined=0, left_out=left_out)
    oddities = _oddities(facts, config.ingest.missing)
    return ValidationResult(verdict, _row_failures(()), (), oddities, checks, 0, 0, left_out)


# Expectations of the config


def _declared(rows: Rows, config: ModelConfig, facts: Facts, absent: Sequence[str]) -> Iterator[Check]:
    if mistakes := problems(dict(enumerate(config.validation.expectations))):
        raise ConfigError(config.model, [str(m) for m in mistakes])
    for declared in config.validation.expectations:
        kwargs = dict(declared.kwargs)
        column = str(kwargs.get("column"))
        if column in rows and column not in absent:
            values, listed = rows[column], kwargs.get("value_set")
            if dtypes.is_datetime64_any_dtype(values):
                # GX compares times only with datetimes; YAML and text have dates.
                kwargs |= {k: _moment(kwargs[k]) for k in ("min_value", "max_value") if k in kwargs}
            if isinstance(listed, list):
                kwargs["value_set"] = _as_landed(listed, values, facts.get("kinds", {}).get(column))
        yield Check(declared.type, kwargs, _outcome(declared))


def _as_landed(values: list[Any], column: pd.Series[Any], kind: ColumnKind | None) -> list[Any]:
    """A set's values as the column has them, however they are written in the YAML."""
    if dtypes.is_numeric_dtype(column):
        numbers = pd.to_numeric(
            as_text(pd.Series(values, dtype=object)).replace({"true": "1", "false": "0"}), errors="coerce"
        )
        return [
            v if isinstance(v, int | float) or pd.isna(n) else n for v, n in zip(values, numbers.tolist(), strict=True)
        ]
    if dtypes.is_datetime64_any_dtype(column):
        return values
    return canonical_text(pd.Series(values, dtype=object), kind or "text").tolist()


def _outcome(declared: ExpectationConfig) -> Outcome:
    if declared.severity == "warning":
        return Outcome.WARNING
    by_row = engine.judges_values(engine.implementations()[declared.type]) and "mostly" not in declared.kwargs
    level = declared.level or ("row" if by_row else "batch")
    return Outcome.QUARANTINE if level == "row" else Outcome.BROKEN


def _moment(bound: object) -> object:
    if isinstance(bound, date) and not isinstance(bound, datetime):
        return datetime.combine(bound, time())
    return datetime.fromisoformat(bound) if isinstance(bound, str) else bound


def _mistakes(declared: ExpectationConfig) -> Iterator[Mistake]:
    """The mistakes in one expectation, with the rest of their place."""
    kind = engine.implementations().get(declared.type)
    if kind is None:
        lists = "https://greatexpectations.io/expectations lists them"
        mend = did_you_mean(declared.type, engine.implementations(), lists)
        yield Mistake(("type",), f"Great Expectations has no {declared.type}; {mend}")
        return
    if declared.type in _NEED_DATABASE:
        mend = "put its query into ingest.source"
        yield Mistake(("type",), f"{declared.type} needs a database, and landed rows are files; {mend}")
    elif misplaced := sorted(_NOT_ARGUMENTS & declared.kwargs.keys()):
        what = "not an argument; an expectation has type, kwargs, severity and level"
        yield from (Mistake(("kwargs", name), what) for name in misplaced)
    elif declared.level == "row" and not engine.judges_values(kind):
        what = f"{declared.type} judges the batch as a whole and cannot name rows; leave level out"
        yield Mistake(("level",), what)
    else:
        try:
            kind(**declared.kwargs)
        except (TypeError, ValueError) as error:
            yield from _wrong_arguments(error, list(kind.__fields__))


def _wrong_arguments(error: Exception, names: list[str]) -> Iterator[Mistake]:
    """Describe pydantic's findings: the first one on each argument, or the first one on all of them together."""
    listed: list[dict[str, Any]] = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": error}]
    findings = [(str((*f["loc"], "__root__")[0]), str(f["msg"])) for f in listed]
    messages: dict[str, str] = {}
    for argument, message in findings:
        messages.setdefault(argument, message)
    together = messages.pop("__root__", "")
    for argument, message in messages.items():
        if argument not in names:
            message = "; ".join(filter(None, ("there is no such argument", did_you_mean(argument, names))))
        yield Mistake(("kwargs", argument), message)
    if not messages:
        yield Mistake(("kwargs",), together)


# Outcomes


def _not_run(check: Check, unfit: Mapping[str, str]) -> Result | None:
    """A check of an unusable column adds nothing; that column is a failure of its own."""
    bad = [f"{column} {unfit[column]}" for column in check.columns if column in unfit]
    finds_it = check.outcome is Outcome.MALFORMED
    return Result(False, problem=", ".join(bad), ran=False) if bad and not finds_it else None


def _shown(check: Check, result: Result, config: ModelConfig) -> Result:
    """A result as reports and reasons may show it: without values of a column with personal data."""
    return without_values(result) if any(map(config.governance.is_personal, check.columns)) else result


def _summarise(
    rows: Rows, config: ModelConfig, facts: Facts, checked: Sequence[tuple[Check, Result]]
) -> ValidationResult:
    limits = config.validation
    failed = [(c, r) for c, r in checked if r.ran and not r.success]
    messages = {outcome: [c.message(r) for c, r in failed if _means(c, r) is outcome] for outcome in Outcome}
    set_aside = [(c, r) for c, r in failed if _means(c, r) is Outcome.QUARANTINE]
    row_failures = _row_failures([(c.label, rows[ROW_ID].to_numpy()[r.failing]) for c, r in set_aside])
    quarantined, left_out = row_failures[ROW_ID].nunique(), _left_out(facts)
    share = (quarantined + left_out) / (len(rows) + left_out)
    few = bool(messages[Outcome.INCONCLUSIVE])
    too_many = (
        f"{share:.2%} of the rows cannot be used, more than {limits.max_quarantined:.2%} (validate.max_quarantined)"
    )
    over = [too_many] if share > limits.max_quarantined and not few else []
    broken = [*messages[Outcome.MALFORMED], *over, *messages[Outcome.BROKEN]]
    figures = {"rows": len(rows), "quarantined": quarantined, "left_out": left_out, "share": share}
    reasons = (*messages[Outcome.INCONCLUSIVE], *broken, *messages[Outcome.QUARANTINE])
    if messages[Outcome.MALFORMED] or (broken and not few):
        verdict = Verdict.failed(CHECK, *reasons, **figures)
    elif few:
        verdict = Verdict.inconclusive(CHECK, *reasons, **figures)
    else:
        verdict = Verdict.passed(CHECK, *reasons, **figures)
    checks = tuple(_checked(c, r) for c, r in checked)
    warnings = (*messages[Outcome.WARNING], *_oddities(facts, config.ingest.missing))
    return ValidationResult(verdict, row_failures, tuple(broken), warnings, checks, len(rows), quarantined, left_out)


def _means(check: Check, result: Result) -> Outcome:
    """The outcome of a failure: a check about rows that could not run names no rows, and breaks the batch."""
    return Outcome.BROKEN if result.problem and check.outcome is Outcome.QUARANTINE else check.outcome


def _row_failures(failing: Sequence[tuple[str, Any]]) -> pd.DataFrame:
    ids = [np.empty(0, np.int64), *(row_ids for _, row_ids in failing)]
    labels = np.repeat(np.array([label for label, _ in failing], dtype=object), [len(i) for i in ids[1:]])
    return pd.DataFrame({ROW_ID: np.concatenate(ids), "expectation": labels})


def _left_out(facts: Facts) -> int:
    timeless = int(facts.get("null_times", 0))
    return int(facts.get("null_keys", 0)) + (timeless if timeless > _FEW else 0)


def _oddities(facts: Facts, missing: Mapping[str, Sequence[object]]) -> tuple[str, ...]:
    odd = [words.format(facts[name]) for name, words in _ODD.items() if facts.get(name)]
    for column, counts in facts.get("coerced", {}).items():
        if counts["parsed"] or counts["failed"]:
            odd.append(f"{column}: {counts['parsed']:,} texts read as numbers, {counts['failed']:,} values were none")
    for column, count in facts.get("sentinels", {}).items():
        values = dict.fromkeys([*missing.get(column, ()), *missing.get(ALL_COLUMNS, ())])
        odd.append(f"{column}: {count:,} values {' or '.join(map(str, values))} count as missing")
    for column, count in facts.get("respelled", {}).items():
        odd.append(f"{column}: {count:,} values such as 101.0 are read as 101: its first batch held whole numbers only")
    for column, count in facts.get("rounded", {}).items():
        odd.append(f"{column}: {count:,} numbers have more digits than a float holds; declare it text in ingest.types")
    for column, counts in facts.get("rewritten", {}).items():
        odd += [REWRITTEN[what].format(column=column, count=count) for what, count in counts.items()]
    odd += odd_outcomes(facts)
    odd += [f"{column} mixes types and is kept as text" for column in facts.get("mixed", [])]
    if extra := facts.get("extra"):
        odd.append(f"columns that the config does not name were left out: {', '.join(extra)}")
    return tuple(odd)


def _checked(check: Check, result: Result) -> CheckResult:
    kwargs, r = plain(check.kwargs), result
    return CheckResult(check.label, check.type, kwargs, check.outcome, r.success, r.figures, r.problem, r.ran)
