"""Links from Prefect's pages to the reports, and to MLflow's page of a run.

They lead to the server of `trueup up`, else to the files themselves: a browser opens those from a pasted address,
because it does not follow a file link on a page that came over HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from trueup.audit.dossiers import dossier_page
from trueup.home import Home
from trueup.reporting.jobs import run_folder

PICTURE = "challenger_against_champion.png"

if TYPE_CHECKING:
    from trueup.ledger.record import Made
    from trueup.model import Model


def address(home: Home, page: Path) -> str | None:
    """The URL of a file of the reports; None if no reports are made."""
    if not home.settings.reports:
        return None
    served = home.settings.reports_pages
    if served is None:
        in_store = home.settings.address
        return page.as_uri() if in_store is None else f"{in_store}/{page.relative_to(home.root).as_posix()}"
    return f"{served.rstrip('/')}/{quote(page.relative_to(home.root / 'reports').as_posix())}"


def of_model(model: Model, fitted: Made) -> list[tuple[str, str | None]]:
    """Links to a version's run in MLflow, and to its dossier."""
    home, name, run_id = model.home, model.config.model, fitted.run_id
    dossier = ("Dossier", address(home, dossier_page(home.root, name, fitted.version)))
    served = home.settings.mlflow_pages
    run = [] if served is None else [("MLflow run", f"{served.rstrip('/')}/#/runs/{run_id}")]
    return [*run, dossier]


def picture(model: Model, run_id: str) -> str | None:
    """The comparison of challenger and champion, if there was a champion and reports are made."""
    return address(model.home, run_folder(model.home.root, model.config.model, run_id) / PICTURE)


def line(links: Sequence[tuple[str, str | None]]) -> str:
    """Links in Markdown, beside each other."""
    return " · ".join(f"[{name}]({url})" for name, url in links if url is not None)
