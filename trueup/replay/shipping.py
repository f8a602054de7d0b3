"""A replay of a home in an object store on a Dask cluster: histories and results go through the store.

Each worker plays in its own part of the home (TRUEUP_CACHE), so no disk is shared.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from trueup import files
from trueup.adapters.files.port import read_bytes
from trueup.adapters.sql.engines import copy_sqlite
from trueup.home import Home
from trueup.replay import policy_results
from trueup.replay.sandbox import DATABASES, READY, SHARED


@contextmanager
def shipped(home: Home, place: Path, histories: Iterable[Path], homes: Iterable[Path]) -> Iterator[None]:
    """For the block, put the histories of a replay in `place` where workers find them; then fetch the results.

    Results of policies that have ended are fetched even if the block raises. Nothing of it stays in the store.
    """
    for history in set(histories):
        _put_history(home, history)
    try:
        yield
    finally:
        for folder in set(homes):
            for name in policy_results.FILES:
                with suppress(FileNotFoundError):
                    content = read_bytes(home.files, _key(home, folder / name), fresh=True)
                    with files.whole(folder / name, durable=False) as here:
                        here.write(content)
        for entry in list(home.files.listed(_key(home, place))):
            home.files.delete(entry.key)


def fetch_history(home: Home, place: Path, history: Path) -> None:
    """Lay out a history in a worker's part of the home, unless it is there. One of another replay makes way."""
    wanted = read_bytes(home.files, _key(home, history / READY), fresh=True)
    ready = history / READY
    if ready.exists() and ready.read_bytes() == wanted:
        return
    shutil.rmtree(place if ready.exists() else history, ignore_errors=True)
    for entry in home.files.listed(_key(home, history)):
        if entry.name != READY:
            path = home.root / entry.key
            path.parent.mkdir(parents=True, exist_ok=True)
            with home.files.local(entry.key) as copy:
                shutil.copyfile(copy, path)
    history.mkdir(parents=True, exist_ok=True)
    ready.write_bytes(wanted)


def put_result(home: Home, folder: Path) -> None:
    """Put the result of a policy into the store."""
    for name in policy_results.FILES:
        _put(home, folder / name, _key(home, folder / name))


def _put_history(home: Home, history: Path) -> None:
    for folder in SHARED:
        for path in (history / folder).rglob("*"):
            if path.is_file():
                _put(home, path, _key(home, path))
    with TemporaryDirectory() as scratch:
        for name in DATABASES:
            copy_sqlite(history / name, Path(scratch) / name)
            _put(home, Path(scratch) / name, _key(home, history / name))
    _put(home, history / READY, _key(home, history / READY))


def _put(home: Home, path: Path, key: str) -> None:
    with home.files.writing(key, durable=False) as there, path.open("rb") as here:
        shutil.copyfileobj(here, there)


def _key(home: Home, path: Path) -> str:
    return path.relative_to(home.root).as_posix()
