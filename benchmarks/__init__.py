"""Measurements that the README quotes: run with `python -m benchmarks.<name>`."""
