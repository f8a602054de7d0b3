"""The progress of a fleet, for whoever shows it."""

from __future__ import annotations

from trueup.orchestration.fleet.results import Turned


class Progress:
    """Does nothing with the progress of a fleet; subclasses show it."""

    def begins(self, models: int) -> None:
        """The number of models is known."""

    def ended(self, turn: Turned) -> None:
        """A model has ended."""

    def stops(self) -> None:
        """The run was interrupted: the current models end, and no further one begins."""
