"""A model's files: written by skops, checked byte by byte against a digest, and loaded in one place only.

A pickle runs code when it is read, an edited MLmodel can request one, and one flipped bit makes another model that
loads without an error. So this module does not trust the files: the digest comes from the ledger, the name of the one
file to read is fixed, and so are the types in it. MLflow takes no part.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import select
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import trueup
from trueup.config.tasks import Task
from trueup.domain.data.digest import digest_of
from trueup.domain.learning.recipe import TRUSTED_TYPES
from trueup.errors import UntrustedModel

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FORMAT = "skops"
MODEL_FILE = "model.skops"
FILES = (MODEL_FILE, "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt")
_LEFT_BY_MLFLOW = "registered_model_meta"  # MLflow's loaders add it to a model; it is never read


@dataclass(frozen=True)
class Manifest:
    """Every file of a folder: path within it, size in bytes, SHA-256 in hex; ordered by path."""

    files: tuple[tuple[str, int, str], ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the list; it changes with any file or bit."""
        return digest_of(self.files)


def manifest(folder: Path) -> Manifest:
    """List a folder's files exactly. Raises UntrustedModel for a link, or anything else that is not a plain file."""
    return Manifest(tuple(sorted(_facts(path, folder) for path in _plain_files(folder))))


def dump(model: Pipeline, folder: Path) -> None:
    """Write a fitted pipeline as `model.skops`. Raises UntrustedModel for one that `load` would refuse."""
    import skops.io

    file = folder / MODEL_FILE
    skops.io.dump(model, file)
    if foreign := sorted(set(skops.io.get_untrusted_types(file=file)) - set(TRUSTED_TYPES)):
        raise UntrustedModel(
            f"the model holds types that are not trusted: {', '.join(foreign)}; build it from the families of "
            "trueup.domain.learning.recipe, or add a type that runs no code when it is loaded to TRUSTED_TYPES there"
        )


def load(folder: Path, expected_digest: str, shown: str | None = None) -> Pipeline:
    """Load a fitted pipeline if its files match the digest: the only place where a model is loaded.

    The files are first copied to a private folder, so that the checked files are the loaded ones. Raises UntrustedModel
    before anything but the files' bytes was read; `shown` is their location in messages, if not `folder`.
    """
    import skops.io

    where = shown or str(folder)

    with tempfile.TemporaryDirectory(prefix="trueup-model-") as private:
        copy = Path(private)
        for path in _plain_files(folder):
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target, follow_symlinks=False)
        files = manifest(copy)
        if files.digest != expected_digest:
            raise _refused(where, _difference(files, expected_digest))
        try:
            return skops.io.load(copy / MODEL_FILE, trusted=list(TRUSTED_TYPES))
        except Exception as error:  # skops and its dependencies raise any error
            raise _refused(where, f"skops does not read it: {error}") from error


def check(folder: Path, expected_digest: str, shown: str | None = None) -> None:
    """Compare a folder's files with the digest without loading. Raises UntrustedModel."""
    files = manifest(folder)
    if files.digest != expected_digest:
        raise _refused(shown or str(folder), _difference(files, expected_digest))


def _plain_files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                if path != folder / _LEFT_BY_MLFLOW:
                    yield path
            elif not stat.S_ISDIR(mode):
                kind = "a link" if stat.S_ISLNK(mode) else "not a plain file"
                raise _refused(str(folder), f"{path.relative_to(folder)} is {kind}")


def _facts(path: Path, folder: Path) -> tuple[str, int, str]:
    with path.open("rb") as file:
        return path.relative_to(folder).as_posix(), path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _difference(files: Manifest, expected_digest: str) -> str:
    names = {path for path, _, _ in files.files}
    differences = [f"{name} is missing" for name in FILES if name not in names]
    differences += [f"{name} does not belong there" for name in sorted(names - set(FILES))]
    differences = differences or ["the content of a file was changed"]
    return f"{', '.join(differences)} (digest {files.digest[:12]}, the ledger has {expected_digest[:12]})"


def _refused(where: str, reason: str) -> UntrustedModel:
    return UntrustedModel(
        f"{where}: the model was not loaded: {reason}; put its files back from a copy, or go back to an earlier "
        "version with `trueup rollback`"
    )


