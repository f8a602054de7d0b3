"""Bundles: a version as files that predict without Trueup, and what devices hand back."""
