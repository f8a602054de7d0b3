"""The part of a dossier about data and figures: each file and batch that the record names, compared with today's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from trueup.config.schema import ModelConfig
from trueup.config.sections.ingest import SourceConfig
from trueup.config.tasks import Task
from trueup.domain.judging import gates
from trueup.domain.judging.metrics import calibration_table
from trueup.domain.monitoring.estimates.estimate import Estimate
from trueup.domain.types import EVENT_TIME, LABEL, ROW_ID, Metric, Verdict
from trueup.errors import RegistryUnavailable, UntrustedModel, WorkError
from trueup.handoffs import FITTED, prediction_columns, prediction_of
from trueup.home import Home
from trueup.ledger.record import Challenge, Evaluated, Made
from trueup.model import MONITOR, Model
from trueup.reporting.dossier_facts import (
    CHANGED,
    GONE,
    RIGHT,
    CalibrationBin,
    Check,
    Column,
    File,
    Fit,
    Measured,
    ReadInput,
    ServedBatch,
    Worse,
)

_MOST_CATEGORIES = 3
_INFORMS = "For information: it decides nothing, because `export.required` was off."


def fitted(body: Challenge, own: Made) -> Fit:
    """The rows that this version was fitted on, and the version that was judged."""
    return Fit(
        **own.fitted_on.plain(),
        refitted=own.version != body.judged.version,
        judged_version=body.judged.version,
        judged=body.judged.fitted_on,
        features=body.model.features,
    )


def batches(home: Home, body: Challenge) -> list[ReadInput]:
    """The revisions that training or judging read, each compared with today's."""
    return [
        ReadInput(state=home.store.state(i.dataset, i.window, i.revision, i.sha256), **i.plain()) for i in body.inputs
    ]


def source_words(config: ModelConfig) -> str:
    """The source of the rows, by today's config, which holds no passwords."""
    label = config.ingest.label.source
    apart = "" if label is None else f"; the outcomes, joined by key, from {_source(label)}"
    return f"{_source(config.ingest.source)}{apart}"


def _source(source: SourceConfig) -> str:
    """The kind of a source, and its settings that are not defaults."""
    settings = source.model_dump(mode="json", exclude_defaults=True)
    others = ", ".join(f"{k} {v}" for k, v in settings.items() if k != "kind" and isinstance(v, str))
    return f"a source of kind {source.kind}" + (f" ({others})" if others else "")


def label_words(config: ModelConfig) -> str:
    """How the label is made from its column, unless it is the value itself."""
    label = config.ingest.label
    unit = f" {label.unit}" if label.unit else ""
    if label.above is not None:
        return f", 1 where it is above {label.above:g}{unit}"
    return f", 1 where it is {label.positive!r}" if label.positive is not None else unit and f" ({label.unit})"


@dataclass(frozen=True)
class _Served:
    """The part of a monitoring result that a dossier shows."""

    champion: int | None
    diagnosis: str
    matured: int
    metrics: tuple[Metric, ...]
    estimate: Estimate | None = None


def served(model: Model, version: int) -> list[ServedBatch]:
    """The newest monitoring of each batch that the version served."""
    every = model.home.store.results(model.config.model, MONITOR, _Served)
    by_window = {r.window: r.body for r in every if r.body.champion == version}
    return [
        ServedBatch(
            start=window.start,
            end=window.end,
            diagnosis=body.diagnosis,
            labels=body.matured,
            estimated=body.estimate.metrics[0].value if body.estimate and body.estimate.metrics else None,
            **{k: getattr(body.metrics[0], k) if body.metrics else None for k in ("value", "low", "high")},
        )
        for window, body in sorted(by_window.items())
    ]


def files(home: Home, body: Challenge, own: Made) -> list[File]:
    """The files that the record names."""
    evaluation = body.evaluation
    named = [
        ("predictions for the gate rows", evaluation.path, evaluation.digest),
        ("sample of the gate rows", evaluation.sample_path, evaluation.sample_digest),
        ("sample of the training rows", own.baseline_path, own.baseline_digest),
    ]
    rest = [File(what=what, digest=digest, state=_state(home, path, digest)) for what, path, digest in named]
    state = _model_state(home, own)
    # The digest of the model's files covers the ONNX form, so it has the same state.
    form = body.export and (body.export.judged if own.version == body.judged.version else body.export.refit)
    forms = [File(what="its ONNX form, among them", digest=form.sha256, state=state)] if form and form.sha256 else []
    return [File(what="the model's files", digest=own.manifest_digest, state=state), *forms, *rest]


