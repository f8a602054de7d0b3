"""Compares a model's batches with what is usual, as learned from earlier ones.

The bounds of a batch rest on the batches since the champion's training began, or on all earlier ones without a
champion. So they follow the champion, and are what was known when the batch came. An unusual batch raises an alert, and
keeps a retrain on its rows from starting by itself until somebody confirms it or it has lasted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pandas as pd

from trueup.config.schema import ModelConfig
from trueup.domain.data.digest import digest_of
from trueup.domain.monitoring.batch_profile import Profile, partial_ends, profile
from trueup.domain.monitoring.learned_bounds import FEWEST, Earlier, Oddity, learn, unusual
from trueup.domain.monitoring.settling import fresh, unsettled
from trueup.domain.records import to_plain
from trueup.domain.retraining.limits import AUTOMATIC
from trueup.domain.types import EVENT_TIME, Batch, BatchRef, Figures, Reason, Window
from trueup.governance.decision_record import REQUEST, circumstances
from trueup.home import Home
from trueup.ledger.entries import Decision, Entry
from trueup.ledger.record import Record, Trigger
from trueup.model import Champion, Model

STAGE: Final = "profile"
CONFIRMED: Final = "confirmed"  # the kind of a ledger entry
_AT_MOST: Final = 100  # batches to learn bounds from
_FEWEST: Final = {"day": 8}  # a week, because weekdays differ


@dataclass(frozen=True)
class Comparison:
    """A batch compared with its bounds: what is unusual, the bounds, and the batches that they were learned from."""

    oddities: tuple[Oddity, ...]
    bounds: Figures

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(o.words for o in self.oddities)


class _Landed(Mapping[str, "pd.Series[Any]"]):
    """The columns of a landed batch; each is read when it is needed, and not kept."""

    def __init__(self, home: Home, ref: BatchRef) -> None:
        self._home, self._ref = home, ref

    def __getitem__(self, name: str) -> pd.Series[Any]:
        return self._home.store.read(self._ref, [name])[name]

    def __contains__(self, name: object) -> bool:
        return name in self._home.store.columns(self._ref)

    def __iter__(self) -> Iterator[str]:
        return iter(self._home.store.columns(self._ref))

    def __len__(self) -> int:
        return len(self._home.store.columns(self._ref))


def compare_with_usual(model: Model, batch: Batch, current: Champion | None, as_of: datetime) -> Comparison:
    """Compare a batch that passed validation with what was usual before it."""
    sound = model.usable_batches(as_of)
    before = [b for b in sound if b.window.end <= batch.window.start]
    fewest = _FEWEST.get(model.config.ingest.period, FEWEST)
    since = [b for b in before if current is not None and b.window.end > current.trained_from]
    used = (since if len(since) >= fewest else before)[-_AT_MOST:]
    profiles = [profiled(model, b) for b in [*used, batch]]
    head, tail = partial_ends([b.window for b in [*used, batch]], profiles)
    head = head and used[:1] == sound[:1]  # only a stream's first and last batch can be partial
    tail = tail and batch == sound[-1]
    odd = unsettled([b.window for b in before], _odd(model), _confirmed(model, before), _settle(model.config))
    earlier = [
        Earlier(p, frozenset(odd.get(b.window, ())), partial=head and number == 0)
        for number, (b, p) in enumerate(zip(used, profiles, strict=False))
    ]
    usual = learn(earlier, fewest)
    span = {"from": used[0].window.start.isoformat(), "until": used[-1].window.end.isoformat()} if used else {}
    return Comparison(tuple(unusual(profiles[-1], usual, partial=tail)), {**span, **usual.shown()})


def profiled(model: Model, batch: Batch) -> Profile:
    """The profile of a batch, computed once per revision."""
    numeric, kinds = _columns(model.config)
    basis = digest_of([numeric, kinds])[:32]
    key = (basis, batch.rows.sequence)
    if key not in model.home.profiles:
        recorded = model.home.store.results(model.config.model, STAGE, Profile, batch.window)
        made = next((r.body for r in recorded if (r.revision, r.basis) == (batch.rows.revision, basis)), None)
        if made is None:
            rows = _Landed(model.home, batch.rows)
            result, end = profile(rows, rows[EVENT_TIME], numeric, kinds), batch.window.end
            made = model.home.store.record(
                model.config.model, STAGE, batch.window, batch.rows.revision, end, result, basis
            )
        model.home.profiles[key] = made
    return model.home.profiles[key]


def _columns(config: ModelConfig) -> tuple[list[str], list[str]]:
    """Numeric columns, and the columns that are categories or keys."""
    by = [c for h in config.features.history for keys in h.by for c in ([keys] if isinstance(keys, str) else keys)]
    kinds = [*config.features.categorical, *by, *config.ingest.key]
    return config.numeric_columns, [c for c in dict.fromkeys(kinds) if c not in config.numeric_columns]


# Confirmation


def not_settled(model: Model, reason: Reason, windows: Sequence[Window], as_of: datetime) -> str | None:
    """Why a retrain on rows of these windows does not start by itself; None if it may.

    A retrain that a person started or will approve is for that person to judge, and a first champion may always be
    made.
    """
    if reason not in AUTOMATIC or model.config.promote.mode != "auto":
        return None
    sound = model.usable_batches(as_of)
    unusual_batches = fresh([b.window for b in sound], _odd(model), _confirmed(model, sound), _settle(model.config))
    unusual_batches = {
        w: columns for w, columns in unusual_batches.items() if any(w.overlaps(window) for window in windows)
    }
    if not unusual_batches:
        return None
    listed = "; ".join(
        f"{w}: {', '.join(sorted(c or 'rows' for c in columns))}" for w, columns in sorted(unusual_batches.items())
    )
    return (
        f"it would learn from unusual batches ({listed}); it starts once they are confirmed (trueup clear "
        f"{model.config.model} --by NAME), or {_settle(model.config)} batches after them (monitor.settle)"
    )


def confirm(model: Model, by: str) -> Entry | None:
    """Let retrains learn from the batches that are unusual now, as one entry of the ledger; None if none is."""
    sound = model.usable_batches(datetime.max)
    windows = [b.window for b in sound]
    odd = unsettled(windows, _odd(model), _confirmed(model, sound), _settle(model.config))
    chosen = [b for b in sound if b.window in odd]
    if not chosen:
        return None
    batches = [{**to_plain(b.window), "revision": b.rows.revision, "columns": sorted(odd[b.window])} for b in chosen]
    listed = "; ".join(f"{b.window}: {', '.join(sorted(c or 'rows' for c in odd[b.window]))}" for b in chosen)
    return model.home.ledger.append(
        Decision(
            decision_id=f"{model.config.model}:{CONFIRMED}:{digest_of(batches)[:32]}",
            model=model.config.model,
            kind=CONFIRMED,
            as_of=chosen[-1].window.end,
            body=circumstances(model)
            | Record(
                outcome=CONFIRMED,
                reasons=[f"{by} confirmed what is unusual ({listed})"],
                trigger=Trigger(reason="manual", kind=REQUEST),
                by=by,
                batches=batches,
                verdicts=[],
            ),
        )
    )


def _odd(model: Model) -> dict[Window, set[str]]:
    """The unusual columns of each batch at its newest monitoring."""
    return {r.window: {o.column for o in r.body.unusual} for r in model.looks()}


def _confirmed(model: Model, batches: Sequence[Batch]) -> set[Window]:
    """The batches that somebody confirmed in this revision."""
    confirmed = {
        (batch.window, batch.revision)
        for entry in model.home.ledger.entries(model.config.model)
        if entry.kind == CONFIRMED
        for batch in entry.body.batches
    }
    return {b.window for b in batches if (b.window, b.rows.revision) in confirmed}


def _settle(config: ModelConfig) -> int:
    return config.monitor.settle
