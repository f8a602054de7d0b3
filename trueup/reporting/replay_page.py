"""The report of a replay: when to retrain, and what it is worth, in one HTML file that opens offline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from trueup.domain.judging.metrics import figure
from trueup.reporting.html import STYLE, cell, template

if TYPE_CHECKING:
    from markupsafe import Markup
    from plotly.graph_objects import Figure

_COLOURS: Final = (
    "#3b6fb6",
    "#d9822b",
    "#18794e",
    "#8e4ec6",
    "#c62a2f",
    "#0d9aa8",
    "#7c6f2e",
    "#b3558a",
    "#5b6770",
    "#2f9e44",
)


def render(facts: Mapping[str, Any], by_batch: pd.DataFrame) -> str:
    """Fill the page. `facts` and `by_batch` (mean loss of each batch by policy) are those of `replay.compare`."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    watched = next(p for p in facts["policies"] if p["name"] == against(facts))
    pictures = {
        "frontier": _frontier(facts),
        "batches": _batches(facts, by_batch),
        "lives": _lives(facts),
        "drift": _drift(watched),
    }
    return template("replay.html").render(
        style=Markup(STYLE),
        plotly=Markup(get_plotlyjs()),
        title=f"When should {facts['model']} be retrained?",
        f=facts,
        span=f"{facts['span']['start'][:10]} to {facts['span']['end'][:10]}",
        percent=f"{100 * facts['confidence']:.0f} %",
        rows=[_row(facts, p) for p in sorted(facts["policies"], key=lambda p: (p["cost_s"], p["loss"]))],
        why=_marked(facts["why"]),
        cell=cell,
        bounds=_bounds,
        watched=watched["name"],
        pictures={name: Markup(_html(made, name)) for name, made in pictures.items()},
    )


def _marked(text: str) -> Markup:
    """Names between backticks as the config writes them."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _row(facts: Mapping[str, Any], p: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    kind = "chosen" if p["name"] == facts["recommended"] else "worse" if p["dominated"] else ""
    apart = p.get("against_frozen") or {}
    return (
        p["name"],
        kind,
        [
            cell(p["loss"]),
            _bounds(p["loss_low"], p["loss_high"], "{:.4f}"),
            f"{apart['difference']:+.4f}" if apart else "–",
            _bounds(apart.get("low"), apart.get("high"), "{:+.4f}"),
            *(str(p[name]) for name in ("retrains", "promotions", "refusals")),
            f"{p['wrong_promotions']} ({p['wrong_promotions_shown']})",
            f"{p['missed_promotions']} ({p['missed_promotions_shown']})",
            f"{p['decayed_days']:.0f}",
            f"{p['cost_s']:.0f}",
            *([f"{p['cost_money']:.2f}"] if "cost_money" in p else []),
        ],
    )


def _bounds(low: float | None, high: float | None, form: str) -> str:
    return "–" if low is None or high is None else f"{form.format(low)} to {form.format(high)}"


def _html(made: Figure, name: str) -> str:
    made.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    return str(made.to_html(full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False}))


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _frontier(facts: Mapping[str, Any]) -> Figure:
    import plotly.graph_objects as go

    made = go.Figure()
    for number, p in enumerate(facts["policies"]):
        chosen = p["name"] == facts["recommended"]
        arms = (
            {}
            if p["loss_low"] is None
            else {"array": [p["loss_high"] - p["loss"]], "arrayminus": [p["loss"] - p["loss_low"]]}
        )
        made.add_scatter(
            x=[p["cost_s"]],
            y=[p["loss"]],
            error_y={"type": "data", "thickness": 1, "width": 3, **arms} if arms else None,
            mode="markers",
            name=p["name"] + (" ◄" if chosen else ""),
            opacity=0.35 if p["dominated"] else 1,
            marker={"size": 16 if chosen else 10, "symbol": "star" if chosen else "circle", "color": _colour(number)},
            hovertemplate=f"{p['name']}<br>{facts['loss']} {figure(p['loss'])}<br>{p['cost_s']:.0f} s of training<extra></extra>",
        )
    made.add_hline(
        y=facts["oracle"]["loss"],
        line={"dash": "dot", "color": "#8a949e"},
        annotation_text="oracle",
        annotation_position="bottom left",
    )
    made.update_layout(xaxis_title="training, seconds", yaxis_title=facts["loss"], height=430)
    return made


def _batches(facts: Mapping[str, Any], by_batch: pd.DataFrame) -> Figure:
    """The losses of one policy, and how much the others lose more or less: all of them follow the same season."""
    from plotly.subplots import make_subplots

    base = against(facts)
    made = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.45, 0.55], vertical_spacing=0.06)
    _band(made, facts, base)
    made.add_scatter(
        x=by_batch.index, y=by_batch[base], mode="lines+markers", name=base, line={"width": 3, "color": "#1f2933"}
    )
    for number, p in enumerate(p for p in facts["policies"] if p["name"] != base):
        made.add_scatter(
            x=by_batch.index,
            y=by_batch[p["name"]] - by_batch[base],
            mode="lines+markers",
            name=p["name"],
            line={"width": 3 if p["name"] == facts["recommended"] else 1.2, "color": _colour(number)},
            row=2,
            col=1,
        )
    apart = by_batch["oracle"] - by_batch[base]
    made.add_scatter(
        x=by_batch.index, y=apart, mode="lines", name="oracle", line={"dash": "dot", "color": "#8a949e"}, row=2, col=1
    )
    made.update_layout(height=560, hovermode="x unified")
    made.update_yaxes(title=facts["loss"], row=1, col=1)
    made.update_yaxes(title=f"less that of {base}", row=2, col=1)
    made.update_xaxes(title="batch", row=2, col=1)
    return made


def against(facts: Mapping[str, Any]) -> str:
    """The policy that the others are shown against: the one that never retrains, or else the first."""
    return str(facts["frozen"] or facts["policies"][0]["name"])


def _band(made: Figure, facts: Mapping[str, Any], policy: str) -> None:
    """The bounds of one policy's losses, batch by batch; of all of them they would cover each other."""
    spans = [(b["start"], b["losses"][policy]) for b in facts["batches"] if b["losses"][policy]["low"] is not None]
    if spans:
        made.add_scatter(
            x=[s for s, _ in spans] + [s for s, _ in reversed(spans)],
            y=[v["high"] for _, v in spans] + [v["low"] for _, v in reversed(spans)],
            fill="toself",
            fillcolor="rgba(139,145,154,0.18)",
            line={"width": 0},
            hoverinfo="skip",
            name=f"{100 * facts['confidence']:.0f} % of {policy}",
        )


