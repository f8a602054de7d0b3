"""The figures of a comparison in the text format of OpenMetrics, which GitLab shows beside a merge request."""

from __future__ import annotations

from trueup.ci.findings import Result


def metrics(result: Result) -> str:
    """A line for each metric of each side of each model; the names of models are their files' names.

    The names have only letters, digits and underscores, so nothing is escaped.
    """
    lines = [
        f'trueup_metric{{model="{comparison.model}",metric="{measured.name}",side="{side}"}} {metric.value:.6g}'
        for comparison in result.comparisons
        for measured in comparison.metrics
        for side, metric in (("base", measured.base), ("head", measured.head))
        if metric is not None
    ]
    return "\n".join([*lines, f"trueup_fails {int(result.fails)}", ""])
