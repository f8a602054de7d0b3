"""The stage functions as the steps of the loop, without an orchestrator.

`RETRIES` is how often a step is retried after a transient error, see `TrueupError.transient`.
"""

from trueup.loop.scoring import score
from trueup.stages.evaluate import evaluate
from trueup.stages.export import export
from trueup.stages.ingest import ingest
from trueup.stages.monitoring.monitor import monitor
from trueup.stages.promote import judge, promote
from trueup.stages.refit import refit
from trueup.stages.register import register
from trueup.stages.train import plan, train
from trueup.stages.validate import validate

RETRIES = {
    "ingest": 3,
    "validate": 1,
    "score": 2,
    "monitor": 1,
    "plan": 1,
    "train": 1,
    "evaluate": 2,
    "register": 2,
    "judge": 1,
    "export": 2,
    "refit": 1,
    "promote": 2,
}
DELAYS = (2.0, 10.0, 30.0)  # seconds before the first, second and third of them

__all__ = [
    "evaluate",
    "export",
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
