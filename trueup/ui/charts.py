"""The charts: a sparkline as SVG, and figures for Plotly as plain values.

A colour that begins with `--` is a variable of the style sheet, which the script puts in, so that charts follow dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup, escape

from trueup.ui.history import MARKED, BatchRow, History
from trueup.ui.urgency import words

Figure = dict[str, Any]
_WIDTH, _HEIGHT, _EDGE = 116, 26, 3
_COLUMNS: Final = 40  # in the heat map
_MANY: Final = 90  # batches from which points and gaps would cover the lines


def sparkline(values: Sequence[float | None], gate: float | None) -> Markup:
    """A line of skills, the newest at the right, with the gate's as a dashed one; empty without a value."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return Markup("")
    levels = [*known, *([] if gate is None else [gate])]
    low, high = min(levels), max(levels)
    span, step = (high - low) or 1.0, (_WIDTH - 2 * _EDGE) / max(len(values) - 1, 1)

    def y(value: float) -> float:
        return _HEIGHT - _EDGE - (value - low) / span * (_HEIGHT - 2 * _EDGE)

    at = [(_EDGE + i * step, y(v)) for i, v in enumerate(values) if v is not None and math.isfinite(v)]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
    level = "" if gate is None else f'<path class="gate" d="M0 {y(gate):.1f}H{_WIDTH}"/>'
    return Markup(  # numbers only
        f'<svg class="spark" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" aria-hidden="true">'
        f'{level}<polyline points="{line}"/><circle cx="{at[-1][0]:.1f}" cy="{at[-1][1]:.1f}" r="2.5"/></svg>'
    )


def figures(past: History) -> dict[str, Figure]:
    """The figures of a model's page, by the id of their place."""
    if not past.batches:
        return {}
    made = {"performance": _performance(past), "data": _data(past), "drift": _drift(past)}
    if past.stages:
        made["cost"] = _cost(past)
    return {name: figure for name, figure in made.items() if figure["data"]}


def _performance(past: History) -> Figure:
    """Loss and skill by batch, with intervals, champions as bands and decisions as marks."""
    batches = past.batches
    loss = [b.loss for b in batches]
    times = [_middle(b) for b in batches]
    traces = [
        *_band(times, [m.low if m else None for m in loss], [m.high if m else None for m in loss], "y"),
        _line(times, [m.value if m else None for m in loss], past.loss.replace("_", "-"), "--accent", "y"),
        *_estimates(past, times),
        *_band(times, [b.skill_low for b in batches], [b.skill_high for b in batches], "y2"),
        _line(times, [b.skill for b in batches], "paired skill", "--accent-2", "y2"),
        *_gates(past),
        _marks(past),
    ]
    layout = {
        "height": 460,
        "yaxis": {"domain": [0.54, 0.93], "title": {"text": text(past.loss.replace("_", "-"))}},
        "yaxis2": {"domain": [0, 0.44], "title": {"text": "paired skill"}, "zeroline": True},
        "yaxis3": {"domain": [0.94, 1], "visible": False, "range": [-1, 1], "fixedrange": True},
        "xaxis": {"type": "date", "anchor": "y2"},
        "shapes": [_reign_shape(past, i) for i in range(len(past.reigns))],
        "annotations": [_reign_name(past, i) for i in range(len(past.reigns))],
        "legend": {"orientation": "h", "y": -0.12},
    }
    return {"data": traces, "layout": layout}


def _estimates(past: History, times: Sequence[str]) -> list[Figure]:
    """The estimates without labels, and where they were off."""
    values = [b.estimate.metrics[0] if b.estimate and b.estimate.metrics else None for b in past.batches]
    if not any(values):
        return []
    off = [
        m.value if m and b.estimate and b.estimate.check and b.estimate.check.off else None
        for m, b in zip(values, past.batches, strict=True)
    ]
    line = _line(times, [m.value if m else None for m in values], "estimated", "--note", "y")
    marks = {"x": times, "y": off, "name": "estimate was off", "mode": "markers", "type": "scatter"}
    return [
        line | {"line": {"color": "--note", "dash": "dot", "width": 2}},
        marks | {"marker": {"color": "--bad", "symbol": "x-thin", "size": 9, "line": {"width": 2, "color": "--bad"}}},
    ]


