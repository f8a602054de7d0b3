"""How our pages look and how figures are written in them, the same in every page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from trueup.domain.judging.metrics import figure

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Template

# The style that all pages share, in which a page may say more.
STYLE: Final = files("trueup.reporting").joinpath("templates", "style.css").read_text(encoding="utf-8")


def loader() -> BaseLoader:
    """Loads the templates in `templates/`."""
    from jinja2 import PackageLoader

    return PackageLoader("trueup.reporting")


def template(name: str) -> Template:
    """A template of ours; what it is given is escaped unless it is marked as markup."""
    from jinja2 import Environment

    return Environment(loader=loader(), autoescape=True).get_template(name)


def percent(intervals: Sequence[Mapping[str, Any]]) -> str:
    """How sure the intervals are: the same for all of an evaluation."""
    return next((f"{100 * i['confidence']:g} %" for i in intervals if i.get("confidence")), "95 %")


def minute(moment: str) -> str:
    """A moment in ISO 8601, to the minute."""
    return moment[:16].replace("T", " ")


def interval(metric: Mapping[str, Any] | None) -> str:
    """The bounds of a figure; a dash where it has none."""
    if metric is None or metric["low"] is None:
        return "–"
    return f"{cell(metric['low'])} to {cell(metric['high'])}"


def cell(value: float | None) -> str:
    """Four places for what lies between 0 and 1, as most metrics do, and as many digits for what is larger."""
    if value is None:
        return "–"
    written = figure(value, 5) if abs(value) >= 1 else f"{value:.4f}"
    return "0.0000" if written == "-0.0000" else written


def units(unit: str) -> dict[str, str]:
    """What stands behind the names of a regression's metrics."""
    return {"mse": f" ({unit}²)", "mae": f" ({unit})", "rmse": f" ({unit})"} if unit else {}


def recipe_words(recipe: Mapping[str, Any]) -> str:
    """A model's family, parameters and seed in a line."""
    flat = [("family", recipe["family"]), *recipe["parameters"].items(), ("seed", recipe["seed"])]
    return ", ".join(f"{k} {figure(v) if type(v) is float else v}" for k, v in flat)


def slice_columns(slices: Sequence[Mapping[str, Any]], sure: str) -> list[str]:
    """The heads of a table of slices."""
    compared = ["champion", "difference", f"its {sure}"] if any("champion" in s for s in slices) else []
    return ["challenger", f"its {sure}", *compared]


def slice_cells(row: Mapping[str, Any]) -> list[str]:
    """A slice's figures in the order of the columns."""
    cells = [cell(row["challenger"]), interval(row)]
    if "champion" in row:
        apart = {"low": row["difference_low"], "high": row["difference_high"]}
        cells += [cell(row["champion"]), cell(row["difference"]), interval(apart)]
    return cells
