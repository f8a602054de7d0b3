"""What must be so before Prefect, MLflow or Great Expectations are imported: no telemetry, no chatter, no home of the user's."""

import os
import tempfile

# Prefect reads these once, at its import; a server that a test needs has its own home (tests/flows/conftest.py).
os.environ.update(
    {
        "PREFECT_HOME": tempfile.mkdtemp(prefix="trueup-prefect-"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
)
for name in [name for name in os.environ if name.startswith("TRUEUP_")]:
    del os.environ[name]
