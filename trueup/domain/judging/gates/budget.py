"""The budget gate: bound the size and the latency of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trueup.config.sections.gates import BudgetGate
from trueup.domain.data.types import Verdict
from trueup.domain.judging.gates.context import Case
from trueup.domain.judging.metrics import figure


@dataclass(frozen=True)
class Budget:
    """Bound the size of the files and the time of a prediction."""

    config: BudgetGate

    def judge(self, case: Case) -> Verdict:
        """Compare the measured size and latency with the limits; inconclusive where they were not measured."""
        config = self.config
        asked = (config.batch, config.repeats)
        found = next((dict(b) for b in case.budget if (b["batch"], b["repeats"]) == asked), None)
        if found is None:
            return Verdict.inconclusive("budget", "size and latency were not measured")
        measures: list[tuple[str, Any, float | None, str]] = [
            ("size on disk", found["mib"], config.max_mib, "MiB"),
            (f"latency of {found['rows']:,} rows, p95 of {config.repeats} calls", found["p95_ms"], config.max_ms, "ms"),
        ]
        figures = {**found, "max_mib": config.max_mib, "max_ms": config.max_ms}
        limited = [(what, value, limit, unit) for what, value, limit, unit in measures if limit is not None]
        # What is no number is not within its limit.
        above = [m for m in limited if not m[1] <= m[2]]
        said = [
            f"{what} {figure(value, 3)} {unit} is {'above' if above else 'within'} {figure(limit, 3)} {unit}"
            for what, value, limit, unit in above or limited
        ]
        said.append(f"measured on {found['machine']}")
        return (Verdict.failed if above else Verdict.passed)("budget", *said, **figures)
