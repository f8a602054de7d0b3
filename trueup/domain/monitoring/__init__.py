"""Drift, unusual batches, and the diagnosis of a champion."""
