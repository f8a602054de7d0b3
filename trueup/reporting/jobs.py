"""Reports, rendered beside or after the decision: nothing here is waited for until the home is closed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from trueup.adapters import evidently
from trueup.adapters.great_expectations.validation import ValidationResult
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.data.types import EVENT_TIME, LABEL, Batch, Window
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.bootstrap import paired_interval
from trueup.domain.judging.gates import CHALLENGER, CHAMPION
from trueup.domain.judging.metrics import loss_words, row_losses
from trueup.domain.learning.learning import permutation_importance
from trueup.domain.monitoring.drift import DriftResult
from trueup.handoffs import Attempt, Evaluation, Trained, prediction_of
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.model import Model
from trueup.reporting import data_docs, model_plots, run_report

IMPORTANCE = "importance.png"
SAMPLE_ROWS = 2_000  # kept of the gate rows, for the importance of the features


def data_docs_folder(root: Path) -> Path:
    """Where the Data Docs of all models lie."""
    return root / "reports" / "data_docs"


def validation_page(root: Path, model: str, batch: Batch) -> Path:
    """Where the page of a validated batch lies."""
    return data_docs_folder(root) / model / f"{batch.window.start:%Y-%m-%d}_r{batch.rows.revision}.html"


def drift_folder(root: Path, model: str) -> Path:
    """Where the drift reports of a model's batches lie."""
    return root / "reports" / "drift" / model


def drift_page(root: Path, model: str, window: Window) -> Path:
    """Where the drift report of a batch lies."""
    return drift_folder(root, model) / f"{window.start:%Y-%m-%d}.html"


def workspace_folder(root: Path) -> Path:
    """Where Evidently's workspace lies, which its UI shows."""
    return root / "evidently"


def run_folder(root: Path, model: str, run_id: str) -> Path:
    """Where the report of a retrain lies."""
    return root / "reports" / "runs" / model / run_id


def show_validation(model: Model, batch: Batch, as_of: datetime, result: ValidationResult) -> None:
    """Write the result down now, and let its page be made."""
    folder = data_docs_folder(model.home.root)
    data_docs.save(folder, model.config.model, batch.rows, as_of, result)
    model.home.background.submit(f"the Data Docs in {folder}", data_docs.render, folder)


def show_drift(
    model: Model,
    window: Window,
    samples: tuple[pd.DataFrame, pd.DataFrame],
    schema: FeatureSchema,
    result: DriftResult,
) -> None:
    """Let Evidently's page of a batch be made."""
    page = drift_page(model.home.root, model.config.model, window)
    shelf = evidently.Shelf(workspace_folder(model.home.root), model.config.model, window)
    job = (*samples, schema, page, result.limits, shelf)
    model.home.background.submit(f"the drift report {page}", evidently.render, *job)


def show_run(model: Model, attempt: Attempt, entry: Entry) -> None:
    """Let the report of a retrain be made, with its pictures, and kept with its MLflow run."""
    if attempt.trained is None or attempt.evaluation is None:
        return
    facts = {
        **entry.body,
        "sequence": entry.seq,
        "as_of": entry.as_of.isoformat(),
        "name": model.config.model,
        "unit": model.config.ingest.label.unit,
    }
    job = (model.home.settings, model.config, attempt.trained, attempt.evaluation, facts)
    folder = run_folder(model.home.root, model.config.model, attempt.trained.run_id)
    model.home.background.submit(f"the report of a retrain in {folder}", draw_run, *job)


def draw_run(
    settings: Settings, config: ModelConfig, trained: Trained, evaluation: Evaluation, facts: dict[str, Any]
) -> Path:
    """Draw a retrain's pictures and page, and keep them with its run."""
    home = Home(settings)
    folder = run_folder(home.root, config.model, trained.run_id)
    pictures = drawn(Model(config, home), facts["evaluation"]) | {
        IMPORTANCE: _importance(Model(config, home), trained, evaluation)
    }
    model_plots.write(pictures, folder)
    page = run_report.write(folder, facts, pictures)
    if evaluation.slices:
        pd.DataFrame(evaluation.slices).to_csv(folder / "slices.csv", index=False)
    home.tracking.log_files(trained.run_id, folder, "report")
    home.close()
    return page


def drawn(model: Model, evaluation: Mapping[str, Any]) -> dict[str, bytes]:
    """Pictures of what models said about the gate rows, from the evaluation as the ledger has it. Raises WorkError."""
    frame, classes = model.home.store.read_evaluation(evaluation["path"]), evaluation.get("classes")
    y = frame[LABEL].to_numpy()
    roles = evaluation.get("predicted", list(evaluation["metrics"]))
    predictions = {role: prediction_of(frame, role, classes) for role in roles}
    unit = model.config.ingest.label.unit
    found, loss = dict[str, bytes](), loss_words(model.config.task, unit)
    if CHAMPION in predictions:
        losses = {r: row_losses(model.config.task, y, predictions[r], classes) for r in (CHALLENGER, CHAMPION)}
        apart, times, e = losses[CHALLENGER] - losses[CHAMPION], frame[EVENT_TIME], model.config.evaluate
        bounds = paired_interval(apart, times, e.block, e.confidence)
        found["challenger_against_champion.png"] = model_plots.loss_difference(times, apart, bounds, loss)
    with suppress(ValueError):  # labels of one class have no curve; the rest of the page says why nothing was decided
        found |= model_plots.performance_plots(model.config.task, y, predictions[CHALLENGER], classes, unit)
    return found


def _importance(model: Model, trained: Trained, evaluation: Evaluation) -> bytes:
    """The picture that needs the model itself, and takes seconds."""
    rows = model.home.store.read_evaluation(evaluation.sample_path)
    schema, loss = (
        evaluation.schema,
        loss_words(model.config.task, model.config.ingest.label.unit),
    )
    fitted = model.home.registry.load(trained.uri, trained.manifest_digest)
    table = permutation_importance(
        fitted, rows, rows[LABEL], schema, model.config.task, SAMPLE_ROWS, seed=model.config.train.seed
    )
    return model_plots.importance(table, loss)
