"""The section `governance`."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from pydantic import Field

from trueup.config.section import Section


class GovernanceConfig(Section):
    """Statements of the people responsible for the model, and columns it may not use. Decisions record them; none depends on them."""

    owner: str = Field("", description="The person, team or role that answers for the model.")
    risk_tier: str = Field(
        "",
        description="In the words of the scheme that you use, such as `limited`. Trueup does not assess it.",
    )
    intended_use: str = Field(
        "", description="What the predictions are for, who acts on them, and what they are not for."
    )
    limitations: list[str] = Field(default=[], description="Known limits of the model, each in one sentence.")
    forbidden: list[str] = Field(
        default=[],
        description="Columns, or patterns such as `*_email`, of which no feature may be made: `trueup check` and every run refuse a config that does. They may still be slices, and groups of a fairness gate.",
    )
    personal: list[str] = Field(
        default=[],
        description="Columns with personal data, or patterns. A feature of one is refused unless `personal_inputs` says why. Data Docs and the reasons of a batch count failing values of such a column, and show none.",
    )
    personal_inputs: dict[str, str] = Field(
        default={},
        description="Columns of `personal` that the model needs, each with the reason, which every decision records.",
    )

    def is_personal(self, column: str) -> bool:
        """Whether a column has personal data."""
        return named_in(column, self.personal)


def named_in(column: str, patterns: Iterable[str]) -> bool:
    """Whether a column is one of the names or patterns.

    >>> named_in("home_email", ["*_email"]), named_in("email", ["*_email"])
    (True, False)
    """
    return any(fnmatchcase(column, pattern) for pattern in patterns)
