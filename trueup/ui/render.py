"""The templates of the pages, and how they write values. Everything is escaped that is not markup of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from trueup.reporting.html import cell, minute
from trueup.ui.charts import sparkline
from trueup.ui.fleet import Row
from trueup.ui.urgency import tone, words

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC: Final = files("trueup.ui").joinpath("static")
_LONGEST: Final = 200


def page(template: str, **values: Any) -> str:
    """A page as HTML."""
    return environment().get_template(template).render(build=build(), **values)


def banner(problem: str | None) -> Markup:
    """Why the home cannot be read, for all pages; empty if it can."""
    if problem is None:
        return Markup()
    said = Markup('<p class="problem"><strong>The home cannot be read.</strong> {} What was read before is shown.</p>')
    return said.format(problem)


@cache
def environment() -> Environment:
    """The templates, which escape their values."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("trueup.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(banner=banner, words=words, tone=tone, sparkline=_spark)
    made.filters.update(
        words=words,
        days=_days,
        figure=cell,
        skill=_skill,
        day=_day,
        minute=minute,
        short=_short,
        dashed=_dashed,
        spaced=_spaced,
    )
    return made


@cache
def build() -> str:
    """A short digest of the files that pages load, so that a browser loads them again once they have changed."""
    parts = sorted(path.name for path in STATIC.iterdir())
    content = b"".join(STATIC.joinpath(name).read_bytes() for name in parts)
    return hashlib.sha256(content).hexdigest()[:10]


def _spark(row: Row) -> Markup:
    return sparkline(row.spark, row.gate.mean if row.gate else None)


def _skill(value: float) -> str:
    return f"{value:.3f}"


def _days(value: float) -> str:
    return "1 day" if round(value) == 1 else f"{value:.0f} days"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return cell(value)
    if isinstance(value, Mapping):
        text = ", ".join(f"{k}: {_short(v)}" for k, v in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(map(_short, value))
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _spaced(name: str) -> str:
    return name.replace("_", " ")
