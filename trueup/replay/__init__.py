"""Replay: whole policies of retraining, compared on the user's own history."""