def _gates(past: History) -> list[Figure]:
    """The skill at the gate of each champion, while it served."""
    end = past.batches[-1].window.end
    x: list[str | None] = []
    y: list[float | None] = []
    for reign in past.reigns:
        if reign.gate is not None and reign.since < end:
            x += [reign.since.isoformat(), min(reign.until or end, end).isoformat(), None]
            y += [reign.gate, reign.gate, None]
    line = _line(x, y, "skill at the gate", "--quiet", "y2")
    return [line | {"mode": "lines", "line": {"color": "--quiet", "dash": "dash", "width": 1.5}}] if x else []


def _marks(past: History) -> Figure:
    """Decisions, each with the address of its page."""
    return {
        "x": [m.as_of.isoformat() for m in past.marks],
        "y": [0] * len(past.marks),
        "yaxis": "y3",
        "name": "decisions",
        "type": "scatter",
        "mode": "markers",
        "marker": {
            "symbol": [MARKED[m.kind] for m in past.marks],
            "size": 11,
            "color": "--ink",
            "line": {"width": 1.5},
        },
        "text": [text(f"#{m.seq} {m.word}" + (f" version {m.version}" if m.version else "")) for m in past.marks],
        "customdata": [f"/decisions/{m.seq}" for m in past.marks],
        "hovertemplate": "%{text}<br>%{x|%Y-%m-%d}<extra>click to open</extra>",
        "showlegend": False,
    }


def _reign_shape(past: History, i: int) -> Figure:
    reign, end = past.reigns[i], max(past.batches[-1].window.end, past.reigns[-1].since)
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": reign.since.isoformat(),
        "x1": (reign.until or end).isoformat(),
        "y0": 0,
        "y1": 1,
        "fillcolor": "--band" if i % 2 else "--band-2",
        "line": {"width": 0},
        "layer": "below",
    }


def _reign_name(past: History, i: int) -> Figure:
    reign = past.reigns[i]
    return {
        "x": reign.since.isoformat(),
        "y": 1.0,
        "xref": "x",
        "yref": "paper",
        "text": f"v{reign.version}",
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 11, "color": "--quiet"},
    }


def _data(past: History) -> Figure:
    """Labels' maturity and the share in quarantine, by batch."""
    times = [_middle(b) for b in past.batches]
    maturity = [b.maturity for b in past.batches]
    share = [b.quarantine_share for b in past.batches]
    if not any(b.rows for b in past.batches):
        return {"data": [], "layout": {}}
    traces = [
        {
            "x": times,
            "y": maturity,
            "type": "bar",
            "name": "labels known",
            "marker": {"color": "--accent"},
            "yaxis": "y",
        },
        {"x": times, "y": share, "type": "bar", "name": "in quarantine", "marker": {"color": "--warn"}, "yaxis": "y2"},
    ]
    axis = {"tickformat": ".0%", "rangemode": "tozero"}
    layout = {
        "height": 260,
        "xaxis": {"type": "date", "anchor": "y2"},
        "yaxis": {"domain": [0.55, 1], "range": [0, 1.05], "title": {"text": "labels known"}, "tickformat": ".0%"},
        "yaxis2": {"domain": [0, 0.42], "title": {"text": "quarantine"}, **axis, "tickformat": ".1%"},
        "showlegend": False,
        "bargap": 0.25,
    }
    return {"data": traces, "layout": layout}


