"""Whether a bucket and a database are of the same home: both have the home's id."""

from __future__ import annotations

import json
from typing import Final
from uuid import uuid4

import sqlalchemy as sa

from trueup.adapters.files.port import Files, read_bytes
from trueup.adapters.sql.engines import initialise, looks, reading, writing
from trueup.errors import UsageError

KEY: Final = "home.json"
_METADATA = sa.MetaData()
_HOME = sa.Table("home", _METADATA, sa.Column("id", sa.String(32), primary_key=True))


def require_one_home(files: Files, engine: sa.Engine) -> None:
    """Raise UsageError if the files are of another home than the database. The first process that writes joins the two."""
    initialise(engine, _METADATA)
    with reading(engine) as connection:
        own = connection.scalar(sa.select(_HOME.c.id))
    theirs = _id_of(files)
    if not looks(engine):
        own = own or _made(engine)
        if theirs is None and files.put_new(KEY, json.dumps({"id": own}).encode()):
            return
        theirs = theirs or _id_of(files)
    if theirs is not None and own is not None and theirs != own:
        raise UsageError(
            f"{files.where(KEY)} names another home than the database, so these are the files of one home and the rows of another; "
            "set TRUEUP_HOME and TRUEUP_DATABASE_URL to those of one home, or begin with an empty bucket and an empty database"
        )


def _id_of(files: Files) -> str | None:
    try:
        content = json.loads(read_bytes(files, KEY, fresh=True))
    except FileNotFoundError:
        return None
    return str(content["id"])


def _made(engine: sa.Engine) -> str:
    """The id of the database, which the first process makes."""
    with writing(engine, _HOME) as connection:
        if (there := connection.scalar(sa.select(_HOME.c.id))) is None:
            there = uuid4().hex
            connection.execute(sa.insert(_HOME).values(id=there))
    return str(there)
