"""MLflow: runs, registered models, model files, and its database."""
