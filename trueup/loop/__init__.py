"""The loop: one turn, what starts a retrain, what limits it, and recovery after a crash."""
