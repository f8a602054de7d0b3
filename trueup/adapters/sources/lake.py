"""Folders of a table format (Delta, Iceberg): a log decides which files count, and only the format's library reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from trueup.errors import SourceError

LOGS: Final = {"_delta_log": "Delta", "metadata": "Iceberg", ".hoodie": "Hudi"}


def kind_of(folder: Path) -> str | None:
    """The format of the table in a folder; None for a plain folder."""
    for log, kind in LOGS.items():
        if (folder / log).is_dir() and (kind != "Iceberg" or _metadata(folder)):
            return kind
    return None


def refuse_parts(files: Iterable[Path], source: str) -> None:
    """Refuse files within a table: replaced and deleted ones are among them. Raises SourceError."""
    for folder in {parent for file in files for parent in file.parents[:5]}:
        if kind := kind_of(folder):
            raise SourceError(
                f"{source}: these files are part of the {kind} table {folder}, and replaced and deleted ones are among them; "
                "name its folder in ingest.source.path"
            )


def read_lake(folder: Path, kind: str, source: str) -> Any:
    """The newest version of a table, as DuckDB reads it. Raises SourceError, also where its library is not installed."""
    if kind == "Hudi":
        raise SourceError(
            f"{source}: is a Hudi table, which Trueup does not read; export it to Parquet, or read it in a function "
            "(ingest.source.kind: callable)"
        )
    try:
        if kind == "Delta":
            from deltalake import DeltaTable

            return DeltaTable(str(folder)).to_pyarrow_dataset()
        newest = _metadata(folder)[-1]
        return _iceberg(newest, newest.stat().st_mtime_ns)
    except ImportError as error:
        package = {"Delta": "deltalake", "Iceberg": "pyiceberg"}[kind]
        raise SourceError(
            f"{source}: is a table of the format {kind}, which the package {package} reads ({error}); install it, as with "
            f"pip install {package}"
        ) from None
    except Exception as error:  # each library has errors of its own, without a common class
        reason = " ".join(str(error).split()).rstrip(".")
        raise SourceError(
            f"{source}: is a {kind} table and cannot be read: {reason}; repair it with the program that wrote it, or export it to Parquet"
        ) from None


@lru_cache(maxsize=2)
def _iceberg(metadata: Path, _: int) -> pa.Table:
    from pyiceberg.table import StaticTable

    return StaticTable.from_metadata(str(metadata)).scan().to_arrow()


def _metadata(folder: Path) -> list[Path]:
    """The versions of an Iceberg table, the newest last."""
    versions = list((folder / "metadata").glob("*.metadata.json"))
    return sorted(versions, key=lambda file: (json.loads(file.read_bytes()).get("last-updated-ms", 0), file.name))
