"""Backup and restore of a home while the stack runs: databases first, then the files that their rows name.

A file of the store is written before the row that names it and never changed, and no file is removed during a backup.
So the files of a copied database exist when they are copied after it. The ledger's database is copied before MLflow's,
because MLflow knows what an entry names before the entry is written. No anchor is written until both are copied,
because it would name an entry that the copied ledger does not have.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trueup import files
from trueup.adapters.sql.engines import copy_sqlite
from trueup.audit.verify import ANCHORS
from trueup.config.settings import Settings
from trueup.errors import UsageError, WorkError
from trueup.home import Home
from trueup.secrecy import masked
from trueup.upkeep.relocate_databases import FILES, LEDGER, MLFLOW, PREFECT, bring, is_inside

RECORD: Final = "backup.json"  # written last: a backup without it is incomplete
_FIRST = (FILES[LEDGER], FILES[MLFLOW], ANCHORS)
_OF_PROCESSES = {"stack"}  # state of the running stack


@dataclass(frozen=True)
class Saved:
    """A finished copy, and parts of a home that are not in it."""

    place: Path
    files: int
    bytes: int
    elsewhere: tuple[str, ...]
    loaded: tuple[str, ...] = ()  # databases that a restore filled, and parts of the backup that it did not use
    left: tuple[str, ...] = ()


def backup(home: Home, target: Path) -> Saved:
    """Copy the home to a new or empty folder. Raises UsageError, and WorkError during a removal or if copying fails."""
    _require_folder(home.settings)
    root, target = home.root, target.expanduser().resolve()
    if not root.is_dir() or not any(root.iterdir()):
        raise UsageError(f"the home {root} is empty; set TRUEUP_HOME to the one to copy")
    if target.is_relative_to(root):
        raise UsageError(f"{target} is inside the home; use a folder outside of {root}")
    require_empty(target)
    with home.alone_with_files() as alone:
        if not alone:
            raise WorkError("`trueup gc` or another backup is running; wait for it and run again")
        try:
            with home.alone_with_anchors() as alone:
                if not alone:
                    raise WorkError("another backup is copying the databases; wait for it and run again")
                sizes = _copy_databases(root, target)
            sizes += [_copy(root, name, target) for name in _rest(root)]
        except OSError as error:
            raise WorkError(f"writing {target} failed: {error}; delete it, free some space and run again") from None
    elsewhere = elsewhere_of(home.settings)
    about = {"home": str(root), "artifacts": home.settings.artifact_root, "made_at": home.now().isoformat()}
    (target / RECORD).write_text(json.dumps(about | {"elsewhere": elsewhere}, indent=2), encoding="utf-8")
    copied = [size for size in sizes if size is not None]
    return Saved(target, len(copied), sum(copied), elsewhere)


def _require_folder(settings: Settings) -> None:
    if settings.address is not None:
        raise UsageError(
            f"the home {settings.address} is in an object store: keep its bucket by versioning or replication, and its databases by "
            "PostgreSQL's own backups, the databases first; see docs/how-to/object-store.md"
        )


def restore(settings: Settings, source: Path) -> Saved:
    """Restore a backup to the settings' home, which must not exist or be empty.

    If the settings name other databases than those in the home, the backup's are loaded into them. Raises UsageError,
    WorkError.
    """
    _require_folder(settings)
    source, home = source.expanduser().resolve(), settings.root
    about = _about(source)
    require_empty(home)
    beside = home.with_name(f"{home.name}.restoring")
    try:
        with files.whole_folder(home, beside) as fresh:  # an interrupted restore leaves no partial home
            shutil.copytree(source, fresh, ignore=lambda folder, _: {RECORD} if Path(folder) == source else set())
            brought = bring(fresh, settings, about["artifacts"], about["elsewhere"])
    except OSError as error:
        raise WorkError(f"writing {beside} failed: {error}; free some space and run again") from None
    sizes = [file.stat().st_size for file in home.rglob("*") if file.is_file()]
    return Saved(home, len(sizes), sum(sizes), tuple(about["elsewhere"]), brought.loaded, brought.left)


def copy_home(root: Path, target: Path, without: Collection[str] = ()) -> None:
    """Copy a home in which nothing is at work to a new folder, but files and folders of these names. Raises OSError."""
    _copy_databases(root, target)
    for name in _rest(root, {*_OF_PROCESSES, *without}):
        if name.parts[0] not in without:
            _copy(root, name, target)


def _copy_databases(root: Path, target: Path) -> list[int | None]:
    return [_copy(root, Path(name), target) for name in _FIRST if (root / name).exists()]


def _rest(home: Path, without: Collection[str] = _OF_PROCESSES) -> Iterator[Path]:
    """The paths to copy after the databases, relative to the home, in a consistent order."""
    first = set(map(Path, _FIRST))
    yield from sorted({file.relative_to(home) for file in home.rglob("*.db")} - first)
    for folder, folders, names in os.walk(home):
        inside = Path(folder).relative_to(home)
        if inside == Path():
            folders[:] = sorted(set(folders) - set(without))
        for name in sorted(names):
            if not name.endswith((".lock", ".db", ".db-wal", ".db-shm", ".tmp")) and inside / name not in first:
                yield inside / name


def _copy(home: Path, name: Path, target: Path) -> int | None:
    """Copy one file and return its size; None if it was removed meanwhile, because then no database names it."""
    there = target / name
    there.parent.mkdir(parents=True, exist_ok=True)
    if name.suffix == ".db":
        copy_sqlite(home / name, there)
    else:
        try:
            shutil.copy2(home / name, there, follow_symlinks=False)
        except FileNotFoundError:
            return None
    return there.stat().st_size


def require_empty(folder: Path) -> None:
    """Refuse a folder with files. Empty subfolders are allowed, because the command line creates Prefect's."""
    if folder.exists() and (not folder.is_dir() or any(not inside.is_dir() for inside in folder.rglob("*"))):
        raise UsageError(f"{folder} is not empty; use a folder that does not exist yet")


def _about(source: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((source / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(
            f"{source} is not a complete backup: it has no {RECORD}, which `trueup backup` writes last; use another one"
        ) from None
    return about


def elsewhere_of(settings: Settings) -> tuple[str, ...]:
    """Parts of the home that are stored in other places, without passwords."""
    home, mlflow = settings.root, settings.mlflow_store
    if is_inside(home, mlflow) and not (home / FILES[MLFLOW]).exists():
        mlflow = settings.tracking_uri  # a server with a database of its own
    places = {
        LEDGER: settings.database,
        MLFLOW: mlflow,
        "MLflow's artifacts": settings.artifact_root,
        PREFECT: settings.prefect_database_url or f"sqlite:///{home / FILES[PREFECT]}",
    }
    return tuple(f"{what}: {masked(place)}" for what, place in places.items() if not is_inside(home, place))
