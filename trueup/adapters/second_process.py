"""A second Python process that answers questions, one line of JSON in, one out.

It imports little itself, because what it serves may be judged for what it needs.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

import trueup
from trueup.imports import undisturbed


class SecondProcess:
    """A second process of this Python. Start it early: it imports while this process works.

    Use it as a context manager, or close it. Subclasses name the function that it runs, and ask.
    """

    serves: ClassVar[str]  # "module:function" without arguments; see `answer_all`

    def __init__(self) -> None:
        root = Path(trueup.__file__).parents[1]
        path = os.pathsep.join(p for p in (str(root), os.environ.get("PYTHONPATH", "")) if p)
        module, function = self.serves.split(":")
        self._one_at_a_time = threading.Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            # -P: a file of the present folder must not be imported in the place of a package
            [sys.executable, "-P", "-c", f"from {module} import {function}; {function}()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._process.poll() is None

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, request: Mapping[str, object], timeout: float) -> str | None:
        """Wait for the answer, up to `timeout` seconds. Returns None, or why there is no answer; late means its end."""
        with self._one_at_a_time:
            try:
                return self._ask(json.dumps(request), timeout)
            except BaseException:  # interrupted: its answer would be taken for that to the next question
                self._kill()
                raise

    def _ask(self, request: str, timeout: float) -> str | None:
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        try:
            print(request, file=questions, flush=True)
        except BrokenPipeError:
            return self._last_words()
        ready, _, _ = select.select([answers], [], [], timeout)
        if not ready:
            self._kill()
            return f"no answer within {timeout:g} s"
        line = answers.readline()
        return json.loads(line)["error"] if line else self._last_words()

    def _kill(self) -> None:
        """End it, so that `alive` is false at once."""
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"it ended with code {code}: {lines[-1] if lines else 'no message'}"


def answer_all(prepare: Callable[[], None], answer: Callable[[dict[str, Any]], None]) -> None:
    """Answer a SecondProcess until its input ends, after `prepare`. An error of `answer` is the answer to one question."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with answers
    with undisturbed():
        prepare()
    for line in sys.stdin:
        error = None
        try:
            answer(json.loads(line))
        except Exception as problem:
            error = str(problem) or type(problem).__name__
        print(json.dumps({"error": error}), file=answers, flush=True)


Kind = TypeVar("Kind", bound=SecondProcess)


class Shared(Generic[Kind]):
    """One process of a kind for everybody, started at first use, and again when it has ended."""

    def __init__(self, kind: type[Kind]) -> None:
        self._kind = kind
        self._running: list[Kind] = []
        self._of_the_parent: list[Kind] = []
        self._beginning = threading.Lock()
        atexit.register(self._end)
        os.register_at_fork(after_in_child=self._leave_to_the_parent)

    def __call__(self) -> Kind:
        with self._beginning:
            if not self._running or not self._running[-1].alive:
                for ended in self._running:
                    ended.close()
                self._running[:] = [self._kind()]
        return self._running[-1]

    def _end(self) -> None:
        for process in self._running:
            process.close()

    def _leave_to_the_parent(self) -> None:
        """After a fork, drop the inherited process: it belongs to the parent, and waiting for it would not end."""
        self._of_the_parent.extend(self._running)  # kept, because garbage collection would wait for it
        self._running.clear()
        self._beginning = threading.Lock()
