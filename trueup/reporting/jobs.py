"""Jobs that render reports in the background; only closing the home waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pandas as pd

from trueup.adapters import evidently
from trueup.adapters.great_expectations.validation import ValidationResult
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.data.digest import digest_of
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.bootstrap import paired_interval
from trueup.domain.judging.gates import CHALLENGER, CHAMPION
from trueup.domain.judging.metrics import loss_words, row_losses
from trueup.domain.learning.learning import permutation_importance
from trueup.domain.monitoring.drift import DriftResult
from trueup.domain.types import EVENT_TIME, LABEL, Batch, Window
from trueup.handoffs import prediction_of
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.ledger.record import Challenge, Evaluated
from trueup.model import Model
from trueup.reporting import data_docs, model_plots

IMPORTANCE = "importance.png"
SAMPLE_ROWS = 2_000  # gate rows for the importance of the features
_MOST_DRAWN = 8  # retrains whose pictures a process keeps: some 200 KiB each
_drawn: dict[str, dict[str, bytes]] = {}  # by the digest of all that they show


def data_docs_folder(root: Path) -> Path:
    """The folder of the Data Docs of all models."""
    return root / "reports" / "data_docs"


def validation_page(root: Path, model: str, batch: Batch) -> Path:
    """The page of a validated batch."""
    return data_docs_folder(root) / model / f"{batch.window.start:%Y-%m-%d}_r{batch.rows.revision}.html"


def drift_folder(root: Path, model: str) -> Path:
    """The folder of a model's drift reports."""
    return root / "reports" / "drift" / model


def drift_page(root: Path, model: str, window: Window) -> Path:
    """The drift report of a batch."""
    return drift_folder(root, model) / f"{window.start:%Y-%m-%d}.html"


def workspace_folder(root: Path) -> Path:
    """Evidently's workspace, which its UI shows."""
    return root / "evidently"


def report_folders(root: Path) -> tuple[Path, Path]:
    """The folders of all reports, and of Evidently's workspace."""
    return root / "reports", workspace_folder(root)


def run_folder(root: Path, model: str, run_id: str) -> Path:
    """The folder with the pictures of a retrain."""
    return root / "reports" / "runs" / model / run_id


def show_validation(model: Model, batch: Batch, as_of: datetime, result: ValidationResult) -> None:
    """Store the result and draw its page, which takes milliseconds here; queue the index.

    Great Expectations, which takes seconds to import, is loaded where the batch was validated, and not in the
    background.
    """
    folder, home = data_docs_folder(model.home.root), model.home
    with home.sharing(data_docs.results_folder(folder, model.config.model)):
        saved = data_docs.save(folder, model.config.model, batch.rows, as_of, result)
    if home.settings.reports:
        with suppress(Exception), home.sharing(data_docs.page_of(folder, saved)):
            data_docs.draw(folder, saved)  # after an error the background draws it, and reports why it cannot
    home.background.submit(f"the Data Docs in {folder}", render_data_docs, home.settings)


def render_data_docs(settings: Settings) -> None:
    """Write the index, and the pages of stored results that have none, such as of those that other machines stored."""
    home = Home(settings)
    folder = data_docs_folder(home.root)
    with home.drawing(), home.sharing(folder, fetch=True):
        data_docs.render(folder)
    home.close()


def show_drift(
    model: Model,
    window: Window,
    samples: tuple[pd.DataFrame, pd.DataFrame],
    schema: FeatureSchema,
    result: DriftResult,
) -> None:
    """Queue Evidently's page of a batch."""
    page = drift_page(model.home.root, model.config.model, window)
    shelf = evidently.Shelf(workspace_folder(model.home.root), model.config.model, window)
    head = evidently.Heading(result.reason, tuple(e.column for e in result.effects))
    job = (model.home.settings, samples, schema, page, result.limits, shelf, head)
    model.home.background.submit(f"the drift report {page}", render_drift, *job)


