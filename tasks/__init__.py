# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""The stages as Prefect tasks, in the order of the loop, with retries, a run name and artifacts; they decide nothing."""

from trueup.loop import steps
from trueup.orchestration.artifacts import show_diagnosis, show_validation
from trueup.orchestration.stage_task import stage_task

ingest = stage_task(steps.ingest)
validate = stage_task(steps.validate, show_validation)
score = stage_task(steps.score)
monitor = stage_task(steps.monitor, show_diagnosis)
plan = stage_task(steps.plan)
train = stage_task(steps.train)
evaluate = stage_task(steps.evaluate)
register = stage_task(steps.register)
judge = stage_task(steps.judge)
export = stage_task(steps.export)
refit = stage_task(steps.refit)
promote = stage_task(steps.promote)
