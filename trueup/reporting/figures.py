"""The common style of all PNG pictures.

matplotlib is imported with the first picture, and only its objects are used: no pyplot, no global style, no display, so
that any thread can draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#333840", "#8b919a", "#e4e6ea"
COLOURS = ("#2f6690", "#c8693a", "#4f8a5b", "#8a5a99", "#b8973b", "#5d6d7e")
_DPI = 130
_LONGEST = 40  # characters of a name beside an axis


@contextmanager
def figure(width: float, height: float) -> Iterator[tuple[Figure, BytesIO]]:
    """An empty figure in inches, which becomes a PNG at the end of the block."""
    from matplotlib.figure import Figure

    made, png = Figure(figsize=(width, height), layout="constrained", dpi=_DPI), BytesIO()
    yield made, png
    made.savefig(png, format="png")


def describe(axes: Axes, title: str, x: str, y: str) -> None:
    """Add title, labels with units, and the common style."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(color=MUTED, labelcolor=INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)


def name(text: str) -> str:
    r"""A label of limited length, with dollar signs that make no formula.

    >>> name("$rate$ " + "x" * 60)
    '\\$rate\\$ xxxxxxxxxxxx…xxxxxxxxxxxxxxxxxxxx'
    """
    half = _LONGEST // 2
    short = text if len(text) <= _LONGEST else f"{text[: half - 1]}…{text[-half:]}"
    return short.replace("$", r"\$")


def legend(axes: Axes, **place: Any) -> None:
    """A legend without a frame."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, **place)


def note(on: Figure, text: str) -> None:
    """A line of small print below the picture."""
    on.supxlabel(text, fontsize=8.5, color=MUTED)


def date_ticks(axes: Axes) -> None:
    """Few dates, written short."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator: Any = AutoDateLocator(minticks=3, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
