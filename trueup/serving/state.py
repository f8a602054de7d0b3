"""What the loop publishes for the servers of a model: one signed file, and the files that it names.

`HOME/serving/<model>/` has the file `state` (see `published`), `bundles/<name>/` with the versions as `trueup export`
writes them, `copies/` with copies of both for a server that finds the originals damaged, `history/` with the past that history
features need, `log/` with the predictions, and `rollout/` with the figures of a rollout.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

FORMAT: Final = "trueup-serving/1"
FOLDER: Final = "serving"  # in the home
STATE_FILE, BUNDLES, HISTORY, LOG, ROLLOUT = "state", "bundles", "history", "log", "rollout"
COPIES: Final = "copies"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the state. All moments are ISO 8601: UTC with offset, or local to the model without one."""


class ServedVersion(Part, frozen=True):
    """A version that answers, and its bundle."""

    version: int
    epoch: int  # of its promotion; for a challenger the epoch that it would get
    seq: int  # of the ledger entry that put it there
    manifest_digest: str  # of its files in the registry, as the ledger has it
    bundle: str  # folder in `bundles`
    manifest_sha256: str  # of the bundle's manifest.json


class Field(Part, frozen=True):
    """A field of a row that a client sends."""

    name: str
    kind: Literal["number", "text", "time"]
    uses: tuple[str, ...]  # of "key", "time", "feature", "calendar", "history", "custom"
    minimum: float | None = None  # of the training sample
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    unit: str = ""
    example: str | float | None = None  # a value of a real row; all examples are of one row


class HistorySpec(Part, frozen=True):
    """A definition of history features as in the config; `windows` are in microseconds."""

    name: str
    of: str
    aggregate: Literal["mean", "rate", "count"]
    equals: str | int | float | bool | None
    by: tuple[tuple[str, ...], ...]
    windows: tuple[int, ...]
    names: tuple[str, ...]  # of the features, in the order of `history_names([spec])`


class HistoryFile(Part, frozen=True):
    """A file in `history`: a snapshot of the past, or a journal of later events."""

    file: str
    sha256: str
    events: int


class History(Part, frozen=True):
    """The past that history features see: a snapshot and the journals after it, in order."""

    specs: tuple[HistorySpec, ...]
    files: tuple[HistoryFile, ...]
    known_until: str | None  # the newest moment at which an outcome in them became known; local to the model
    complete_since: str | None = None  # what became known after it is all there; None if nothing was left out
    columns: dict[str, Literal["text", "digits", "number", "time"]] = {}  # how the key columns were landed
    timezone: str = "UTC"  # of the model


class Rollout(Part, frozen=True):
    """A rollout under way, from the ledger."""

    id: str  # decision id of its start
    seq: int  # of its newest ledger entry
    phase: Literal["shadow", "canary"]
    step: int  # 0 is shadow, then the canary's steps
    share: float  # of keys that the challenger answers
    sample: float  # of rows that it predicts in shadow
    salt: str  # of the hash of keys
    paused: bool
    limits: dict[str, Any]  # of `promote.rollout`, see `serving.rollout`


class Sketch(Part, frozen=True):
    """The distribution of one input in training, to compare the requests of the last hour with."""

    name: str
    edges: tuple[float, ...]  # inner edges of the bins, ascending; empty for a category
    categories: tuple[str, ...]
    shares: tuple[float, ...]  # of the bins or categories, the last two of unknown (categories) and missing values


class Serve(Part, frozen=True):
    """The section `serve` of the config; see `config.sections.serving`."""

    durability: Literal["process", "machine", "home", "off"]
    on_full: Literal["refuse", "serve"]
    log_mib: float
    max_kib: float
    max_rows: int
    queue: int
    features: str | None
    max_skew: float
    personal: tuple[str, ...]
    log_bodies: bool


class State(Part, frozen=True):
    """All that a server needs to know about one model."""

    format: Literal["trueup-serving/1"]
    model: str
    task: Literal["binary", "multiclass", "regression"]
    about: str
    timezone: str
    period: str
    published_at: str  # UTC
    basis: str  # digest of all that it was made from, so that the same is not made twice
    ledger_seq: int  # the model's newest ledger entry by then
    landed: int  # the newest landing of labels by then; 0 without history features, to which labels matter
    champion: ServedVersion
    challenger: ServedVersion | None
    rollout: Rollout | None
    fields: tuple[Field, ...]
    key: tuple[str, ...]  # columns that identify a row
    time: str  # the column with a row's event time
    history: History | None
    sketches: tuple[Sketch, ...]
    skew: dict[str, float]  # of the newest compared batch: rows, share; empty before the first
    serve: Serve
    ended: dict[str, int] = {}  # rollouts that have ended, by outcome; those rolled back by the limit that was exceeded
