"""The budget gate: bound the size and the latency of the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from trueup.domain.judging.gates.context import Case
from trueup.domain.judging.gates.gate import RUNS, Gate
from trueup.domain.judging.metrics import figure
from trueup.domain.types import Verdict


@dataclass(frozen=True)
class Cost:
    """Size of a model's files, and its time for a number of rows, over a number of calls."""

    batch: int
    repeats: int
    rows: int
    mib: float
    median_ms: float
    p95_ms: float
    machine: str


class Budget(Gate):
    """Limits of the model's size and latency, measured in a process that has only loaded the model."""

    HEADING = RUNS
    SILENT = True

    kind: Literal["budget"] = "budget"
    max_mib: float | None = Field(
        None,
        gt=0,
        description="Size of all files of the registered model without its ONNX form, which `export.max_kib` limits.",
    )
    max_ms: float | None = Field(
        None, gt=0, description="Milliseconds for `batch` rows: the 95th percentile of `repeats` calls."
    )
    batch: int = Field(1_000, ge=1, le=100_000, description="Rows of a call whose time is measured.")
    repeats: int = Field(30, ge=20, le=10_000, description="Calls that are measured.")

    @model_validator(mode="after")
    def _limited(self) -> Budget:
        if self.max_mib is None and self.max_ms is None:
            raise ValueError("give max_mib or max_ms")
        return self

    def judge(self, case: Case) -> Verdict:
        """Compare the measured size and latency with the limits; inconclusive if they were not measured."""
        wanted = (self.batch, self.repeats)
        measured = next((b for b in case.budget if (b.batch, b.repeats) == wanted), None)
        if measured is None:
            return self.inconclusive("size and latency were not measured")
        measures: list[tuple[str, Any, float | None, str]] = [
            ("size on disk", measured.mib, self.max_mib, "MiB"),
            (f"latency of {measured.rows:,} rows, p95 of {self.repeats} calls", measured.p95_ms, self.max_ms, "ms"),
        ]
        figures = {**asdict(measured), "max_mib": self.max_mib, "max_ms": self.max_ms}
        limited = [(what, value, limit, unit) for what, value, limit, unit in measures if limit is not None]
        # NaN is not within a limit.
        above = [m for m in limited if not m[1] <= m[2]]
        sentences = [
            f"{what} {figure(value, 3)} {unit} is {'above' if above else 'within'} {figure(limit, 3)} {unit}"
            for what, value, limit, unit in above or limited
        ]
        sentences.append(f"measured on {measured.machine}")
        return (self.failed if above else self.passed)(*sentences, **figures)
