"""The stage functions themselves, as the steps of the loop: what runs without an orchestrator."""

from trueup.stages.evaluate import evaluate
from trueup.stages.ingest import ingest
from trueup.stages.monitor import monitor
from trueup.stages.promote import judge, promote
from trueup.stages.refit import refit
from trueup.stages.register import register
from trueup.stages.score import score
from trueup.stages.train import plan, train
from trueup.stages.validate import validate

__all__ = [
    "evaluate",
    "ingest",
    "judge",
    "monitor",
    "plan",
    "promote",
    "refit",
    "register",
    "score",
    "train",
    "validate",
]