def _model_state(home: Home, own: Made) -> str:
    try:
        home.registry.check(own.uri, own.manifest_digest)
    except RegistryUnavailable as error:
        return f"could not be read: {error}"
    except UntrustedModel as error:
        return f"{CHANGED}: {error}"
    return RIGHT


def _state(home: Home, path: str, digest: str | None) -> str:
    now = home.store.evaluation_digest(path)
    if now is None:
        return GONE
    return RIGHT if now == digest else CHANGED


def checks(body: Challenge, config: ModelConfig) -> list[Check]:
    """The verdicts, each with its heading and its rule."""
    informing = () if body.export is None or body.export.required else body.export.informing
    return [_check(v, config, _INFORMS if v in informing else "") for v in body.checks]


def _check(verdict: Verdict, config: ModelConfig, remark: str) -> Check:
    configured = config.promote.gates
    return Check(
        check=verdict.check,
        status=verdict.status,
        reasons=verdict.reasons,
        figures=verdict.figures,
        heading=gates.heading(verdict.check, configured),
        rule=remark or gates.rule(verdict.check, verdict.figures, configured),
    )


def evaluation(home: Home, recorded: Evaluated) -> tuple[Measured, pd.DataFrame | None]:
    """The figures of the judgement, and the rows behind them if they are unchanged."""
    state, frame = _state(home, recorded.path, recorded.digest), None
    if state == RIGHT:
        try:
            frame = home.store.read_evaluation(recorded.path)
        except WorkError:
            state = CHANGED
    own = {name: value for name, value in recorded.plain().items() if name != "schema"}
    return Measured(state=state, worse=_worse(recorded), **own), frame


def _worse(evaluation: Evaluated) -> Worse:
    """Slices in which the whole interval is above the overall loss, or above the champion's."""
    overall = evaluation.metrics.get("challenger", {}).get(evaluation.loss)
    worst_first = sorted(evaluation.slices, key=lambda s: -s.challenger)
    return Worse(
        than_average=[s for s in worst_first if s.low is not None and overall is not None and s.low > overall],
        than_champion=[s for s in worst_first if (s.difference_low or 0) > 0],
        too_small=[s for s in worst_first if s.low is None],
    )


def calibration(
    config: ModelConfig, classes: list[str] | None, frame: pd.DataFrame | None
) -> list[CalibrationBin] | None:
    """Predicted and observed shares on the gate rows; None for other tasks, or without the rows."""
    if config.task is not Task.BINARY or frame is None:
        return None
    table = calibration_table(frame[LABEL], prediction_of(frame, "challenger", classes))
    return [CalibrationBin.model_validate(row) for row in table.to_dict("records")]


def baseline(home: Home, own: Made) -> list[Column] | None:
    """Each feature in the training rows, which drift is measured against. None when the sample is gone or changed."""
    if _state(home, own.baseline_path, own.baseline_digest) != RIGHT:
        return None
    frame = home.store.read_evaluation(own.baseline_path)
    predicted = tuple(prediction_columns(FITTED, None))
    others = [name for name in frame if name not in {ROW_ID, EVENT_TIME, LABEL} and not str(name).startswith(predicted)]
    return [_column(frame[name]) for name in others]


def _column(values: pd.Series[Any]) -> Column:
    column = Column(feature=str(values.name), rows=len(values), missing=float(values.isna().mean()))
    if pd.api.types.is_numeric_dtype(values):
        low, middle, high = (float(q) if pd.notna(q) else None for q in values.quantile([0.05, 0.5, 0.95]))
        return column.model_copy(update={"low": low, "middle": middle, "high": high})
    shares = values.astype(str).value_counts(normalize=True)
    most = {str(k): float(v) for k, v in shares.head(_MOST_CATEGORIES).items()}
    return column.model_copy(update={"categories": len(shares), "most": most})
