"""Publishes what servers of a model load: its versions as bundles, the past for history features, and one signed state."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from trueup.config.sections.serving import ServeConfig
from trueup.crash import reach
from trueup.domain.data.digest import digest_of
from trueup.domain.events import ServingFailed
from trueup.errors import TrueupError, UsageError, WorkError
from trueup.governance.rollouts import UnderWay, ended, under_way
from trueup.ledger.entries import Event
from trueup.model import Champion, Model
from trueup.online.bundles import bundle_of, is_right, keep_copies, versions_of
from trueup.online.custom import require_online_form, require_same_values
from trueup.online.fields import fields
from trueup.online.history import files_are_right, write_history
from trueup.online.rollout import published_rollout
from trueup.online.sketches import sketches
from trueup.online.skew import newest_skew
from trueup.serving import published
from trueup.serving.state import BUNDLES, FORMAT, HISTORY, STATE_FILE, Serve, ServedVersion, State

log = logging.getLogger(__name__)

_KEPT: Final = 3600.0  # seconds for which files that no state names any more are kept


@dataclass(frozen=True)
class _Basis:
    """What a state is made from; equal ones make equal states."""

    champion: Champion
    seq: int  # of the champion's ledger entry
    digest: str
    ledger_seq: int
    landed: int
    tried: UnderWay | None  # the rollout under way


def publish(model: Model) -> State:
    """Publish what servers load, and return it. When nothing has changed since the last time, little is read or written.

    The state is replaced last, in one step, so that a server sees all of it or none. Raises UsageError for a model
    without `serve`, without a champion, with a version that has no ONNX form, or with a custom feature function without
    an online form; WorkError and its kinds if a version cannot be exported or the files cannot be written.
    """
    name = model.config.model
    if model.config.serve is None:
        raise UsageError(f"{name}: the config has no section `serve`; add `serve: {{}}` to let `trueup serve` answer")
    with model.home.publishing(name) as alone:
        if not alone:
            raise WorkError(f"{name}: another process has been publishing it for minutes; end it, and publish again")
        return _publish(model, published.folder_of(model.home.root, name), model.config.serve)


def _publish(model: Model, folder: Path, serve: ServeConfig) -> State:
    before = _before(model, folder)
    basis = _basis(model)
    if before is not None and before.basis == basis.digest and _complete(model, folder, before):
        state = msgspec.structs.replace(
            before, ledger_seq=basis.ledger_seq, landed=basis.landed, skew=newest_skew(model, before.champion.version)
        )
        if state == before:
            os.utime(folder / STATE_FILE)  # confirms it to the servers, which compare times with the config's file
            keep_copies(folder, state, model.home.signer)
            return state
    else:
        state = _state(model, folder, serve, basis, before)
    reach("serving.files")
    published.write(folder, state, model.home.signer)
    model.home.ledger.notify(state.model)
    keep_copies(folder, state, model.home.signer)
    _remove_old(folder, state)
    return state


def _before(model: Model, folder: Path) -> State | None:
    """The state that is published; None for none, or for one that is not right, which is made anew."""
    if not (folder / STATE_FILE).exists():
        return None
    try:
        return published.read(folder, model.home.signer)
    except WorkError:
        return None


def _basis(model: Model) -> _Basis:
    name, home = model.config.model, model.home
    record = home.ledger.champion(name)
    champion = model.champion()
    if record is None or champion is None:
        raise UsageError(f"{name} has no champion yet, so there is nothing to serve; make one: trueup run {name}")
    newest, labels = home.ledger.entries(name, limit=1), home.store.last(model.config.labels_dataset)
    tried = _tried(model, champion)
    history = bool(champion.features.history or (tried and tried.challenger().features.history))
    past = _past(model) if history else []
    digest = digest_of(
        {
            "format": FORMAT,
            "config": model.config.model_dump(mode="json", by_alias=True),
            "champion": [champion.version, champion.epoch, record.entry.seq, home.signer.key_id],
            "past": past,
            "rollout": tried.newest.seq if tried else None,
        }
    )
    landed = labels.sequence if labels is not None and history else 0
    return _Basis(champion, record.entry.seq, digest, newest[-1].seq, landed, tried)


def _tried(model: Model, champion: Champion) -> UnderWay | None:
    """The rollout beside this champion; one beside an earlier champion is over, as the next check records."""
    tried = under_way(model)
    return tried if tried is not None and tried.state.expected_epoch == champion.epoch else None


def _past(model: Model) -> list[list[object]]:
    """What the values of history features depend on: the batches that count, and which of their rows are in quarantine."""
    usable = model.usable_batches(datetime.max)
    judged = model.home.store.judgements([b.rows for b in usable])
    return [[b.rows.sequence, b.labels.sequence, how] for b, how in zip(usable, judged, strict=True)]


def _complete(model: Model, folder: Path, state: State) -> bool:
    """Whether the bundles and the past that a state names are there and right."""
    if state.history is not None and not files_are_right(folder, state.history):
        return False
    return all(is_right(folder / BUNDLES, version, model.home.signer) for version in versions_of(state))


def _state(model: Model, folder: Path, serve: ServeConfig, basis: _Basis, before: State | None) -> State:
    config, champion = model.config, basis.champion
    require_online_form(config.model, champion.features, serve)
    served, manifest = bundle_of(model, folder, champion.version, champion.epoch, basis.seq, champion.manifest_digest)
    require_same_values(model, champion.features, serve)
    sample = _sample(model, champion)
    tried, challenger = basis.tried, _challenger(model, folder, serve, basis.tried)
    features = [champion.features, *([tried.challenger().features] if tried and challenger else [])]
    return State(
        format=FORMAT,
        model=config.model,
        task=manifest.task,
        about=config.about,
        timezone=config.ingest.timezone,
        period=config.ingest.period,
        published_at=datetime.now(UTC).isoformat(timespec="seconds"),
        basis=basis.digest,
        ledger_seq=basis.ledger_seq,
        landed=basis.landed,
        champion=served,
        challenger=challenger,
        rollout=published_rollout(model, tried, champion) if tried and challenger else None,
        fields=fields(model, features, manifest.inputs, sample),
        key=tuple(config.ingest.key),
        time=config.ingest.time,
        history=write_history(model, folder, before, features),
        sketches=sketches(manifest.inputs, sample),
        skew=newest_skew(model, champion.version),
        serve=_settings(serve),
        ended=ended(model.home, config.model),
    )


def _challenger(model: Model, folder: Path, serve: ServeConfig, tried: UnderWay | None) -> ServedVersion | None:
    """The challenger of a rollout with its bundle.

    None without one, and for a challenger that cannot be served: the champion is published without it, and the rollout
    waits for a person, or for its deadline.
    """
    if tried is None:
        return None
    challenger, registered = tried.challenger(), tried.fitted.manifest_digest
    try:
        require_online_form(model.config.model, challenger.features, serve)
        place = (challenger.version, challenger.epoch, tried.start.seq)
        served, _ = bundle_of(model, folder, *place, registered)
        require_same_values(model, challenger.features, serve)
    except (UsageError, WorkError) as error:
        end = f"trueup rollout abort {model.config.model} --by NAME --why TEXT"
        log.warning("the challenger gets no traffic, and its rollout waits: %s; to end it: %s", error, end)
        return None
    return served


def _settings(serve: ServeConfig) -> Serve:
    return msgspec.convert(serve.model_dump(), Serve)


def _sample(model: Model, champion: Champion) -> pd.DataFrame:
    """The kept sample of the champion's training rows; empty when retention has removed it."""
    try:
        return model.home.store.read_evaluation(champion.baseline_path)
    except WorkError:
        return pd.DataFrame()