class FreshProcess:
    """A second Python process that loads a model from its files alone.

    Start it early: it imports while this process works. Use it as a context manager, or close it.
    """

    def __init__(self) -> None:
        root = Path(trueup.__file__).parents[1]
        path = os.pathsep.join(p for p in (str(root), os.environ.get("PYTHONPATH", "")) if p)
        self._one_at_a_time = threading.Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from trueup.adapters.mlflow.model_files import _serve; _serve()"],
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

    def predict(
        self,
        folder: Path,
        expected_digest: str,
        rows: Path,
        task: Task,
        classes: Sequence[str] | None = None,
        timeout: float = 300.0,
    ) -> NDArray[np.float64]:
        """Predictions of the model in `folder` for the feature frame in the Parquet file `rows`, like `predict`.

        Raises UntrustedModel if the model cannot be loaded or used there, or not within `timeout` seconds.
        """
        named = None if classes is None else list(classes)
        return self._answer(folder, expected_digest, rows, task, timeout, classes=named)

    def time(
        self, folder: Path, expected_digest: str, rows: Path, task: Task, repeats: int, timeout: float = 300.0
    ) -> NDArray[np.float64]:
        """Seconds of each of `repeats` predictions of all `rows` (repeats,), after a warm-up. Raises like `predict`."""
        return self._answer(folder, expected_digest, rows, task, timeout, repeats=repeats)

    def _answer(
        self, folder: Path, expected_digest: str, rows: Path, task: Task, timeout: float, **more: object
    ) -> NDArray[np.float64]:
        with tempfile.TemporaryDirectory(prefix="trueup-fresh-") as private, self._one_at_a_time:
            answer = Path(private) / "answer.npy"
            about = {"folder": str(folder), "digest": expected_digest, "rows": str(rows), "task": task.value}
            error = self._ask(json.dumps({**about, **more, "answer": str(answer)}), timeout)
            if error is not None:
                raise UntrustedModel(f"in a fresh process the model could not be used: {error}")
            result: NDArray[np.float64] = np.load(answer, allow_pickle=False)
            return result

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
            self._process.kill()
            return f"no answer within {timeout:g} s"
        line = answers.readline()
        return json.loads(line)["error"] if line else self._last_words()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"it ended with code {code}: {lines[-1] if lines else 'no message'}"


_running: list[FreshProcess] = []


def fresh_process() -> FreshProcess:
    """The shared instance for all models, started at first use, and again when it has ended."""
    with _beginning:
        if not _running or not _running[-1].alive:
            for ended in _running:
                ended.close()
            _running[:] = [FreshProcess()]
    return _running[-1]


_beginning = threading.Lock()
_of_the_parent: list[FreshProcess] = []


@atexit.register
def _end() -> None:
    for process in _running:
        process.close()


def _leave_to_the_parent() -> None:
    """After a fork, drop the inherited process: it belongs to the parent, and waiting for it would not end."""
    global _beginning
    _of_the_parent.extend(_running)  # kept, because garbage collection would wait for it
    _running.clear()
    _beginning = threading.Lock()


os.register_at_fork(after_in_child=_leave_to_the_parent)


def _serve() -> None:
    """Answer a FreshProcess: one line of JSON in, one out, until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with answers
    import pyarrow.parquet  # noqa: F401 - what read_parquet needs, imported while nobody waits
    import skops.io  # noqa: F401

    import trueup.domain.learning.learning  # noqa: F401

    for line in sys.stdin:
        _answer(answers, json.loads(line))


def _answer(answers: IO[str], request: dict[str, Any]) -> None:
    import pandas as pd

    from trueup.domain.learning.learning import predict

    def seconds() -> float:
        begun = time.perf_counter()
        predict(model, rows, task)
        return time.perf_counter() - begun

    error = None
    try:
        model = load(Path(request["folder"]), request["digest"])
        rows, task = pd.read_parquet(request["rows"]), Task(request["task"])
        result = predict(model, rows, task, request.get("classes"))
        if repeats := request.get("repeats"):
            result = np.asarray([seconds() for _ in range(repeats)])
        np.save(request["answer"], result, allow_pickle=False)
    except Exception as problem:
        error = str(problem) or type(problem).__name__
    print(json.dumps({"error": error}), file=answers, flush=True)
