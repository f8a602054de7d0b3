"""Compares the models of a pull request with those of its base branch."""
