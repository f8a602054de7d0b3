"""Limits on retrains, and the choice among retraining policies."""
