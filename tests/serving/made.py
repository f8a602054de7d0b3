"""A small model as a server has it: its inputs, its state, and the edge's manifest of the same inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trueup.serving.drift import Drift
from trueup.serving.encoding.encoder import Encoder
from trueup.serving.state import Field, Serve, ServedVersion, Sketch, State
from trueup_edge import manifest


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """An input as the manifest of a bundle has it."""

    name: str
    kind: str = "number"
    dtype: str = "float64"
    categories: tuple[str, ...] = ()
    missing: float | None = None
    unknown: float | None = None
    infinite: bool = True
    of: str = "numeric"
    column: str = ""
    part: str = ""


INPUTS = (
    Made(name="distance"),
    Made(name="delay", dtype="float32", infinite=False),
    Made(name="carrier", kind="category", categories=("AA", "UA"), missing=-1.0, unknown=-2.0, of="categorical"),
    Made(name="gate", kind="category", categories=("1", "2", "true"), of="categorical"),
    Made(name="hour_weekday", of="calendar", column="hour", part="weekday"),
    Made(name="hour_minute_of_day", of="calendar", column="hour", part="minute_of_day"),
)

FIELDS = (
    Field(name="distance", kind="number", uses=("feature",), minimum=100, maximum=5000, unit="miles", example=1400.0),
    Field(name="delay", kind="number", uses=("feature",), minimum=-10, maximum=600, example=3.5),
    Field(name="carrier", kind="text", uses=("feature", "key"), categories=("AA", "UA"), example="UA"),
    Field(name="gate", kind="text", uses=("feature",), categories=("1", "2", "true"), example="2"),
    Field(name="flight", kind="number", uses=("key",), example=1545),
    Field(name="hour", kind="time", uses=("time", "key", "calendar"), example="2013-01-01T05:00:00"),
)

SERVE = Serve(
    durability="process",
    on_full="refuse",
    log_mib=64,
    max_kib=64,
    max_rows=50,
    queue=16,
    features=None,
    max_skew=0.01,
    personal=(),
    log_bodies=False,
)

_UNSET: dict[str, Any] = {"basis": "", "ledger_seq": 1, "config_digest": ""}


def state(**changes: Any) -> State:
    """The state of the model `flights`."""
    version = ServedVersion(
        version=7, epoch=3, seq=12, manifest_digest="d" * 64, bundle="7-3", manifest_sha256="e" * 64
    )
    facts: dict[str, Any] = {
        "format": "trueup-serving/1",
        "model": "flights",
        "task": "binary",
        "about": "Is a flight late?",
        "timezone": "America/New_York",
        "period": "1 month",
        "published_at": "2026-11-29T12:00:00+00:00",
        "landed": 0,
        "champion": version,
        "challenger": None,
        "rollout": None,
        "fields": FIELDS,
        "key": ("carrier", "flight", "hour"),
        "time": "hour",
        "history": None,
        "sketches": (),
        "skew": {},
        "serve": SERVE,
    }
    facts |= {name: value for name, value in _UNSET.items() if name in State.__struct_fields__}
    return State(**{**facts, **changes})


def edge_manifest(inputs: tuple[Made, ...] = INPUTS, timezone: str = "America/New_York") -> manifest.Manifest:
    """The manifest that a device reads for the same inputs."""
    nan = float("nan")
    return manifest.Manifest(
        model="flights",
        task="binary",
        version=7,
        epoch=3,
        issued=datetime(2026, 1, 1, tzinfo=UTC),
        expires=datetime(2027, 1, 1, tzinfo=UTC),
        trained_until="2013-06-01T00:00:00",
        timezone=timezone,
        files={},
        inputs=tuple(
            manifest.Input(
                name=i.name,
                kind=i.kind,
                dtype=i.dtype,
                categories=i.categories,
                missing=nan if i.missing is None else i.missing,
                unknown=nan if i.unknown is None else i.unknown,
                infinite=i.infinite,
                column=i.column or None,
                part=i.part or None,
            )
            for i in inputs
        ),
        label="late",
        unit="",
        classes=(),
        tolerance=1e-9,
        digest="",
        raw={},
    )


def scored(features: np.ndarray) -> np.ndarray:
    """A model: the share of the features that have a value."""
    return (~np.isnan(features)).mean(axis=1, keepdims=True)


@dataclass
class FakeVersion:
    """A version whose model is a function."""

    encoder: Encoder
    run: Callable[[np.ndarray], np.ndarray] = scored
    version: int = 7
    epoch: int = 3
    classes: tuple[str, ...] = ()


def drift() -> Drift:
    """Of the delay alone."""
    edges, shares = (0.0, 10.0), (0.3, 0.4, 0.3, 0.0, 0.0)
    return Drift(INPUTS, [Sketch(name="delay", edges=edges, categories=(), shares=shares)])


@dataclass
class FakeBundle:
    """What answers; `routing` as of a rollout."""

    state: State
    champion: FakeVersion
    challenger: FakeVersion | None = None
    routing: Any = None
    loaded_at: float = 1_764_000_000.0
    drift: Drift = field(default_factory=drift)
    problem: str | None = None
    damage: str | None = None


@dataclass
class FakeServed:
    """A model of a server."""

    folder: Path
    current: FakeBundle | None = None
    name: str = "flights"
    failure: str | None = None
    unreachable_since: float | None = None
    age: float | None = 0.2
    swaps: dict[str, int] = field(default_factory=lambda: {"loaded": 1, "failed": 0})


def bundle(run: Callable[[np.ndarray], np.ndarray] = scored, **changes: Any) -> FakeBundle:
    """A bundle of the small model with a function in the place of its graph, and changes of its state."""
    published = state(**changes)
    return FakeBundle(published, FakeVersion(Encoder(INPUTS, published), run))
