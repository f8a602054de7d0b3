"""Replay: compares retraining policies on the user's own history."""
