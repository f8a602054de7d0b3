"""Crash points: named moments between two changes of state at which a test can kill the process.

A test names one in the environment, and the process that reaches it kills itself like `kill -9`: nothing is caught,
flushed or cleaned up. Without the variable they have no effect.
"""

from __future__ import annotations

import os
import signal

CRASH_AT = "TRUEUP_CRASH_AT"

# In the order of the loop: the point, and the state there.
POINTS = {
    "file.beside": "a Parquet file is written under a temporary name and not yet renamed",
    "ingest.file": "a batch's file is in its place, and no row makes it visible",
    "ingest.labels": "a batch's labels are landed, its rows are not",
    "train.begun": "MLflow's run is open, nothing is trained",
    "upload.begun": "MLflow has a model without files",
    "upload.files": "the model's files are there, and MLflow does not call it ready",
    "model.logged": "the model is ready, and no record names it",
    "register.version": "the model has a version, and no decision names it",
    "export.checked": "the ONNX form of the challenger is checked, and no record has the result",
    "refit.fitted": "the accepted recipe is fitted again, and that model has no version",
    "ledger.writing": "an entry is written, and its transaction is open",
    "ledger.recorded": "an entry is recorded, without its consequences",
    "alias.set": "MLflow's alias names the champion, and no event was delivered",
    "score.file": "the file of predictions is there, and no row makes it visible",
    "score.saved": "predictions are kept, and the user's sink has none",
    "run.announced": "what a run has found is announced, and its batches do not count as handled",
}

# Those of `trueup move`.
POINTS_OF_MOVE = {
    "move.begun": "the new home is marked as arriving, and the old one is open",
    "move.file": "a file is at the new place, others are not",
    "move.files": "all files are copied, no rows are",
    "move.loaded": "the new databases have all rows, and the folder has no name yet",
    "move.verified": "the new home is verified, and does not count",
    "move.arrived": "the new home counts, and the old one is closed",
}


def reach(point: str) -> None:
    """Die here if the environment names this point."""
    if os.environ.get(CRASH_AT) == point:
        os.kill(os.getpid(), signal.SIGKILL)
