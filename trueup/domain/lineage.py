"""Lineage: what a stage read and wrote, as plain values. An adapter sends it as events of OpenLineage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

State = Literal["START", "COMPLETE", "FAIL", "ABORT"]


@dataclass(frozen=True)
class Dataset:
    """A dataset by its name in a namespace, with what is known of it.

    `fields` are types of columns, `statistics` figures of columns (`nullCount`, `min`, `max`), `checks` the results of
    expectations: type, column and success. `come_from` has the columns of other datasets from which columns are computed.
    """

    namespace: str
    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    rows: int | None = None
    source: str = ""  # the address of a source, without secrets
    statistics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    checks: tuple[tuple[str, str | None, bool], ...] = ()
    come_from: Mapping[str, tuple[tuple[Dataset, str], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Parent:
    """The run that stages belong to: a flow run of Prefect, or one command. `began` is a wall time with offset."""

    run_id: str
    job: str
    began: datetime


@dataclass(frozen=True)
class StageRun:
    """One run of a stage for a model. `about` says for what: a batch, or a moment."""

    home: str
    model: str
    stage: str
    about: str
    parent: Parent
    repeated: int = 0  # runs of the same for the same before, in the same parent
    nominal: datetime | None = None  # `as_of`, with offset
    words: str = ""
    owner: str = ""
    query: str = ""  # SQL of the source

    @property
    def run_id(self) -> str:
        """The same for every event of this run, and for a repetition of the flow run.

        >>> parent = Parent("a1", "run", datetime(2024, 1, 1))
        >>> StageRun("h", "m", "score", "[2024]", parent).run_id
        'a86dd74b-b306-5f8a-b8ca-8897e4b64c93'
        """
        named = (self.home, self.model, self.stage, self.about, self.parent.run_id, self.repeated)
        return str(uuid5(NAMESPACE_URL, "trueup:" + ":".join(map(str, named))))

    @property
    def job(self) -> str:
        """Name of the job, in the namespace of all of them."""
        return f"{self.model}.{self.stage}"


@dataclass(frozen=True)
class Happening:
    """What happened to a stage at a moment (wall time, with offset)."""

    state: State
    at: datetime
    run: StageRun
    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Sent:
    """How many events were sent since the last look, how many were not, and why."""

    sent: int
    lost: int
    problem: str = ""

    @property
    def words(self) -> str:
        """A sentence about lost events; empty without any."""
        if not self.lost:
            return ""
        why = f": {self.problem}" if self.problem else ""
        return f"lineage: {self.lost} of {self.sent + self.lost} events were not sent{why}; the run is not affected"
