"""History features of rows that were just received, from the past that the loop publishes."""

from trueup.serving.history.store import EPOCH, HistoryStore, Plan, microseconds

__all__ = ["EPOCH", "HistoryStore", "Plan", "microseconds"]
