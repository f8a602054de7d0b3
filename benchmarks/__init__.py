"""Measurements in the docs: run with `python -m benchmarks.<name>`."""
