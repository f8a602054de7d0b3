"""Takes a home along to another place, and closes the old one for writing. Nothing is deleted.

The old home is locked and closed first, so that what is copied is all there is. The copy is compared byte by byte, and the
new home's ledger and batches are verified; if anything fails, the old home is opened again.
"""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trueup import files
from trueup.adapters.sql import closing
from trueup.adapters.sql.engines import connect
from trueup.audit.verify import verify
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.errors import UsageError, WorkError
from trueup.home import Home
from trueup.secrecy import masked
from trueup.serving.log_format import is_written, log_files
from trueup.serving.published import folder_of
from trueup.serving.state import LOG
from trueup.upkeep.backup import copy_home, elsewhere_of, require_empty
from trueup.upkeep.relocate_databases import FILES, LEDGER, bring, is_inside


@dataclass(frozen=True)
class Moved:
    """A new home, what was compared with the old one, and the problems of the old one that came along."""

    home: str
    database: str
    files: int  # equal byte by byte
    bytes: int
    batches: int  # read, with the digest that was recorded at their landing
    entries: int  # of the ledger, verified
    problems: tuple[str, ...]  # of `ledger verify`, in the old home, too


def move(home: Home, configs: Mapping[str, ModelConfig], to: Path, database: str | None = None) -> Moved:
    """Move a home on SQLite to a new folder, and its ledger and state to another database if one is named.

    Raises UsageError for a place that is in use or a home that cannot be moved so, WorkError while anything runs or if the
    new home is not equal to the old one.
    """
    settings = _new_settings(home, to, database)
    entries = home.ledger.entries()
    before = [str(problem) for problem in verify(configs, home).problems]
    with _stopped(home, configs), _closed(home, f"{settings.root} ({masked(settings.database)})"):
        count, size = _copied(home, settings)
        moved = Home(settings)
        try:
            batches = _require_equal(moved, configs, len(entries), entries[-1].hash if entries else None, before)
        finally:
            moved.close()
    return Moved(str(settings.root), masked(settings.database), count, size, batches, len(entries), tuple(before))


def reopen(home: Home) -> bool:
    """Open a home again that an interrupted move left closed; return whether it was closed."""
    return closing.reopen(home.engine)


def _new_settings(home: Home, to: Path, database: str | None) -> Settings:
    settings, target = home.settings, to.expanduser().resolve()
    if re.match(r"\w{2,}:/", str(to)):  # a path has one slash where a URL has two
        raise UsageError(f"{to}: a home moves to a folder; an object store is not supported yet")
    if target.is_relative_to(home.root):
        raise UsageError(f"{target} is inside the home; use a folder outside of {home.root}")
    if not (home.root / FILES[LEDGER]).is_file() or not is_inside(home.root, settings.database):
        raise UsageError(
            f"the ledger of {home.root} is in {masked(settings.database)}, and only a home with its own SQLite database "
            "moves so; copy a PostgreSQL with pg_dump, and the folder with `trueup backup`"
        )
    if database is not None and not is_inside(home.root, settings.mlflow_store):
        raise UsageError(
            f"MLflow is in {masked(settings.mlflow_store)}, outside of the home, and its runs name the old database; move the "
            "folder only, without --database"
        )
    require_empty(target)
    return settings.model_copy(update={"home": str(target), "database_url": database})


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


def _copied(home: Home, settings: Settings) -> tuple[int, int]:
    """Copy the files and load the databases. An interrupted copy leaves no partial home."""
    target = settings.root
    beside = target.with_name(f"{target.name}.moving")
    try:
        with files.whole_folder(target, beside) as fresh:
            copy_home(home.root, fresh)
            copied = [file for file in sorted(fresh.rglob("*")) if file.is_file() and file.suffix != ".db"]
            if different := [f for f in copied if not filecmp.cmp(f, home.root / f.relative_to(fresh), shallow=False)]:
                raise WorkError(f"{different[0]} is not equal to the old file; check the disk, and run again")
            _open_copy(fresh / FILES[LEDGER])
            size = sum(file.stat().st_size for file in copied)
            bring(fresh, settings, home.settings.artifact_root, elsewhere_of(home.settings))
    except OSError as error:
        raise WorkError(f"writing {beside} failed: {error}; free some space and run again") from None
    return len(copied), size


def _open_copy(file: Path) -> None:
    """The copy of a database is as closed as the old one."""
    engine = connect(f"sqlite:///{file}")
    try:
        closing.reopen(engine)
    finally:
        engine.dispose()


def _require_equal(
    moved: Home, configs: Mapping[str, ModelConfig], entries: int, newest: str | None, before: list[str]
) -> int:
    """Verify the new home: its ledger, models and batches. Returns the number of batches."""
    there = moved.ledger.entries()
    if len(there) != entries or (there[-1].hash if there else None) != newest:
        raise WorkError(f"{moved.root}: its ledger is not the old one; the old home stays open, remove the new one")
    if new := [text for text in (str(p) for p in verify(configs, moved).problems) if text not in before]:
        raise WorkError(f"{moved.root}: {new[0]}; the old home stays open, remove the new one and its database")
    count = 0
    for config in configs.values():
        for dataset in (config.rows_dataset, config.labels_dataset):
            for ref in moved.store.batches(dataset):
                moved.store.read(ref, verify=True)
                count += 1
    return count
