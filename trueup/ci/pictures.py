"""The pictures of a comparison, as files in the report's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trueup.ci.findings import Comparison, Measured, better
from trueup.config.schema import ModelConfig
from trueup.config.tasks import Task
from trueup.domain.judging.gates import CHALLENGER, CHAMPION, Case
from trueup.domain.judging.metrics import loss_words
from trueup.reporting import figures, model_plots
from trueup.reporting.figures import COLOURS, INK, MUTED


def draw(config: ModelConfig, comparison: Comparison, case: Case, out: Path) -> Iterator[str]:
    """Write the pictures of a model, and yield their names."""
    pictures = dict[str, bytes]()
    if bounded := [m for m in comparison.metrics if m.low is not None and m.base is not None and m.base.value]:
        pictures["metrics"] = _differences(bounded, "base" if case.has_champion else "prior")
    if case.has_champion:
        words = loss_words(config.task, config.ingest.label.unit)
        apart, interval = case.losses[CHALLENGER] - case.losses[CHAMPION], case.weigh(CHALLENGER, CHAMPION)
        pictures["loss"] = model_plots.loss_difference(case.event_time, apart, interval, words, ("head", "base"))
    if config.task is Task.BINARY:
        curves = {"head": (case.y == 1, case.predictions[CHALLENGER])}
        curves |= {"base": (case.y == 1, case.predictions[CHAMPION])} if case.has_champion else {}
        pictures["calibration"] = model_plots.reliability(curves)
    for what, png in pictures.items():
        name = f"{config.model}-{what}.png"
        (out / name).write_bytes(png)
        yield name


def _differences(measured: Sequence[Measured], other: str) -> bytes:
    """Draw each metric's difference with its interval, in percent of the other side's value."""
    with figures.figure(7.2, 1.4 + 0.42 * len(measured)) as (figure, png):
        axes = figure.subplots()
        axes.axvline(0, color=INK, lw=1)
        for place, m in enumerate(reversed(measured)):
            assert m.base is not None
            middle, low, high = (100 * float(v or 0) / abs(m.base.value) for v in (m.difference, m.low, m.high))
            clear = low > 0 or high < 0
            axes.plot([low, high], [place, place], color=COLOURS[0] if clear else MUTED, lw=2)
            axes.plot([middle], [place], color=COLOURS[0] if clear else MUTED, marker="o", ms=6)
        axes.set_yticks(
            range(len(measured)), [f"{figures.name(m.name)}\n({better(m.name)} is better)" for m in reversed(measured)]
        )
        axes.set_ylim(-0.6, len(measured) - 0.4)
        figures.describe(axes, f"Head minus {other}, with the interval", f"percent of the {other}'s value", "")
        axes.grid(visible=False, axis="y")
        figures.note(figure, "grey: the interval includes 0")
    return png.getvalue()