def render_drift(
    settings: Settings,
    samples: tuple[pd.DataFrame, pd.DataFrame],
    schema: FeatureSchema,
    page: Path,
    limits: Mapping[str, float],
    shelf: evidently.Shelf,
    head: evidently.Heading,
) -> None:
    """Write Evidently's page of a batch, and add it to Evidently's workspace."""
    with Home(settings).sharing(page, shelf.workspace):
        evidently.render(*samples, schema, page, limits, shelf, head)


def show_retrain(model: Model, entry: Entry) -> None:
    """Queue the pictures of a retrain, for the dossiers and for its MLflow run."""
    if entry.body.judged is None:
        return
    folder = run_folder(model.home.root, model.config.model, entry.body.judged.run_id)
    job = (model.home.settings, model.config, entry.challenge)
    model.home.background.submit(f"the pictures of a retrain in {folder}", draw_retrain, *job)


def draw_retrain(settings: Settings, config: ModelConfig, body: Challenge) -> None:
    """Draw a retrain's pictures, write its slices as a table, and log both with its MLflow run."""
    home = Home(settings)
    model, run_id = Model(config, home), body.judged.run_id
    folder = run_folder(home.root, config.model, run_id)
    with home.sharing(folder):
        model_plots.write(drawn(model, body.evaluation) | {IMPORTANCE: _importance(model, body)}, folder)
        if slices := body.evaluation.slices:
            pd.DataFrame([s.plain() for s in slices]).to_csv(folder / "slices.csv", index=False)
    home.tracking.log_files(run_id, folder, "report")
    home.close()


def drawn(model: Model, evaluation: Evaluated) -> dict[str, bytes]:
    """Pictures of the predictions for the gate rows. Raises WorkError.

    Those of the last few retrains are kept, because several dossiers show the same ones.
    """
    e, label = model.config.evaluate, model.config.ingest.label
    shown = [evaluation.predicted, evaluation.classes, model.config.task, str(e.block), e.confidence, label.unit]
    key = digest_of([model.home.store.evaluation_digest(evaluation.path), *shown])
    pictures = _drawn.pop(key, None) or _pictures(model, evaluation)
    _drawn[key] = pictures  # the newest is the last
    for oldest in list(_drawn)[:-_MOST_DRAWN]:
        _drawn.pop(oldest, None)
    return dict(pictures)


def _pictures(model: Model, evaluation: Evaluated) -> dict[str, bytes]:
    frame, classes = model.home.store.read_evaluation(evaluation.path), evaluation.classes
    y = frame[LABEL].to_numpy()
    predictions = {role: prediction_of(frame, role, classes) for role in evaluation.predicted}
    unit = model.config.ingest.label.unit
    pictures, loss = dict[str, bytes](), loss_words(model.config.task, unit)
    if CHAMPION in predictions:
        losses = {r: row_losses(model.config.task, y, predictions[r], classes) for r in (CHALLENGER, CHAMPION)}
        apart, times, e = losses[CHALLENGER] - losses[CHAMPION], frame[EVENT_TIME], model.config.evaluate
        bounds = paired_interval(apart, times, e.block, e.confidence)
        pictures["challenger_against_champion.png"] = model_plots.loss_difference(times, apart, bounds, loss)
    with suppress(ValueError):  # labels of one class have no curve
        pictures |= model_plots.performance_plots(model.config.task, y, predictions[CHALLENGER], classes, unit)
    return pictures


def _importance(model: Model, body: Challenge) -> bytes:
    """The picture that needs the model itself, and takes seconds."""
    task, unit = model.config.task, model.config.ingest.label.unit
    rows = model.home.store.read_evaluation(body.evaluation.sample_path)
    schema = body.evaluation.feature_schema
    fitted = model.home.registry.load(body.judged.uri, body.judged.manifest_digest)
    seed = model.config.train.seed
    table = permutation_importance(fitted, rows, rows[LABEL], schema, task, SAMPLE_ROWS, seed=seed)
    return model_plots.importance(table, loss_words(task, unit))