def _drift(past: History) -> Figure:
    """Column by batch: each distance as a multiple of its limit; 1 and more is drift."""
    columns = past.columns[:_COLUMNS]
    compared = [b for b in past.batches if b.distances]
    if not columns or not compared:
        return {"data": [], "layout": {}}
    grid = [[b.distances.get(column) for b in compared] for column in reversed(columns)]
    trace = {
        "type": "heatmap",
        "x": [_middle(b) for b in compared],
        "y": [text(column) for column in reversed(columns)],
        "z": grid,
        "zmin": 0,
        "zmax": 2,
        "colorscale": [[0, "--heat-0"], [0.4, "--heat-1"], [0.5, "--heat-2"], [1, "--heat-3"]],
        "colorbar": {"title": {"text": "× limit"}, "thickness": 10, "outlinewidth": 0},
        "hovertemplate": "%{y}<br>%{x|%Y-%m-%d}: %{z:.2f} × limit<extra></extra>",
        "xgap": 0 if len(compared) > _MANY else 1,
        "ygap": 1,
    }
    layout = {
        "height": 160 + 17 * len(columns),
        "xaxis": {"type": "date"},
        "yaxis": {"automargin": True, "type": "category"},
    }
    return {"data": [trace], "layout": layout}


def _cost(past: History) -> Figure:
    """Seconds by stage, by batch."""
    times = [_middle(b) for b in past.batches]
    shades = ["--stage-0", "--stage-1", "--stage-2", "--stage-3", "--stage-4", "--stage-5"]
    traces = [
        {
            "x": times,
            "y": [b.seconds.get(stage) for b in past.batches],
            "type": "bar",
            "name": text(stage),
            "marker": {"color": shades[i % len(shades)]},
        }
        for i, stage in enumerate(past.stages)
    ]
    layout = {"height": 280, "barmode": "stack", "xaxis": {"type": "date"}, "yaxis": {"title": {"text": "seconds"}}}
    return {"data": traces, "layout": layout | {"legend": {"orientation": "h", "y": -0.2}, "bargap": 0.25}}


def _line(x: Sequence[str | None], y: Sequence[float | None], name: str, colour: str, axis: str) -> Figure:
    return {
        "x": x,
        "y": _finite(y),
        "name": text(name),
        "yaxis": axis,
        "type": "scatter",
        "mode": "lines" if len(x) > _MANY else "lines+markers",
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 5},
        "hovertemplate": "%{y:.4f}",
    }


def _band(times: Sequence[str], low: Sequence[float | None], high: Sequence[float | None], axis: str) -> list[Figure]:
    """The interval around a line, where it is bounded."""
    inside = [
        (t, a, b) for t, a, b in zip(times, _finite(low), _finite(high), strict=True) if a is not None and b is not None
    ]
    if not inside:
        return []
    common = {"type": "scatter", "mode": "lines", "yaxis": axis, "hoverinfo": "skip", "showlegend": False}
    edge, x = {"width": 0, "color": "--interval"}, [t for t, _, _ in inside]
    return [
        {**common, "x": x, "y": [a for _, a, _ in inside], "line": edge},
        {**common, "x": x, "y": [b for _, _, b in inside], "line": edge, "fill": "tonexty", "fillcolor": "--interval"},
    ]


def _finite(values: Sequence[float | None]) -> list[float | None]:
    return [v if v is not None and math.isfinite(v) else None for v in values]


def _middle(batch: BatchRow) -> str:
    return (batch.window.start + (batch.window.end - batch.window.start) / 2).isoformat()


def text(value: str) -> str:
    """A text that Plotly shows as it is: its own subset of HTML is not read."""
    return str(escape(value))


def summary(past: History) -> Mapping[str, str]:
    """What each chart shows, in a sentence, for those who do not see it."""
    if not past.batches:
        return {}
    last = past.batches[-1]
    measured = [b for b in past.batches if b.loss is not None]
    loss = (
        f"{past.loss.replace('_', '-')} {measured[-1].loss.value:.4f} in the last measured batch"
        if measured and measured[-1].loss
        else "not measured yet"
    )
    often = ", ".join(past.columns[:3]) or "none"
    return {
        "performance": f"{len(past.batches)} batches until {last.window.end:%Y-%m-%d}; {loss}; last diagnosis {words(last.diagnosis)}.",
        "data": f"In the last batch {last.matured:,} labels of {last.rows or 0:,} rows are known, {last.quarantined or 0:,} rows are in quarantine.",
        "drift": f"{len(past.columns)} columns are compared; those that drifted most often: {often}.",
        "cost": "Seconds of each turn by stage.",
    }
