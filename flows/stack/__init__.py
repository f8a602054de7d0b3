"""The servers of one home, on this machine: Prefect with its worker, MLflow, and Evidently's UI."""
