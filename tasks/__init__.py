"""One Prefect task a stage: the stage function plus retries, run name and artifacts. Nothing is decided here."""

from tasks.evaluate import evaluate
from tasks.ingest import ingest
from tasks.monitor import monitor
from tasks.promote import judge, promote
from tasks.register import register
from tasks.score import score
from tasks.train import plan, refit, train
from tasks.validate import validate

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
