"""The home's database as a server opens it: by the address of the drivers, without SQLAlchemy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_KIND: Final = re.compile(r"^(sqlite|postgres(?:ql)?)(?:\+\w+)?://")


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLAlchemy URL; None for another database.

    >>> sqlite_file("sqlite:////home/a b/trueup.db?timeout=5")
    PosixPath('/home/a b/trueup.db')
    """
    if not url.startswith("sqlite"):
        return None
    return Path(_KIND.sub("", url).split("?")[0].removeprefix("/"))


def postgres_address(url: str) -> str:
    """The address of a SQLAlchemy URL as psycopg takes it.

    >>> postgres_address("postgresql+psycopg://trueup@db/trueup?sslmode=require")
    'postgresql://trueup@db/trueup?sslmode=require'
    """
    return _KIND.sub("postgresql://", url)
