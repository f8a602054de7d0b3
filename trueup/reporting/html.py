"""The common style of pages, and the formats of their figures."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from trueup.domain.judging.metrics import figure

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Template

# The style of all pages, to which a page may add.
STYLE: Final = files("trueup.reporting").joinpath("templates", "style.css").read_text(encoding="utf-8")


def loader() -> BaseLoader:
    """Loads the templates in `templates/`."""
    from jinja2 import PackageLoader

    return PackageLoader("trueup.reporting")


@cache
def template(name: str) -> Template:
    """A template that escapes its values unless they are marked as markup."""
    from jinja2 import Environment

    return Environment(loader=loader(), autoescape=True).get_template(name)


def minute(moment: datetime) -> str:
    """A moment, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M}"


def interval(low: float | None, high: float | None) -> str:
    """The bounds of a figure; a dash for none."""
    return "–" if low is None else f"{cell(low)} to {cell(high)}"


def cell(value: float | None) -> str:
    """A figure with four places between 0 and 1, and five digits above."""
    if value is None:
        return "–"
    written = figure(value, 5) if abs(value) >= 1 else f"{value:.4f}"
    return "0.0000" if written == "-0.0000" else written


def units(unit: str) -> dict[str, str]:
    """The units of a regression's metrics, as suffixes of their names."""
    return {"mse": f" ({unit}²)", "mae": f" ({unit})", "rmse": f" ({unit})"} if unit else {}
