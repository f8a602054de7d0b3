"""The pictures of a replay, each as the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from trueup.reporting.figures import COLOURS, INK, MUTED, date_ticks, describe, figure, legend, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pictures(facts: Mapping[str, Any], by_batch: pd.DataFrame) -> dict[str, bytes]:
    """Draw all pictures, by file name. `facts` and `by_batch` (mean loss by batch and policy) are from `replay.compare`."""
    return {
        "frontier.png": frontier(facts),
        "batches.png": batches(facts, by_batch),
        "lives.png": lives(facts),
        "drift.png": drift(facts),
        "costs.png": costs(facts),
    }


def frontier(facts: Mapping[str, Any]) -> bytes:
    """Loss against cost, numbered by policy; a line joins those that no other beats in both."""
    policies = sorted(facts["policies"], key=lambda p: (p["cost_s"], p["loss"]))
    with figure(8.4, 1.6 + 0.34 * max(len(policies), 9)) as (made, png):
        axes = made.subplots()
        front = [p for p in policies if not p["dominated"]]
        axes.plot([p["cost_s"] for p in front], [p["loss"] for p in front], color=MUTED, lw=1, ls="--")
        same: dict[tuple[float, float], list[int]] = {}
        for number, p in enumerate(policies, start=1):
            chosen, colour = p["name"] == facts["recommended"], MUTED if p["dominated"] else COLOURS[0]
            if p["loss_low"] is not None:
                arms = [[p["loss"] - p["loss_low"]], [p["loss_high"] - p["loss"]]]
                axes.errorbar(p["cost_s"], p["loss"], yerr=arms, color=colour, lw=0.8, alpha=0.5)
            axes.plot(
                p["cost_s"], p["loss"], ls="", color=COLOURS[1] if chosen else colour,
                marker="*" if chosen else "o", ms=15 if chosen else 7, label=f"{number}  {p['name']}",
            )  # fmt: skip
            same.setdefault((p["cost_s"], round(p["loss"], 5)), []).append(number)
        for place, numbers in same.items():
            axes.annotate(", ".join(map(str, numbers)), place, (7, 6), textcoords="offset points", fontsize=9)
        axes.axhline(facts["oracle"]["loss"], color=MUTED, lw=1, ls=":", label="oracle")
        describe(axes, "Loss against cost", "training, seconds", facts["loss"])
        legend(axes, loc="upper left", bbox_to_anchor=(1.01, 1))
        legend_text = f"star: recommended; grey: dominated; bars: {100 * facts['confidence']:.0f} % of each alone"
        note(made, legend_text)
    return png.getvalue()


def batches(facts: Mapping[str, Any], by_batch: pd.DataFrame) -> bytes:
    """Each batch's loss minus that of frozen (or the first policy), because the losses themselves follow the season."""
    names = [p["name"] for p in facts["policies"]]
    base = against(facts)
    with figure(8.4, 4.8) as (made, png):
        upper, lower = made.subplots(2, 1, sharex=True, height_ratios=[2, 3])
        upper.plot(by_batch.index, by_batch[base], color=INK, lw=1.6, marker="o", ms=3)
        sure = [(b["start"], b["losses"][base]) for b in facts["batches"] if b["losses"][base]["low"] is not None]
        if sure:
            bounds = ([v[side] for _, v in sure] for side in ("low", "high"))
            label = f"{100 * facts['confidence']:.0f} %"
            upper.fill_between([_days(s) for s, _ in sure], *bounds, color=MUTED, alpha=0.18, lw=0, label=label)
            legend(upper, loc="upper left", bbox_to_anchor=(1.01, 1))
        describe(upper, f"Loss of each batch under {base}, and what the others lose more or less", "", facts["loss"])
        for number, name in enumerate(n for n in names if n != base):
            style = ("-", "--", ":")[number // len(COLOURS) % 3]
            apart = by_batch[name] - by_batch[base]
            lower.plot(by_batch.index, apart, color=COLOURS[number % len(COLOURS)], ls=style, label=name)
        lower.plot(by_batch.index, by_batch["oracle"] - by_batch[base], color=MUTED, ls=":", label="oracle")
        lower.axhline(0, color=INK, lw=1)
        describe(lower, "", "", f"less {base}'s")
        date_ticks(lower)
        legend(lower, loc="upper left", bbox_to_anchor=(1.01, 1))
    return png.getvalue()


def lives(facts: Mapping[str, Any]) -> bytes:
    """Draw the versions that served over time, one row per policy."""
    policies = list(reversed(facts["policies"]))
    with figure(8.4, 1.2 + 0.34 * len(policies)) as (made, png):
        axes = made.subplots()
        for row, p in enumerate(policies):
            for number, (version, start, end) in enumerate(terms(p["looks"])):
                first, last = _days(start), _days(end)
                axes.barh(row, last - first, left=first, color=COLOURS[number % len(COLOURS)], height=0.72, ec="white")
                axes.text(
                    first + (last - first) / 2, row, f"v{version}", ha="center", va="center", c="white", fontsize=7
                )
        axes.set_yticks(range(len(policies)), [p["name"] for p in policies])
        describe(axes, "Who served when", "", "")
        axes.grid(visible=False)
        axes.xaxis_date()
        date_ticks(axes)
    return png.getvalue()


def drift(facts: Mapping[str, Any]) -> bytes:
    """Columns that moved, beside the skill of the first champion."""
    policy = next(p for p in facts["policies"] if p["name"] == against(facts))
    looks = [look for look in policy["looks"] if look["champion"] is not None]
    starts = [_days(look["window"]["start"]) for look in looks]
    skills = np.array([(look["skill"] or {}).get("mean", np.nan) for look in looks], dtype=np.float64)
    with figure(8.4, 4.2) as (made, png):
        axes: Axes = made.subplots()
        widths = [_days(look["window"]["end"]) - s for look, s in zip(looks, starts, strict=True)]
        moved = [len(look["drifted"]) for look in looks]
        axes.bar(starts, moved, width=widths, align="edge", color="#c9d3df", ec="white", label="columns that moved")
        describe(axes, f"Did drift foretell decay? ({policy['name']})", "", "columns that moved")
        other = axes.twinx()
        middles = [s + w / 2 for s, w in zip(starts, widths, strict=True)]
        other.plot(middles, skills, color=COLOURS[0], marker="o", ms=4, label="skill")
        bad = [k for k, look in enumerate(looks) if look["decayed"]]
        other.plot([middles[k] for k in bad], skills[bad], ls="", marker="o", ms=9, color="#c62a2f", label="decayed")
        other.set_ylabel("skill", color=INK)
        other.spines["top"].set_visible(False)
        axes.xaxis_date()
        date_ticks(axes)
        handles = [h for ax in (axes, other) for h in ax.get_legend_handles_labels()[0]]
        legend(axes, handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    return png.getvalue()


def costs(facts: Mapping[str, Any]) -> bytes:
    """Seconds of training, with how many challengers were taken and rejected."""
    policies = sorted(facts["policies"], key=lambda p: (-p["cost_s"], p["name"]))
    with figure(8.4, 1.2 + 0.34 * len(policies)) as (made, png):
        axes = made.subplots()
        axes.barh([p["name"] for p in policies], [p["cost_s"] for p in policies], color=COLOURS[0], height=0.6)
        for row, p in enumerate(policies):
            money = f", {p['cost_money']:.2f} {facts['currency']}" if "cost_money" in p else ""
            label = f"{p['cost_s']:.0f} s{money}: {p['promotions']} taken, {p['refusals']} rejected"
            axes.annotate(
                label, (p["cost_s"], row), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
            )
        describe(axes, "What training cost", "seconds", "")
        axes.margins(x=0.35)
        axes.grid(visible=False, axis="y")
    return png.getvalue()


def _days(moment: str) -> float:
    from matplotlib.dates import date2num

    return float(date2num(pd.Timestamp(moment)))


def against(facts: Mapping[str, Any]) -> str:
    """The policy that others are compared with: the one that never retrains, or else the first."""
    return str(facts["frozen"] or facts["policies"][0]["name"])


def terms(looks: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, str]]:
    """Version, first and last moment of each span of batches that one version served."""
    spans: list[tuple[int, str, str]] = []
    for look in looks:
        if (version := look["champion"]) is None:
            continue
        if spans and spans[-1][0] == version:
            spans[-1] = (version, spans[-1][1], look["window"]["end"])
        else:
            spans.append((version, look["window"]["start"], look["window"]["end"]))
    return spans
