"""The process of one side: `python -m trueup.ci FOLDER` does the job in a folder; `trueup ci compare` starts it."""

from __future__ import annotations

import sys
from pathlib import Path

from trueup.ci.side import run
from trueup.errors import TrueupError

if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]))
    except TrueupError as error:
        sys.exit(str(error))
