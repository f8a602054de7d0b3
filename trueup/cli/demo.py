"""The closed loop on the real flights of 2013, month by month, and the table of what happened."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from trueup.adapters.background import shared
from trueup.audit.dossiers import dossiers_folder
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.data.periods import complete_periods, period_of
from trueup.domain.types import LABEL, Window
from trueup.errors import UsageError
from trueup.handoffs import Cycle
from trueup.home import Home
from trueup.reporting.jobs import data_docs_folder
from trueup.stages.monitoring.monitor import realised
from trueup.stages.score import shadow

MODEL = "flight_delays"
YEAR = Window(datetime(2013, 1, 1), datetime(2014, 1, 1))
JUDGED_FROM = "2013-03"
# The table's words for the ledger's kinds: a pending challenger is held, a refused retrain is none.
_DECISIONS = {"promoted": "promoted", "override": "promoted", "rejected": "rejected", "held": "held", "pending": "held"}

if TYPE_CHECKING:
    from trueup.model import Model


@dataclass(frozen=True)
class Month:
    """One month of the demo, as a row of its table."""

    month: str
    rows: int
    quarantined: int
    late_rate: float | None
    champion: int | None
    champion_age_days: float | None
    log_loss: float | None
    log_loss_frozen: float | None
    auc: float | None
    auc_frozen: float | None
    diagnosis: str
    decision: str
    reasons: list[str]


@dataclass(frozen=True)
class Demo:
    """The result of the demo."""

    months: list[Month]
    mean: dict[str, float | None]
    paths: dict[str, str]
    seconds: float


def demo(to: datetime, quiet: bool = False) -> Demo:
    """Run the loop at the end of each month up to that of `to`, and report the results.

    The loop is the project's flow `run`, one flow run per month. Finished months are not repeated. Raises UsageError
    for a month outside 2013.
    """
    from trueup.model import Model

    if to not in YEAR:
        raise UsageError(f"the flights are of 2013: --to takes 2013-01 to 2013-12, not {to:%Y-%m}")
    started = time.perf_counter()
    windows = complete_periods(YEAR.start, period_of(to, "month").end, "month")
    _require_month_by_month(windows)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True, quiet=quiet),
        transient=True,
    ) as progress:
        bar = progress.add_task("starting Prefect and MLflow", total=len(windows))
        cycles = []
        for cycle in _cycles(windows):
            cycles.append(cycle)
            progress.update(
                bar, advance=1, description=f"{cycle.as_of - timedelta(days=1):%B}: {cycle.decided.outcome}"
            )
            if cycle.as_of == windows[-1].end:
                progress.update(bar, description="finishing the reports")
                shared().wait()
    home = Home()
    model = Model(load_model(home.configs, MODEL), home)
    months = [_month(model, c, windows[-1].end) for c in cycles]
    return Demo(months, _mean(months), _paths(home.settings), round(time.perf_counter() - started, 1))


def _require_month_by_month(windows: list[Window]) -> None:
    """Refuse a home in which the flights were not processed by month, because its table would mean something else."""
    from trueup.model import RUN

    home = Home()
    runs: dict[Window, set[datetime]] = {}
    for result in home.store.results(MODEL, RUN, NoneType):
        runs.setdefault(result.window, set()).add(result.as_of)
    decided = {e.as_of for e in home.ledger.entries(MODEL)}
    home.close()
    otherwise = [w for w in windows if w in runs and w.end not in runs[w]]
    if otherwise or {moment for moment in decided if moment < windows[-1].end} - {w.end for w in windows}:
        raise UsageError(
            f"{home.root} holds runs of {MODEL} that were not made month by month, as the demo makes them; give the "
            "demo a home of its own: TRUEUP_HOME=.trueup-demo trueup demo"
        )


def _cycles(windows: list[Window]) -> Iterator[Cycle]:
    from trueup.orchestration.start import project_flow

    run = project_flow("run")

    for window in windows:
        yield run(MODEL, as_of=window.end)


def _month(model: Model, cycle: Cycle, now: datetime) -> Month:
    """The result of a month's cycle, with the labels known `now` and the model frozen in February beside it."""
    checked, observed, scored = cycle.batches[-1], cycle.observed[-1], cycle.scored[-1]
    batch, frozen = checked.batch, model.first_champion()
    figures = realised(model, batch, now)
    still = None
    if figures is not None and frozen is not None:
        still = realised(model, batch, now, role=shadow(model, batch, frozen, now))
    age = observed.figures.champion_age_days
    return Month(
        month=f"{batch.window.start:%Y-%m}",
        rows=batch.rows.rows,
        quarantined=checked.quarantined,
        late_rate=_share(model.home.store.read(batch.labels, [LABEL])[LABEL]),
        champion=scored.version,
        champion_age_days=age,
        log_loss=figures["log_loss"] if figures else None,
        log_loss_frozen=still["log_loss"] if still else None,
        auc=figures["auc"] if figures else None,
        auc_frozen=still["auc"] if still else None,
        diagnosis=observed.diagnosis,
        decision=_DECISIONS.get(cycle.decided.outcome, "none"),
        reasons=list(cycle.decided.reasons or observed.reasons),
    )


def _share(labels: pd.Series) -> float | None:
    return float(labels.mean()) if labels.notna().any() else None


def _mean(months: list[Month]) -> dict[str, float | None]:
    """Unweighted means over the months from March: champions that served, and the first one kept for the whole year."""
    judged = [m for m in months if m.month >= JUDGED_FROM and m.log_loss is not None]
    names = ("log_loss", "log_loss_frozen", "auc", "auc_frozen")
    return {n: statistics.fmean(getattr(m, n) for m in judged) if judged else None for n in names}


def _paths(settings: Settings) -> dict[str, str]:
    home, programs = settings.root, Path(sys.executable).parent
    return {
        "home": str(home),
        "data_docs": str(data_docs_folder(home) / "index.html"),
        "drift_reports": str(home / "reports" / "drift" / MODEL),
        "dossiers": str(dossiers_folder(home, MODEL)),
        "mlflow_ui": f"{programs}/mlflow ui --backend-store-uri {settings.tracking_uri} --host 127.0.0.1",
        "prefect_ui": f"PREFECT_HOME={home / 'prefect'} {programs}/prefect server start --host 127.0.0.1",
    }
