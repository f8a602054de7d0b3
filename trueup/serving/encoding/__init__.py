"""Rows of requests become features."""
