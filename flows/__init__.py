"""The Prefect flows of this project, one a file.

A flow's module imports little, its body the rest: a worker gives each run a process of its own, which reports that it runs
before pandas, scikit-learn and the like are loaded. Bodies import `tasks` within `opened`, which puts the project on the path.
"""
