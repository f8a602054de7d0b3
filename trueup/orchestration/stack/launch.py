"""The start of a program: `python -m trueup.orchestration.stack.launch PROGRAM` becomes that program.

Prefect's and MLflow's servers have children that survive if only the parent is killed, and keep the port. They are
ended first. The runs of a killed worker end by themselves.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trueup.config.settings import Settings
from trueup.orchestration.recovery import processes
from trueup.orchestration.stack.services import PROGRAM_MARK, WORKER, Layout


def main(program: str) -> None:
    """Become the program."""
    layout = Layout(Settings(), Path.cwd())
    if program != WORKER:
        processes.end(layout.home, program, grace=2.0)
    command, more = layout.command(program)
    os.execve(command[0], command, {**os.environ, **more, PROGRAM_MARK: program})


if __name__ == "__main__":
    main(sys.argv[1])
