"""Commands of `trueup`, each in a process of its own, forked from one that has imported all libraries once.

A command imports for five seconds of CPU, which a page with a dozen commands would take a dozen times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.fixtures import Answer

_PARENT = """
import json, os, sys
import trueup.cli.entry, trueup.cli.main, trueup.home, trueup.loop.steps, trueup.model
import evidently, great_expectations, mlflow, onnx, onnxruntime, optuna, sklearn.ensemble

for line in sys.stdin:
    asked = json.loads(line)
    if (child := os.fork()) == 0:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = ["trueup", *asked["words"]]
        code = 0
        try:
            trueup.cli.entry.main()
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # without the ends of libraries, which expect the threads of the parent
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Prefork:
    """The process that commands are forked from. No server of Prefect may be configured: its settings are read at import."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        self._parent = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _PARENT],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, words: list[str], folder: Path, environment: dict[str, str]) -> Answer:
        """Say a command in a folder, with nothing else in the environment."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        files = {name: str(self._folder / name) for name in ("out", "err")}
        asked = {"words": words, "folder": str(folder), "environment": environment, **files}
        self._parent.stdin.write(json.dumps(asked) + "\n")
        self._parent.stdin.flush()
        code = int(self._parent.stdout.readline())
        return Answer(code, *(Path(file).read_text(encoding="utf-8") for file in files.values()))

    def close(self) -> None:
        """End the process."""
        with self._parent:
            assert self._parent.stdin is not None
            self._parent.stdin.close()
