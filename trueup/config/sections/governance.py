"""The section `governance`."""

from __future__ import annotations

from pydantic import Field

from trueup.config.section import Section


class GovernanceConfig(Section):
    """Statements of the people responsible for the model. Decisions and the dossier record them; no decision depends on them."""

    owner: str = Field("", description="The person, team or role that answers for the model.")
    risk_tier: str = Field(
        "",
        description="In the words of the scheme that you use, such as `limited`. Trueup does not assess it.",
    )
    intended_use: str = Field(
        "", description="What the predictions are for, who acts on them, and what they are not for."
    )
    limitations: list[str] = Field(default=[], description="Known limits of the model, each in one sentence.")
