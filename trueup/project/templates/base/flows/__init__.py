"""The Prefect flows of this project, one per file.

A flow's module imports little, and its body the rest: a worker gives each run its own process, which reports that it
runs before pandas and scikit-learn are loaded. Bodies import `tasks` within `opened`, which puts the project on the
path.
"""
