"""Takes a home along to another place, and closes the old one for writing. Nothing is deleted.

The old home is locked and closed first, so that what is copied is all there is. Each file is compared with its copy by
digest, and the new home's ledger, models and batches are verified. The new home counts only after that. If anything fails,
the old home is opened again; a move that was killed can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trueup import files
from trueup.adapters.sql import closing
from trueup.audit.verify import verify
from trueup.config.schema import ModelConfig
from trueup.crash import reach
from trueup.errors import WorkError
from trueup.home import Home, identity_of
from trueup.secrecy import masked
from trueup.serving.log_format import is_written, log_files
from trueup.serving.published import folder_of
from trueup.serving.state import LOG
from trueup.upkeep.move_files import copy_files
from trueup.upkeep.move_target import Target, arrive, is_complete, mark_copy, prepare, target_of
from trueup.upkeep.relocate_databases import FILES, LEDGER, MLFLOW, Named, is_inside, load


@dataclass(frozen=True)
class Moved:
    """A new home, what was compared with the old one, and the problems of the old one that came along."""

    home: str
    database: str
    mlflow: str
    files: int  # with equal digests
    bytes: int
    batches: int  # read, with the digest that was recorded at their landing
    entries: int  # of the ledger, verified
    problems: tuple[str, ...]  # of `ledger verify`, in the old home, too


def move(
    home: Home, configs: Mapping[str, ModelConfig], to: str, database: str | None = None, mlflow: str | None = None
) -> Moved:
    """Move a home to a folder or to an address in an object store, its ledger and state to `database`, MLflow to `mlflow`.

    Without a database these go to SQLite in the new home. Raises UsageError for a place that is in use or a home that
    cannot be moved so, WorkError while anything runs or if the new home is not equal to the old one.
    """
    target = target_of(home, to, database, mlflow)
    if closing.place_of(home.engine) == target.shown and not is_complete(target):
        closing.reopen(home.engine)  # the same move was interrupted
    entries = home.ledger.entries()
    before = [str(problem) for problem in verify(configs, home).problems]
    with _stopped(home, configs):
        prepare(target)
        reach("move.begun")
        with _closed(home, target.shown):
            count, size = _copied(home, target)
            moved = Home(target.settings, looks=True)
            try:
                batches = _require_equal(moved, configs, len(entries), entries[-1].hash if entries else None, before)
            finally:
                moved.close()
            reach("move.verified")
            arrive(target)
    reach("move.arrived")
    new = target.settings
    places = masked(new.database), masked(new.tracking_uri)
    return Moved(new.home, *places, count, size, batches, len(entries), tuple(before))


def reopen(home: Home) -> bool:
    """Open a home again that an interrupted move left closed; return whether it was closed."""
    return closing.reopen(home.engine)


@contextmanager
def _stopped(home: Home, configs: Mapping[str, ModelConfig]) -> Iterator[None]:
    """Hold all locks of the home. Raises WorkError if any work is in progress."""
    models = {*configs, *(entry.model for entry in home.ledger.entries())}
    with ExitStack() as locks:
        for name, lock in home.locks(sorted(models)).items():
            if not locks.enter_context(lock):
                raise WorkError(f"{name} is at work in this home; stop all workers and servers, and run again")
        written = [file for model in sorted(models) for file in _logs(home, model) if is_written(file)]
        if written:
            raise WorkError(f"a server writes to {written[0]}; stop `trueup serve` and `trueup up`, and run again")
        yield


def _logs(home: Home, model: str) -> list[Path]:
    folder = folder_of(home.root, model) / LOG
    return list(log_files(folder)) if folder.is_dir() else []


@contextmanager
def _closed(home: Home, place: str) -> Iterator[None]:
    """Close the home for writing, and open it again if the block fails."""
    closing.close(home.engine, place)
    try:
        yield
    except BaseException:
        closing.reopen(home.engine)
        raise


def _copied(home: Home, target: Target) -> tuple[int, int]:
    """Copy the files and load the databases. An interrupted copy leaves no folder that could pass for a home."""
    place = target.settings.root
    beside = place.with_name(f"{place.name}.moving")
    try:
        with files.whole_folder(place, beside) as fresh:
            count, size = copy_files(home, target.settings, fresh)
            reach("move.files")
            _load(home, target, fresh)
            reach("move.loaded")
    except OSError as error:
        raise WorkError(f"writing {beside} failed: {error}; free some space and run again") from None
    return count, size


def _load(home: Home, target: Target, fresh: Path) -> None:
    """Bring the rows of the databases to their new places."""
    new = target.settings
    ledger, mlflow = _in(fresh, LEDGER, new.database), _in(fresh, MLFLOW, new.mlflow_store)
    for what, url in ((LEDGER, home.settings.database), (MLFLOW, home.settings.mlflow_store)):
        if not is_inside(home.root, url):
            _remove_database(fresh / FILES[what])  # of the time before the home moved to PostgreSQL
    if not target.on_server:
        mark_copy(fresh / FILES[LEDGER], target)
    old = Named(
        _copy_of(home, fresh, LEDGER, home.settings.database),
        target.mlflow and _copy_of(home, fresh, MLFLOW, target.mlflow),
        home.settings.artifact_root,
        home.identity,
    )
    load(old, Named(ledger, target.mlflow and mlflow, new.artifact_root, identity_of(ledger, fresh)))
    for what, url in ((LEDGER, ledger), (MLFLOW, mlflow)):
        if not url.startswith("sqlite"):
            _remove_database(fresh / FILES[what])


def _remove_database(file: Path) -> None:
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()


def _in(fresh: Path, what: str, place: str) -> str:
    """The address of a new database, in the folder in which it is made."""
    return f"sqlite:///{fresh / FILES[what]}" if place.startswith("sqlite") else place


def _copy_of(home: Home, fresh: Path, what: str, place: str) -> str:
    """The address of an old database: of its copy, if it was in the old home."""
    return f"sqlite:///{fresh / FILES[what]}" if is_inside(home.root, place) else place


def _require_equal(
    moved: Home, configs: Mapping[str, ModelConfig], entries: int, newest: str | None, before: list[str]
) -> int:
    """Verify the new home: its ledger, models and batches. Returns the number of batches."""
    there = moved.ledger.entries()
    if len(there) != entries or (there[-1].hash if there else None) != newest:
        raise WorkError(f"{moved.root}: its ledger is not the old one; the old home stays open")
    if new := [text for text in (str(p) for p in verify(configs, moved).problems) if text not in before]:
        raise WorkError(f"{moved.root}: {new[0]}; the old home stays open")
    count = 0
    for config in configs.values():
        for dataset in (config.rows_dataset, config.labels_dataset):
            for ref in moved.store.batches(dataset):
                moved.store.read(ref, verify=True)
                count += 1
    return count
