"""A model's files: written by skops, checked byte by byte against a digest, and loaded in one place only.

A pickle runs code when it is read, an edited MLmodel can request one, and one flipped bit makes another model that
loads without an error. So this module does not trust the files: the digest comes from the ledger, the name of the one
file to read is fixed, and so are the types in it. MLflow takes no part.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trueup.adapters.onnx import ONNX_FILE
from trueup.adapters.parser_race import read_again
from trueup.adapters.second_process import SecondProcess, Shared, answer_all
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
_importing = threading.Lock()


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
    file = folder / MODEL_FILE
    _skops().dump(model, file)
    if foreign := sorted(set(_skops().get_untrusted_types(file=file)) - set(TRUSTED_TYPES)):
        raise UntrustedModel(
            f"the model holds types that are not trusted: {', '.join(foreign)}; build it from the families of "
            "trueup.domain.learning.recipe, or add a type that runs no code when it is loaded to TRUSTED_TYPES there"
        )


def load(folder: Path, expected_digest: str, shown: str | None = None) -> Pipeline:
    """Load a fitted pipeline if its files match the digest: the only place where a model is loaded.

    The files are first copied to a private folder, so that the checked files are the loaded ones. Raises UntrustedModel
    before anything but the files' bytes was read; `shown` is their location in messages, if not `folder`.
    """
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
            return read_again(lambda: _skops().load(copy / MODEL_FILE, trusted=list(TRUSTED_TYPES)))
        except ModuleNotFoundError as error:
            raise UntrustedModel(
                f"{where}: the model was not loaded, because its family needs the package {error.name}, which is not "
                f"installed here; pip install 'trueup[{error.name}]'"
            ) from error
        except Exception as error:  # skops and its dependencies raise any error
            raise _refused(where, f"skops does not read it: {error}") from error


@cache
def _skops() -> ModuleType:
    """Import `skops.io`, which then trusts those estimators of scikit-learn that the families have imported.

    By itself it trusts all of them, and imports all of scikit-learn to list them: half a second and 20 MiB a process.
    """
    import sklearn.utils
    from sklearn.base import BaseEstimator

    import trueup.domain.learning.learning  # noqa: F401 - imports the families

    def imported() -> list[tuple[str, type]]:
        kinds, left = dict[str, type](), [BaseEstimator]
        while left:
            for kind in left.pop().__subclasses__():
                kinds[f"{kind.__module__}.{kind.__qualname__}"] = kind
                left.append(kind)
        return [(kind.__name__, kind) for kind in kinds.values()]

    with _importing:
        every = sklearn.utils.all_estimators
        sklearn.utils.all_estimators = imported
        try:
            return import_module("skops.io")
        finally:
            sklearn.utils.all_estimators = every


def check(folder: Path, expected_digest: str, shown: str | None = None) -> Manifest:
    """Compare a folder's files with the digest without loading, and return their list. Raises UntrustedModel."""
    files = manifest(folder)
    if files.digest != expected_digest:
        raise _refused(shown or str(folder), _difference(files, expected_digest))
    return files


def read(folder: Path, name: str, expected_digest: str, shown: str | None = None) -> bytes | None:
    """Read one file of a folder whose files match the digest; None without a file of that name.

    Raises UntrustedModel, also if the file changes between the check and the reading.
    """
    digests = {path: digest for path, _, digest in check(folder, expected_digest, shown).files}
    if name not in digests:
        return None
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != digests[name]:
        raise _refused(shown or str(folder), f"{name} was changed while it was read")
    return content


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
    differences += [f"{name} does not belong there" for name in sorted(names - {*FILES, ONNX_FILE})]
    # The digest does not say whether the model had an ONNX form.
    form = f"{ONNX_FILE} was {'added' if ONNX_FILE in names else 'removed'}"
    differences = differences or [f"the content of a file was changed, or {form}"]
    return f"{', '.join(differences)} (digest {files.digest[:12]}, the ledger has {expected_digest[:12]})"


def _refused(where: str, reason: str) -> UntrustedModel:
    return UntrustedModel(
        f"{where}: the model was not loaded: {reason}; put its files back from a copy, or go back to an earlier "
        "version with `trueup rollback`"
    )


class FreshProcess(SecondProcess):
    """A second Python process that loads a model from its files alone."""

    serves = "trueup.adapters.mlflow.model_files:_serve"

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
        with tempfile.TemporaryDirectory(prefix="trueup-fresh-") as private:
            answer = Path(private) / "answer.npy"
            about = {"folder": str(folder), "digest": expected_digest, "rows": str(rows), "task": task.value}
            error = self.ask({**about, **more, "answer": str(answer)}, timeout)
            if error is not None:
                raise UntrustedModel(f"in a fresh process the model could not be used: {error}")
            result: NDArray[np.float64] = read_again(lambda: np.load(answer, allow_pickle=False))
            return result


fresh_process = Shared(FreshProcess)  # for all models


def _serve() -> None:
    answer_all(_import, _answer)


def _import() -> None:
    """Import what answers need while nobody waits."""
    import pyarrow.parquet  # noqa: F401 - for read_parquet

    _skops()


def _answer(request: dict[str, Any]) -> None:
    import pandas as pd

    from trueup.domain.learning.learning import predict

    def seconds() -> float:
        begun = time.perf_counter()
        predict(model, rows, task)
        return time.perf_counter() - begun

    model = load(Path(request["folder"]), request["digest"])
    rows, task = pd.read_parquet(request["rows"]), Task(request["task"])
    result = predict(model, rows, task, request.get("classes"))
    if repeats := request.get("repeats"):
        result = np.asarray([seconds() for _ in range(repeats)])
    np.save(request["answer"], result, allow_pickle=False)
