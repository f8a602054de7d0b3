"""The section `retention`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from trueup.config.durations import Duration
from trueup.config.section import Section

Kept = Annotated[Duration, Field(gt=timedelta(0))]


class RetentionConfig(Section):
    """How long `trueup gc` keeps data, in wall time.

    The newest revision of every batch, the champion's files and data, and every entry of the ledger stay for ever.
    """

    reports: Kept = Field(
        timedelta(days=365),
        description="Pages of Data Docs and drift, and Evidently's snapshots; also a retrain's report, and the model files of a failed retrain, if no decision within `decisions` names them.",
    )
    snapshots: Kept = Field(
        timedelta(days=365),
        description="Older revisions of batches, counted from the moment at which a newer one replaced them, and predictions on gate rows, unless a decision within `decisions` may depend on them. Computed features are a cache: unused ones are removed after a day.",
    )
    predictions: Kept = Field(
        timedelta(days=730),
        description="Predictions, including those in shadow. A removed prediction is never made again, because only the first one served counts.",
    )
    served: Kept = Field(
        timedelta(days=90),
        description="Features as `trueup serve` used them, what is left of its prediction log, and what servers counted for rollouts that have ended. `trueup forget` erases those of one key at once.",
    )
    decisions: Kept = Field(
        timedelta(days=3650), description="How long the data behind a decision is kept beyond the other spans."
    )
