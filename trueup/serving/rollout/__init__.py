"""A rollout in the server: which version answers a row, and the figures of both versions on the same rows."""

from trueup.serving.rollout.figures import BUSY, TIMEOUT, Figures, Outcome, RowsOf, Step, read_figures
from trueup.serving.rollout.routing import Role, Routing, bucket, row_key, worker_name

__all__ = [
    "BUSY",
    "TIMEOUT",
    "Figures",
    "Outcome",
    "Role",
    "Routing",
    "RowsOf",
    "Step",
    "bucket",
    "read_figures",
    "row_key",
    "worker_name",
]
