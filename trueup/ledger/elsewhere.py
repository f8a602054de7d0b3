"""The part of a ledger entry about a decision in the ledger of another home."""

from __future__ import annotations

from trueup.ledger.part import Part


class Elsewhere(Part):
    """A decision of another home about a model that moved between the two, and the bundle that it moved in."""

    bundle: str  # SHA-256 of the bundle's manifest
    environment: str  # name of the other home's environment; empty without one
    key_id: str  # of the other home
    entry: int  # in the other ledger,
    hash: str  # with its hash
    kind: str  # and its outcome
    version: int | None  # in the other registry

    @property
    def place(self) -> str:
        """The other home in words."""
        return self.environment or f"the home with the key {self.key_id}"
