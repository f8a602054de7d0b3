"""Refit: fit the accepted recipe again with the gate window included, and see that it is still the model that was judged."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np

from trueup.adapters import frames
from trueup.adapters.model_files import FreshProcess
from trueup.config.schema import ModelConfig
from trueup.domain.learning import all_classes, class_names, predict
from trueup.domain.types import Verdict
from trueup.stages.features import Examples, examples
from trueup.stages.ports import Ports
from trueup.stages.references import Refitted, Trained
from trueup.stages.register import register
from trueup.stages.train import fit_again

_FRESH_ROWS = 1_000  # enough to show that the files alone give the same predictions


def refit(config: ModelConfig, ports: Ports, judged: Trained, as_of: datetime) -> Refitted:
    """Fit again, compare with the judged model on the gate rows, and register what passes.

    The refitted model must have the judged one's schema, load in a fresh process with the same predictions, and stay
    near the judged one: mean absolute difference within `promote.max_refit_shift` of the predictions' spread.
    """
    with FreshProcess() as fresh:  # it starts while this process fits
        again = fit_again(config, ports, judged, as_of)
        gate = examples(config, ports, judged.gate, as_of)
        verdict = _compare(config, ports, judged, again, gate, fresh)
    candidate = register(config, ports, again, "refitted") if verdict.ok else None
    return Refitted(again, verdict, candidate)


def _compare(
    config: ModelConfig, ports: Ports, judged: Trained, again: Trained, gate: Examples, fresh: FreshProcess
) -> Verdict:
    name, limit = "refit", config.promote.max_refit_shift
    before = ports.registry.load(judged.uri, judged.manifest_digest)
    after = ports.registry.load(again.uri, again.manifest_digest)
    if list(before.feature_names_in_) != list(after.feature_names_in_):
        return Verdict.failed(name, "the refitted model takes other columns than the judged one")
    classes = all_classes(config.task, [before, after])
    old, new = (predict(model, gate.X, config.task, classes) for model in (before, after))
    spread, moved = float(np.std(old)), float(np.mean(np.abs(new - old)))
    figures = {"mean_change": moved, "spread": spread, "limit": limit}
    own = class_names(config.task, after)
    here = new if own is None or classes is None else new[:, [classes.index(c) for c in own]]
    if not _same_elsewhere(config, ports, again, gate, here, fresh):
        return Verdict.failed(name, "loaded in a fresh process, the refitted model predicts otherwise", **figures)
    share = f"{moved / spread:.1%} of their spread" if spread else f"{moved:.3g}"
    if moved > limit * spread:
        return Verdict.failed(
            name, f"its predictions on the gate rows moved by {share}, more than {limit:.0%}", **figures
        )
    return Verdict.passed(name, f"its predictions on the gate rows moved by {share}", **figures)


def _same_elsewhere(
    config: ModelConfig, ports: Ports, again: Trained, gate: Examples, here: np.ndarray, fresh: FreshProcess
) -> bool:
    """Whether the registered files alone give the same predictions in another process."""
    with ports.registry.files(again.uri) as folder, tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.parquet"
        frames.write(frames.to_table(gate.X.head(_FRESH_ROWS)), rows, durable=False)
        there = fresh.predict(folder, again.manifest_digest, rows, config.task)
    return bool(np.allclose(there, here[:_FRESH_ROWS], rtol=0, atol=1e-9))
