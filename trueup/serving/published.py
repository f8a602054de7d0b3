"""The file `state` of a model: read and verified by servers, written by what publishes.

Its first line is the signature, `{"key_id", "signature"}`; all behind it is the signed JSON of a `State`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from trueup import files
from trueup.errors import WorkError
from trueup.ledger.documents import SERVING, signature_line, signature_problem
from trueup.ledger.signing import Signer
from trueup.serving.state import COPIES, FOLDER, FORMAT, STATE_FILE, State

_LARGEST: Final = 64 * 2**20  # bytes
_NEXT: Final = "next: python -m trueup.online MODEL publishes it anew"


class _Format(msgspec.Struct, frozen=True):
    format: str
    model: str


def folder_of(home: Path, model: str) -> Path:
    """The folder of what a home publishes about a model."""
    return home / FOLDER / model


def read(folder: Path, signer: Signer) -> State:
    """Read the state in a model's folder. Raises WorkError as `read_copy` does."""
    return _read(folder, folder / STATE_FILE, signer)


def copy_of(folder: Path) -> Path:
    """The file with the copy of the state in a model's folder."""
    return folder / COPIES / STATE_FILE


def read_copy(folder: Path, signer: Signer) -> State:
    """Read the copy of the state.

    Raises WorkError if it is missing or cannot be read, is of another format or model, or if none of the signer's keys
    signed it.
    """
    return _read(folder, copy_of(folder), signer)


def _read(folder: Path, file: Path, signer: Signer) -> State:
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        raise WorkError(f"{file} is missing: {folder.name} is not published yet; {_next(folder)}") from None
    except OSError as error:
        raise WorkError(f"{file} cannot be read: {error.strerror or error}; allow this account to read it") from None
    first, _, document = content.partition(b"\n")
    if (problem := signature_problem(signer, SERVING, document, first)) is not None:
        raise WorkError(f"{file}: {problem}; {_next(folder)}")
    try:
        own = msgspec.json.decode(document, type=_Format)
        if own.format != FORMAT:
            raise WorkError(f"{file} is of the format {own.format!r}, and {FORMAT} is read; update the older program")
        state = msgspec.json.decode(document, type=State)
    except msgspec.DecodeError as error:
        raise WorkError(f"{file} cannot be read ({error}); update the older program, or {_next(folder)}") from None
    if state.model != folder.name:
        raise WorkError(f"{file} is about the model {state.model}, not {folder.name}; {_next(folder)}")
    return state


def write(folder: Path, state: State, signer: Signer) -> None:
    """Sign a state and put it in the place of the one before. Raises WorkError if it cannot be written."""
    with files.whole(folder / STATE_FILE) as file:
        file.write(_signed(state, signer))


def copy(folder: Path, state: State, signer: Signer) -> None:
    """Write the copy of a state, or confirm it if it is there. Raises WorkError if it cannot be written."""
    place, content = copy_of(folder), _signed(state, signer)
    if place.exists() and place.read_bytes() == content:
        os.utime(place)
        return
    with files.whole(place) as file:
        file.write(content)


def _signed(state: State, signer: Signer) -> bytes:
    document = msgspec.json.encode(state)
    return signature_line(signer, SERVING, document) + document


def _next(folder: Path) -> str:
    return _NEXT.replace("MODEL", folder.name)
