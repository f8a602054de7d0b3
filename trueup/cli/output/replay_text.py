"""Prints the policies of a replay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trueup.cli.output import number, out, say, table


def replayed(facts: Mapping[str, Any], page: Path, written: Path | None) -> None:
    """Print the loss and cost of each policy, and the recommendation."""
    rows = [
        [
            p["name"] + (" ◄" if p["name"] == facts["recommended"] else ""),
            number(p["loss"], 4),
            _interval(p),
            *map(str, (p["retrains"], p["promotions"], p["refusals"])),
            f"{p['cost_s']:.0f} s" + (f" {p['cost_money']:.2f} {facts['currency']}" if "cost_money" in p else ""),
            "yes" if p["dominated"] else "",
        ]
        for p in sorted(facts["policies"], key=lambda p: (p["cost_s"], p["loss"]))
    ]
    rows += [[p["name"], number(p["loss"], 4), _interval(p), "", "", "", "", "to be beaten"] for p in facts["to_beat"]]
    figures = ["loss", "interval", "tried", "taken", "rejected", "cost"]
    out.print(table(["policy", *figures, "dominated"], rows, figures))
    judged = facts["judged"]
    out.print(
        f"[dim]loss: {facts['loss']} on the same {judged['rows']:,} rows of {judged['batches']} batches, {judged['from'][:10]} to "
        f"{judged['to'][:10]};\ntried, taken, rejected: challengers after the first champion; cost: searching and fitting them;\n"
        f"dominated: another loses less for less; the oracle, which always serves the better of what is at hand: "
        f"{number(facts['oracle']['loss'], 4)}[/]\n"
    )
    out.print(facts["why"], highlight=False, markup=False)
    out.print("\n" + facts["block"], highlight=False, markup=False)
    for warning in facts["warnings"]:
        out.print(warning, style="yellow", highlight=False, markup=False)
    if written is not None:
        say(f"written {written}")
    say(f"report  {page}")


def _interval(p: Mapping[str, Any]) -> str:
    return "–" if p["loss_low"] is None else f"{number(p['loss_low'], 4)}..{number(p['loss_high'], 4)}"
