"""Creates the home's folder, or refuses in one line if this account may not."""

from __future__ import annotations

import os
from pathlib import Path

from trueup.errors import UsageError


def make_home(root: Path) -> None:
    """Create the home's folder. Raises UsageError if this account may not write there."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(root, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise UsageError(
            f"the home {root} cannot be written: {reason}; set TRUEUP_HOME to a folder that this account may write to "
            "(`trueup status`, `trueup check` and `trueup ledger verify` only read)"
        )
