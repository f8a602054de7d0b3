"""One Prefect task a stage: the stage function plus retries, run name and artifacts."""
