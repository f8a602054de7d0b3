"""The sections `retention` and `governance`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from trueup.config.durations import Duration
from trueup.config.section import Section

Kept = Annotated[Duration, Field(gt=timedelta(0))]


class RetentionConfig(Section):
    """How long `trueup gc` leaves things where they are, in wall time.

    The newest revision of every batch, what the champion in office rests on, and every entry of the ledger stay for ever.
    """

    reports: Kept = Field(
        timedelta(days=365),
        description="Pages of Data Docs, of drift, and Evidently's snapshots; a retrain's pictures, and the model files of "
        "a retrain that failed, when no decision that is still kept names them.",
    )
    snapshots: Kept = Field(
        timedelta(days=365),
        description="Revisions of batches, counted from the moment at which a newer one took their place, and what "
        "models said about gate rows; unless a decision that is still kept may rest on them. Computed features are a "
        "cache: those that nothing uses any more go after a day.",
    )
    predictions: Kept = Field(
        timedelta(days=730),
        description="Predictions, those in shadow included. What was removed is never predicted again: the first one "
        "served counts, also when it is gone.",
    )
    decisions: Kept = Field(
        timedelta(days=3650), description="How long what a decision rests on outlives the other spans."
    )


class GovernanceConfig(Section):
    """What people answer for. It stands in every decision and in the dossier, and no decision depends on it."""

    owner: str = Field("", description="Who answers for the model: a person, a team or a role.")
    risk_tier: str = Field(
        "",
        description="In the words of the scheme that you use, such as `limited`. Nothing here assesses it.",
    )
    intended_use: str = Field(
        "", description="What its predictions are for, who acts on them, and what they are not for."
    )
    limitations: list[str] = Field(
        default=[], description="Where it is known to be wrong or not to apply, each in a sentence."
    )
