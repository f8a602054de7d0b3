"""The second half of a challenge: a fitted model is judged, registered and decided on, wherever it was trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trueup.crash import reach
from trueup.domain.types import Status, overall
from trueup.handoffs import Attempt, Decided, Trained
from trueup.model import Model

if TYPE_CHECKING:
    from trueup.loop.turn import Steps


def judge_and_decide(do: Steps, model: Model, attempt: Attempt, trained: Trained) -> Decided:
    """Judge a model against the champion, and promote, hold or reject it. Raises NotEnoughData, StaleDecision."""
    with model.home.tracking.closing_on_error(trained.run_id):
        evaluation = do.evaluate(model, trained, attempt.as_of)
        trained = evaluation.stand_in or trained
        judged = do.register(model, trained)
        verdicts = do.judge(model, trained, evaluation)
        completed = replace(attempt, trained=trained, evaluation=evaluation, judged=judged, verdicts=tuple(verdicts))
        if overall(verdicts) is Status.PASS and (settings := model.config.export) is not None:
            exported = do.export(model, trained, evaluation)
            reach("export.checked")
            counted = exported.verdicts if settings.required else ()
            completed = replace(completed, exported=exported, verdicts=(*completed.verdicts, *counted))
        fits_again = model.config.promote.refit and trained.received is None
        if overall(completed.verdicts) is Status.PASS and fits_again:
            completed = replace(completed, refitted=do.refit(model, trained, attempt.as_of))
        return do.promote(model, completed)
