"""Refit: fits the accepted recipe again with the gate window included, and checks that it is still the judged model."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
from sklearn.pipeline import Pipeline

from trueup.crash import reach
from trueup.domain.learning.learning import all_classes, predict_each
from trueup.domain.types import Figures, Status, Verdict, overall
from trueup.handoffs import Refitted, Trained
from trueup.model import Model
from trueup.reporting.jobs import SAMPLE_ROWS
from trueup.stages.clean_process import reproduced
from trueup.stages.export import checked_form
from trueup.stages.features import Examples, examples
from trueup.stages.register import register
from trueup.stages.train import fit_again


def refit(model: Model, judged: Trained, as_of: datetime) -> Refitted:
    """Fit again, compare with the judged model on the gate rows, and register a model that passes.

    The refitted model must have the judged one's schema, load in a second process with the predictions of the fitted
    object, and stay near the judged one: mean absolute difference within `promote.max_refit_shift` of the predictions'
    spread. With `export.required` its ONNX form must pass the checks, too.
    """
    before = model.home.fits.spent
    again = fit_again(model, judged, as_of)
    seconds = round(model.home.fits.spent - before, 3)
    reach("refit.fitted")
    gate = examples(model, judged.gate, as_of)
    fitted = model.home.registry.load(again.uri, again.manifest_digest)
    verdict = _compare(model, judged, again, fitted, gate)
    verdict = replace(verdict, figures={**verdict.figures, "seconds": seconds})
    exported = None
    if verdict.ok and (settings := model.config.export) is not None:
        rows, _ = gate.sample(SAMPLE_ROWS, model.config.train.seed)
        exported = checked_form(model, again, fitted, rows, " of the refit")
        status = overall(exported.verdicts)
        if settings.required and status is not Status.PASS:
            reasons = tuple(r for v in exported.verdicts if v.status is status for r in v.reasons)
            verdict = replace(verdict, status=status, reasons=reasons)
    candidate = register(model, again, "refitted") if verdict.ok else None
    return Refitted(again, verdict, candidate, exported)


def _compare(model: Model, judged: Trained, again: Trained, after: Pipeline, gate: Examples) -> Verdict:
    name, limit = "refit", model.config.promote.max_refit_shift
    before = model.home.registry.load(judged.uri, judged.manifest_digest)
    if list(before.feature_names_in_) != list(after.feature_names_in_):
        return Verdict.failed(name, "the refitted model has other columns than the judged one")
    classes = all_classes(model.config.task, [before, after])
    old, new = predict_each({"old": before, "new": after}, gate.inputs, model.config.task, classes).values()
    moved = float(np.mean(np.abs(new - old)))
    # A constant has no spread, so its limit is measured by the outcomes' spread.
    constant = classes is None and np.ptp(old) <= 1e-12 * np.abs(old).max()
    spread = float(np.std(gate.y.astype(float)) if constant else np.std(old))
    figures: Figures = {"mean_change": moved, "spread": spread, "limit": limit}
    same = reproduced(model, again)
    figures |= {f"fresh_{key}": value for key, value in same.figures.items()}
    if not same.ok:
        return Verdict(name, same.status, same.reasons, figures)
    share = f"{moved / spread:.1%} of their spread" if spread else f"{moved:.3g}"
    if moved > limit * spread:
        return Verdict.failed(
            name, f"its predictions on the gate rows moved by {share}, more than {limit:.0%}", **figures
        )
    return Verdict.passed(name, f"its predictions on the gate rows moved by {share}", **figures)
