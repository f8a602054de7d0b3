"""The sections `retrain` and `replay`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag

from trueup.config.durations import CalendarSpan, Duration, Span
from trueup.config.kinds import Kinds, Named
from trueup.config.section import Section


class BudgetConfig(Section):
    """How many retrains may start in a span of time."""

    starts: int = Field(10, ge=1)
    per: Span = timedelta(days=30)


class RetrainConfig(Section):
    """What starts a retrain that nobody asked for by hand, and how often; all spans are of the model's own clock."""

    findings: list[Literal["decayed", "stale", "shifted"]] = Field(
        default=["decayed", "stale"],
        description="Findings of the diagnosis that ask for a retrain; `[]`: none does, and the champion stays for good. `shifted` asks for one whenever the inputs moved, whether or not the model lost by it.",
    )
    every: CalendarSpan | None = Field(
        None, description="Also with the first batch this long after the last retrain, whatever the diagnosis."
    )
    new_rows: int | None = Field(
        None, ge=1, description="Also once so many labels have become known that neither trained nor judged a model."
    )
    cooldown: Duration = Field(timedelta(days=1), description="No retrain starts for this long after the last one.")
    budget: BudgetConfig = BudgetConfig()
    max_rejections: int = Field(
        3,
        ge=1,
        description="After this many challengers in a row that failed (at the gates, by an error that does not pass, or rolled back) none is trained until `trueup clear`, or until a full `promote.gate_window` of labels that judged nobody.",
    )


class PriceConfig(Section):
    """What an hour of training costs."""

    per_hour: float = Field(gt=0, description="Of the machine that trains.")
    currency: str = Field("USD", min_length=1, max_length=8)


class PolicyConfig(Named):
    """A policy of your own for `trueup replay`."""

    KINDS = Kinds("policy", "trueup.config.policies:CustomPolicy", {})


def _written_as(value: Any) -> str:
    return "text" if isinstance(value, str) else "class"


class ReplayConfig(Section):
    """What `trueup replay` compares where nothing else is said; see docs/how-to/replay.md."""

    policies: list[
        Annotated[
            Annotated[str, Tag("text")] | Annotated[SerializeAsAny[PolicyConfig], Tag("class")],
            Discriminator(_written_as),
        ]
    ] = Field(
        default=[],
        description="Such as `frozen`, `every 1 month, no gate` or `on decay, cooldown {7, 30} days`. Default: the usual ones. A section with `kind: module:Class` is a policy of your own.",
    )
    price: PriceConfig | None = Field(None, description="Tells costs in money, too.")
