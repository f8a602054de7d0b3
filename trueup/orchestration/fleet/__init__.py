"""Runs the turns of a fleet: in this process, in worker processes, or as flow runs."""
