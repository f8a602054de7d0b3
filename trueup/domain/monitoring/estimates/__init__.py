"""Estimates of performance without labels, and their comparison with the labels that come later."""
