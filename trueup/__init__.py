"""Continuous training for tabular models. The logic, without an orchestrator: see README.md for the map."""