def _remove_old(folder: Path, state: State) -> None:
    """Remove bundles and files of the past that the state does not name, and nobody wrote or published for an hour."""
    named = {version.bundle for version in versions_of(state)}
    named |= {file.file for file in (state.history.files if state.history else ())}
    for place in _places(folder):
        with suppress(OSError):  # another process removes the same
            if place.name in named:
                os.utime(place)
            elif place.stat().st_mtime < time.time() - _KEPT:
                shutil.rmtree(place) if place.is_dir() else place.unlink()


def _places(folder: Path) -> Iterator[Path]:
    for part in (BUNDLES, HISTORY):
        if (folder / part).is_dir():
            yield from (folder / part).iterdir()


def publish_after_turn(model: Model) -> None:
    """Publish at the end of a turn of the loop, or after a person's decision. Does nothing without `serve` or a champion.

    A problem is a warning, because what was decided is recorded: servers that run try again.
    """
    if model.config.serve is None or model.champion() is None:
        return
    try:
        publish(model)
    except TrueupError as error:
        log.warning("what was decided is recorded, but servers still have what was before: %s", error)


def announce_failure(model: Model, why: str) -> bool:
    """Put an event about servers that could not load a model into the outbox; returns whether it is new.

    The same failure is announced once a day, however many workers and servers have it.
    """
    name, now = model.config.model, model.home.local_now(model.config)
    event = Event.of(ServingFailed(model=name, as_of=now, reasons=[why]), f"{now:%Y-%m-%d} {why}")
    return model.home.ledger.announce(name, [event]) > 0
