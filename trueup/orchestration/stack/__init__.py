"""The servers of one home, on this machine: Prefect with its worker, MLflow, Evidently's UI, and the reports."""
