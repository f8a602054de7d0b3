"""How our pages look and how figures are written in them, the same in every page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trueup.domain.judging.metrics import figure

# How every page begins: a template, in whose style a page may say more.
HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}"""

STYLE: Final = """
  body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .35rem .8rem .35rem 0; vertical-align: top; }
  th { border-bottom: 2px solid #d9dee4; } td { border-bottom: 1px solid #e8ebef; } .n { text-align: right; font-variant-numeric: tabular-nums; }
  .promoted, .pass { color: #18794e; } .rejected, .fail { color: #c62a2f; } .held, .inconclusive { color: #8a6100; }
  .muted { color: #66727f; } img { max-width: 100%; height: auto; margin: .5rem 0; } .outcome { font-weight: 600; }
"""


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
