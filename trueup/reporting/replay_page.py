"""The report of a replay in one HTML file that opens offline."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trueup.reporting.html import STYLE, cell, template

if TYPE_CHECKING:
    from markupsafe import Markup


def render(facts: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Fill the page with the facts of `replay.compare` and the PNGs of `replay_plots.pictures`."""
    from markupsafe import Markup

    return template("replay.html").render(
        style=Markup(STYLE),
        title=f"When should {facts['model']} be retrained?",
        f=facts,
        span=f"{facts['span']['start'][:10]} to {facts['span']['end'][:10]}",
        percent=f"{100 * facts['confidence']:.0f} %",
        rows=[_row(facts, p) for p in sorted(facts["policies"], key=lambda p: (p["cost_s"], p["loss"]))],
        why=_marked(facts["why"]),
        cell=cell,
        bounds=_bounds,
        pictures={name.removesuffix(".png"): base64.b64encode(png).decode() for name, png in pictures.items()},
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
