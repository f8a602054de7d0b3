"""Anchors: the ledger's head, kept outside of its table, so that a cut-off or rewritten chain is noticed.

An anchor is written after an append; after a crash the next run writes it. It names an entry and its hash, and a later
ledger must still have that entry with that hash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trueup.ledger.entries import Entry
from trueup.ledger.verify import Problem


@dataclass(frozen=True)
class Anchor:
    """An entry that was the newest when this was written."""

    seq: int
    hash: str

    def text(self) -> str:
        """One line of JSON."""
        return json.dumps({"seq": self.seq, "hash": self.hash}, sort_keys=True)

    @classmethod
    def read(cls, text: str) -> Anchor | None:
        """The anchor in a line; None for a torn line."""
        try:
            values = json.loads(text)
            return cls(int(values["seq"]), str(values["hash"]))
        except (ValueError, KeyError, TypeError):
            return None


class Place(Protocol):
    """Somewhere that anchors are kept."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    def anchors(self) -> list[Anchor]:
        """The anchors, oldest first."""

    def write(self, anchor: Anchor) -> None:
        """Keep one more, unless it is older than the newest."""


class AnchorFile:
    """A file with an anchor a line, durable when `write` returns. `write` removes a last line that a crash has torn.

    One writer at a time: the writer holds `Home.alone_with_anchors`, also among several machines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return str(self.path)

    def anchors(self) -> list[Anchor]:
        return [anchor for line in self._lines() if (anchor := Anchor.read(line)) is not None]

    def write(self, anchor: Anchor) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            file.seek(0)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                file.truncate(len(whole))
            newest = max((a.seq for line in whole.decode().splitlines() if (a := Anchor.read(line))), default=0)
            if anchor.seq <= newest:
                return
            file.write(anchor.text().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else []


def departures(places: Iterable[Place], entries: Iterable[Entry]) -> Iterator[Problem]:
    """Anchors that the ledger does not match."""
    hashes = {entry.seq: entry.hash for entry in entries}
    newest = max(hashes, default=0)
    for place in places:
        for anchor in place.anchors():
            if anchor.seq > newest:
                yield Problem(anchor.seq, f"is gone: {place.name} has it, and the ledger ends with entry {newest}")
            elif hashes.get(anchor.seq) != anchor.hash:
                yield Problem(anchor.seq, f"is not the one that {place.name} has: it was rewritten")
