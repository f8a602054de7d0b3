"""Servers side by side, and load on them; see `benchmarks.serving`."""
