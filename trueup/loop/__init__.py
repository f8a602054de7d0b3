"""The loop: one turn, triggers and limits of retrains, and recovery after a crash."""