def _lives(facts: Mapping[str, Any]) -> Figure:
    import plotly.graph_objects as go

    made, policies = go.Figure(), list(reversed(facts["policies"]))
    for p in policies:
        for number, (version, start, end) in enumerate(terms(p["looks"])):
            said = _why_it_came(p["tried"], version)
            made.add_bar(
                y=[p["name"]],
                x=[(pd.Timestamp(end) - pd.Timestamp(start)).total_seconds() * 1000],
                base=[start],
                orientation="h",
                marker={"color": _colour(number), "line": {"color": "white", "width": 1}},
                text=f"v{version}",
                insidetextanchor="middle",
                hovertemplate=f"{p['name']}: version {version}<br>{start[:10]} to {end[:10]}<br>{said}<extra></extra>",
                showlegend=False,
            )
    made.update_layout(barmode="overlay", xaxis={"type": "date"}, height=90 + 34 * len(policies))
    made.update_yaxes(automargin=True)
    return made


def terms(looks: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, str]]:
    """Version, first and last moment of each span of batches that one version served."""
    found: list[tuple[int, str, str]] = []
    for look in looks:
        if (version := look["champion"]) is None:
            continue
        if found and found[-1][0] == version:
            found[-1] = (version, found[-1][1], look["window"]["end"])
        else:
            found.append((version, look["window"]["start"], look["window"]["end"]))
    return found


def _why_it_came(tried: Sequence[Mapping[str, Any]], version: int) -> str:
    entry = next((t for t in tried if t["version"] == version and t["outcome"] == "promoted"), None)
    return "" if entry is None else f"retrained: {entry['reason']}"


def _drift(policy: Mapping[str, Any]) -> Figure:
    import plotly.graph_objects as go

    looks = [look for look in policy["looks"] if look["champion"] is not None]
    starts = [look["window"]["start"] for look in looks]
    made = go.Figure()
    made.add_bar(
        x=starts, y=[len(look["drifted"]) for look in looks], name="columns that moved", marker={"color": "#c9d3df"}
    )
    skills = [(look["skill"] or {}).get("mean") for look in looks]
    made.add_scatter(
        x=starts, y=skills, mode="lines+markers", name="skill", yaxis="y2", line={"color": "#3b6fb6", "width": 3}
    )
    bad = [(s, k) for s, k, look in zip(starts, skills, looks, strict=True) if look["decayed"]]
    made.add_scatter(
        x=[s for s, _ in bad],
        y=[k for _, k in bad],
        mode="markers",
        name="decayed",
        yaxis="y2",
        marker={"color": "#c62a2f", "size": 12},
    )
    made.update_layout(
        height=380,
        xaxis_title="batch",
        yaxis={"title": "columns that moved", "rangemode": "tozero", "tickformat": "d", "nticks": 6},
        yaxis2={"title": "skill", "overlaying": "y", "side": "right", "showgrid": False},
        legend={"orientation": "h", "y": 1.12},
    )
    return made
