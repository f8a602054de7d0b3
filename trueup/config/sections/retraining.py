"""The sections `retrain` and `replay`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from trueup.config.durations import CalendarSpan, Duration, Span
from trueup.config.plugins import Kinds, Plugin
from trueup.config.section import Section


class BudgetConfig(Section):
    """The number of retrains that may start in a span of time."""

    starts: int = Field(10, ge=1, description="Retrains that may start within `per`.")
    per: Span = Field(timedelta(days=30), description="The trailing span of time in which starts are counted.")


class RetrainConfig(Section):
    """Triggers of automatic retrains, and their limits. All spans are in the model's own clock."""

    findings: list[Literal["decayed", "stale", "shifted"]] = Field(
        default=["decayed", "stale"],
        description="Diagnoses that start a retrain. `[]`: none does, and the champion stays. `shifted` starts one whenever the inputs moved, whether or not the model lost skill.",
    )
    every: CalendarSpan | None = Field(
        None, description="Also retrain with the first batch this long after the last retrain, whatever the diagnosis."
    )
    new_rows: int | None = Field(
        None,
        ge=1,
        description="Also retrain once this many labels have become known that neither trained nor judged a model.",
    )
    overdue_after: CalendarSpan | None = Field(
        None,
        description="`trueup audit` reports the model if none was trained or received for this long, by the wall clock. Default: twice `every` or `monitor.stale_after`, whichever is shorter; without these, it says that it could not check.",
    )
    cooldown: Duration = Field(timedelta(days=1), description="No retrain starts for this long after the last one.")
    budget: BudgetConfig = BudgetConfig()
    max_rejections: int = Field(
        3,
        ge=1,
        description="After this many failed challengers in a row (rejected by gates, ended by a permanent error, or rolled back) no more are trained until `trueup clear`, or until a full `promote.gate_window` of labels that have judged no model.",
    )


class PriceConfig(Section):
    """The price of an hour of training."""

    per_hour: float = Field(gt=0, description="Price of the machine that trains.")
    currency: str = Field("USD", min_length=1, max_length=8, description="Currency of `per_hour`, as reports write it.")


class PolicyConfig(Plugin):
    """A policy of your own for `trueup replay`."""

    KINDS = Kinds("policy", "trueup.config.policies:CustomPolicy", {})


def _written_as(value: Any) -> str:
    return "text" if isinstance(value, str) else "class"


class ReplayConfig(Section):
    """The defaults of `trueup replay`; see docs/how-to/replay.md."""

    policies: list[
        Annotated[
            Annotated[str, Tag("text")] | Annotated[SerializeAsAny[PolicyConfig], Tag("class")],
            Discriminator(_written_as),
        ]
    ] = Field(
        default=[],
        description="Policies such as `frozen`, `every 1 month, no gate` or `on decay, cooldown {7, 30} days`. Default: a standard set.",
    )
    price: PriceConfig | None = Field(None, description="Adds costs in money to the report.")
