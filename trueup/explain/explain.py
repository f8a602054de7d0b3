"""Explain one prediction: what was served for a row, from which features, and how they made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from trueup.config.tasks import Task
from trueup.domain.learning.learning import predict
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Batch
from trueup.errors import NoData, WorkError
from trueup.explain.case import Case, Privacy, plain
from trueup.explain.contributions import contributions
from trueup.explain.explanation import Explanation, Outcome, Served
from trueup.explain.features import as_used
from trueup.explain.keys import Found, find, parsed
from trueup.explain.neighbours import neighbours
from trueup.explain.rows import row_of
from trueup.explain.slices import slices
from trueup.explain.version import Version, version_of
from trueup.model import Model
from trueup.stages.features import features_of_row

_SAME: Final = 1e-9  # of two predictions: what another processor's last bits may do to a sum
_PARTS: Final = {
    "features": as_used,
    "contributions": contributions,
    "nearest training rows": neighbours,
    "slices": slices,
}


def explain(
    model: Model,
    key: str | Mapping[str, str],
    at: datetime | None = None,
    version: int | None = None,
    personal: bool = False,
) -> Explanation:
    """Explain the prediction of the row with a key, see `keys.parsed` for its form. Nothing in the home is changed.

    `at` is a moment of the row's batch, for a key that is in several. `version` is another version than the one that
    served: its prediction is made here and was served to nobody. Values of personal columns are hidden unless `personal`.

    What cannot be shown, such as what a version makes of the row whose files are gone, is a note of the result. Raises
    UsageError for a wrong key, one of several rows, and a version that no decision names; NoData for a key of no row.
    """
    named = parsed(model.config, key) if isinstance(key, str) else dict(key)
    privacy = Privacy(model.config, personal)
    found = find(model, named, at, not any(map(privacy.hides, model.config.ingest.key)))
    row = row_of(model.home, found.batch.rows, found.row_id)
    assert row is not None  # it was just found there
    known = _known(model, found, row, privacy)
    number = version if version is not None else known.served.version if known.served else None
    if number is None:
        current = model.champion()
        number = None if current is None else current.version
    if number is None:
        name = model.config.model
        return _noted(known, f"{name} has no champion yet, so nothing predicts the row; next: trueup run {name}")
    return _by(model, known, found, row, version_of(model, number), privacy)


def _noted(known: Explanation, *notes: str) -> Explanation:
    return replace(known, notes=(*known.notes, *notes))


def _known(model: Model, found: Found, row: pd.Series[Any], privacy: Privacy) -> Explanation:
    """What is recorded about a row, without any version."""
    store, batch, row_id = model.home.store, found.batch, found.row_id
    failed = store.quarantined(batch.rows)
    own = {ROW_ID, EVENT_TIME} - {model.config.ingest.time}  # columns of ours, unless the source has one of that name
    values = {str(c): privacy.shown(str(c), v) for c, v in row.items() if c not in own}
    served, outcome = _served(model, batch, row_id), _outcome(model, batch, row_id)
    known = Explanation(
        model=model.config.model,
        key={c: str(values[c]) for c in model.config.ingest.key},
        row_id=row_id,
        batch=batch.window,
        revision=batch.rows.revision,
        event_time=row[EVENT_TIME].to_pydatetime(),
        row=values,
        quarantined=tuple(failed.loc[failed[ROW_ID] == row_id, "expectation"].map(str)),
        served=served,
        version=None,
        recomputed=None,
        difference=None,
        outcome=outcome,
    )
    return known if served else _noted(known, _unserved(model, known))


def _unserved(model: Model, known: Explanation) -> str:
    if known.quarantined:
        return "nothing was predicted for the row, because it is in quarantine"
    if model.home.store.predictions_removed(model.config.model, known.batch):
        return "what was predicted for the row was removed, because the retention of predictions is over"
    serves = model.config.serve is not None
    return "nothing was predicted for the row" + (
        "; what a server logged is stored at the next `trueup run`" if serves else ""
    )


def _served(model: Model, batch: Batch, row_id: int) -> Served | None:
    store, name = model.home.store, model.config.model
    rows = store.read_predictions(name, batch.window)
    rows = rows[rows[ROW_ID] == row_id]
    if rows.empty:
        return None
    row = rows.iloc[0]
    multiclass = model.config.task is Task.MULTICLASS
    shares = {str(c)[2:]: float(row[c]) for c in rows.columns if str(c).startswith("p_") and not pd.isna(row[c])}
    version = int(row["model_version"])
    online = store.has_served(name, batch.window) and bool(
        (store.read_served(name, batch.window, version, ())[ROW_ID] == row_id).any()
    )
    prediction = str(row["prediction"]) if multiclass else float(row["prediction"])
    made = row["predicted_at"].to_pydatetime()
    return Served(version, prediction, shares if multiclass else None, made, online)


def _outcome(model: Model, batch: Batch, row_id: int) -> Outcome | None:
    labels = model.home.store.read(batch.labels, [ROW_ID, LABEL, KNOWN_AT])
    labels = labels[labels[ROW_ID] == row_id]
    if labels.empty:
        return None
    value, known = labels.iloc[0][LABEL], labels.iloc[0][KNOWN_AT]
    return Outcome(plain(value), None if pd.isna(known) else known.to_pydatetime())


def _by(
    model: Model, known: Explanation, found: Found, row: pd.Series[Any], version: Version, privacy: Privacy
) -> Explanation:
    """Add what a version makes of the row."""
    known = replace(known, version=version.number)
    if known.served is None or known.served.version != version.number:
        known = _noted(known, f"version {version.number} explains the row; it did not serve it")
        if known.event_time < version.made.trained_until:
            known = _noted(known, f"version {version.number} may have been trained on the row: its newest is later")
    if known.quarantined:
        return _noted(known, "a row in quarantine has no features; `trueup quarantine release` takes it back into use")
    try:
        frame = features_of_row(model, found.batch, found.row_id, version.made.features)
        if frame.empty:
            raise NoData(
                "the row has no features, because its batch is broken or was not validated by the present rules"
            )
        fitted = version.made.load(model.home)
    except WorkError as error:
        return _noted(known, f"not explained by version {version.number}: {error}")
    predicted = predict(fitted, frame, model.config.task)[0]
    classes = [str(c) for c in fitted.classes_] if model.config.task is Task.MULTICLASS else None
    target = None if classes is None else classes[int(np.argmax(predicted))]
    made = float(predicted) if classes is None else dict(zip(classes, predicted.tolist(), strict=True))
    known = replace(known, recomputed=target or float(predicted), target=target)
    known = _compared(model, found, row, known, made, privacy)
    case = Case(model, found.batch, known, row, version, frame, fitted, privacy)
    for what, make in _PARTS.items():
        try:
            parts, notes = make(case)
        except WorkError as error:
            parts, notes = {}, (f"no {what}: {error}",)
        known = _noted(replace(known, **parts), *notes)
    return known


def _compared(
    model: Model, found: Found, row: pd.Series[Any], known: Explanation, predicted: Any, privacy: Privacy
) -> Explanation:
    """Compare the prediction that was just made, by class for a multiclass task, with the served one of the same version."""
    served = known.served
    if served is None or served.version != known.version:
        return known
    if isinstance(predicted, dict):
        shares = served.probabilities or {}
        difference = max((p - shares.get(c, 0.0) for c, p in predicted.items()), key=abs)
        size = 1.0
    else:
        difference, size = predicted - float(served.prediction), max(1.0, abs(predicted))
    same = abs(difference) <= _SAME * size
    known = replace(known, difference=difference, same=same)
    if same:
        return known
    reason = (
        "a server answered, with its own features and in the precision of its graph"
        if served.online
        else "the batch or its history was corrected since, or a server answered"
    )
    return _noted(
        known,
        f"the features below make a prediction that differs by {difference:.3g} from the served one, which stays: {reason}",
        *_earlier(model, found, row, privacy),
    )


def _earlier(model: Model, found: Found, row: pd.Series[Any], privacy: Privacy) -> Iterator[str]:
    """How the row was in the earlier revisions of its batch that are still there."""
    ref = found.batch.rows
    for number in range(ref.revision - 1, 0, -1):
        try:
            before = row_of(model.home, model.home.store.revision(ref.dataset, ref.window, number), found.row_id)
        except WorkError as error:
            yield str(error)
            continue
        if before is None:
            yield f"revision {number} of the batch did not have the row"
            continue
        changed = [str(c) for c in before.index if c in row and plain(before[c]) != plain(row[c])]
        if changed:
            values = ", ".join(f"{c}={privacy.shown(c, before[c])}" for c in changed)
            yield f"in revision {number} of the batch, the row had {values}"
