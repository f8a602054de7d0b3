"""The Prefect flows, and the command line that starts them.

A flow's module imports little, its body the rest: a worker gives each run a process of its own, which says that it runs
before pandas, scikit-learn and the like are loaded, seconds after the event that started it.
"""
