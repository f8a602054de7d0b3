"""Plays one policy through the history with the production loop, batch by batch, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Annotated

import pandas as pd
from pydantic import Field

from trueup.config.policies import Policy, applied
from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.config.tasks import METRICS, Task
from trueup.domain.judging.bootstrap import paired_interval
from trueup.domain.judging.gates import CHALLENGER, CHAMPION
from trueup.domain.judging.metrics import row_losses
from trueup.domain.judging.predictions import classes_of, prediction_in
from trueup.domain.learning.learning import predict
from trueup.domain.monitoring.diagnosis import DECAYED, Skill
from trueup.domain.monitoring.result import MonitoringResult
from trueup.domain.types import EVENT_TIME, LABEL, ROW_ID, Batch, Window
from trueup.ledger.entries import Entry
from trueup.ledger.record import Evaluated, Fitted
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.model import MONITOR, Model
from trueup.replay.sandbox import Sandbox, at
from trueup.replay.yardsticks import yardsticks
from trueup.stages.features import features

BATCH, LOSS, VERSION, RIVAL = "batch", "loss", "version", "rival"
SCORED = "predicted_at"


@dataclass(frozen=True)
class Tried:
    """A retrain that started, or was requested and refused."""

    as_of: datetime
    reason: str
    outcome: str
    version: int | None
    reasons: Annotated[str, Field(alias="said")]
    cost_s: float  # seconds of searching and fitting
    rival: float | None = (
        None  # mean loss of the model not in service (rejected challenger or replaced champion) minus the one in service, until the next attempt
    )
    rival_low: float | None = None
    rival_high: float | None = None
    figures: dict[str, tuple[float, float]] = field(default_factory=dict)
    # challenger's and champion's metrics on the gate rows, the deciding loss first

    @property
    def later(self) -> bool:
        """Whether it came after the first champion, which all policies share."""
        return self.reason != "first"

    @property
    def regretted(self) -> bool:
        """Whether the rival would have lost less."""
        return self.rival is not None and self.rival < 0

    @property
    def regret_shown(self) -> bool:
        """Whether that is more than chance."""
        return self.rival_high is not None and self.rival_high < 0


@dataclass(frozen=True)
class Look:
    """The last monitoring of a batch."""

    window: Window
    diagnosis: str
    champion: int | None
    decayed: bool
    shifted: bool | None
    drifted: list[str]
    skill: Skill | None


@dataclass(frozen=True)
class PolicyRun:
    """The result of a policy."""

    policy: Policy
    losses: pd.DataFrame  # row_id, event_time, start of its batch, loss, version, and the rival's loss if there was one
    tried: list[Tried] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    @property
    def champions(self) -> int:
        return sum(t.outcome == "promoted" for t in self.tried)

    @property
    def why_none(self) -> str:
        """The result of the last attempt at a first champion."""
        return self.tried[-1].reasons if self.tried else "nothing was ever tried"


def for_replay(config: ModelConfig) -> ModelConfig:
    """The config without settings that reach out of the replay, wait for a person or make files that it does not use."""
    changes = {
        "clock": "data",
        "train": config.train.model_copy(update={"dask_workers": None}),  # each policy is played in one process
        "export": None,
        "serve": None,
        "score": config.score.model_copy(update={"sink": None}),
        "promote": config.promote.model_copy(update={"mode": "auto", "rollout": None}),
    }
    return config.model_copy(update=changes)


def with_own_bar(config: ModelConfig, meant: ModelConfig) -> ModelConfig:
    """The config until there is a champion: the first one meets the config's own gates, whatever the policy."""
    own = for_replay(config)
    return meant.model_copy(update={"promote": own.promote, "evaluate": own.evaluate})


def play(
    config: ModelConfig, policy: Policy, sandbox: Sandbox, on_progress: Callable[[int, int], None] = lambda *_: None
) -> PolicyRun:
    """Turn the loop at the end of each batch, and read the results.

    An interrupted run continues, because the home has what the loop has done. `on_progress` gets the number of finished
    batches and of all. Raises what the loop raises.
    """
    meant = for_replay(applied(config, policy))
    first, config = with_own_bar(config, meant), meant
    turns = sandbox.lay_out(config)
    home = sandbox.opened(sandbox.folder_of(config))
    model = Model(config, home)
    if sandbox.known_then:
        home.store.known_until = lambda: home.now().astimezone(UTC).replace(tzinfo=None)
    do = SimpleNamespace(**{name: getattr(steps, name) for name in steps.__all__})
    do.ingest = Model.batches  # all have landed; a call with `as_of` sees none that end later
    try:
        for number, moment in enumerate(turns):
            on_progress(number, len(turns))
            at(model, moment)
            cycle(do, model if home.ledger.champion(config.model) else Model(first, home), moment)
        on_progress(len(turns), len(turns))
        run = _read(model, policy, max(turns))
        measured = sandbox.measured(config, lambda: yardsticks(model, max(turns)))
        return replace(run, losses=run.losses.merge(measured, on=ROW_ID, how="left"))
    finally:
        home.close()


def _read(model: Model, policy: Policy, until: datetime) -> PolicyRun:
    entries = model.home.ledger.entries(model.config.model)
    trained = [e for e in entries if e.body.model and e.body.search]
    parts, wins = [], dict[int, list[pd.DataFrame]]()
    for batch in model.usable_batches(until):
        served = _served(model, batch)
        if served.empty:
            continue
        scored = served.pop(SCORED).min()  # before the retrain of that turn, if there was one
        last = max((e for e in trained if e.as_of < scored), key=lambda e: e.seq, default=None)
        if last is not None and (rival := _rival(model, batch, last, until)) is not None:
            served = served.merge(rival, on=ROW_ID, how="left")
            wins.setdefault(last.seq, []).append(served)
        parts.append(served.assign(**{BATCH: pd.Timestamp(batch.window.start)}))
    tried = [
        _tried(model.config, e, wins.get(e.seq, []))
        for e in entries
        if e.kind in {"promoted", "rejected", "held", "refused"}
    ]
    columns = [ROW_ID, EVENT_TIME, BATCH, LOSS, VERSION, RIVAL]
    losses = pd.concat(parts, ignore_index=True).reindex(columns=columns) if parts else pd.DataFrame(columns=columns)
    return PolicyRun(policy, losses, tried, _looks(model))


def _served(model: Model, batch: Batch) -> pd.DataFrame:
    """The loss of each served prediction with a label."""
    served = model.home.store.read_predictions(model.config.model, batch.window)
    if served.empty:
        return served
    joined = served.merge(model.home.store.read(batch.labels, [ROW_ID, LABEL]), on=ROW_ID, how="inner")
    classes = classes_of(model.config, joined)
    losses = row_losses(
        model.config.task, joined[LABEL].to_numpy(), prediction_in(model.config, joined, classes), classes
    )
    joined[LOSS], joined[VERSION] = losses, joined["model_version"]
    return joined[[ROW_ID, EVENT_TIME, LOSS, VERSION, SCORED]]


def _rival(model: Model, batch: Batch, last: Entry, until: datetime) -> pd.DataFrame | None:
    """The loss of the other of the last two compared models: the previous champion, or the rejected challenger."""
    if last.kind == "rejected":
        made = last.body.model
    else:
        before = last.body.previous if last.kind == "promoted" else None
        made = _champion(model, before.version) if before else None
    if made is None:
        return None
    key = features(model, batch, until, FeaturesConfig.model_validate(made.features))
    frame = model.home.store.read_features([key])
    loaded = model.home.registry.load(made.uri, made.manifest_digest)
    labels = model.home.store.read(batch.labels, [ROW_ID, LABEL])
    frame = frame.merge(labels, on=ROW_ID, how="inner")
    frame = frame[frame[EVENT_TIME] >= made.trained_until]
    classes = None if model.config.task is not Task.MULTICLASS else sorted({*map(str, loaded.classes_), *frame[LABEL]})
    predicted = predict(loaded, frame, model.config.task, classes)
    return frame[[ROW_ID]].assign(**{RIVAL: row_losses(model.config.task, frame[LABEL].to_numpy(), predicted, classes)})


def _champion(model: Model, version: int) -> Fitted | None:
    """The ledger's record of a version that was champion."""
    made = [e.body.model for e in model.home.ledger.entries(model.config.model) if e.body.version == version]
    return made[-1] if made else None


def _tried(config: ModelConfig, entry: Entry, served: Sequence[pd.DataFrame]) -> Tried:
    body = entry.body
    seconds = [
        body.search.seconds if body.search else 0.0,
        body.refit.figures.get("seconds", 0.0) if body.refit else 0.0,
    ]
    bounds = _apart(config, served)
    return Tried(
        as_of=entry.as_of,
        reason=body.reason or "",
        outcome=entry.kind,
        version=body.version,
        reasons="; ".join(body.reasons),
        cost_s=round(sum(seconds), 3),
        figures=_figures(config, body.evaluation),
        **dict(zip(("rival", "rival_low", "rival_high"), bounds, strict=True)),
    )


def _figures(config: ModelConfig, evaluation: Evaluated | None) -> dict[str, tuple[float, float]]:
    """Metrics of challenger and champion on the gate rows, if both exist."""
    by_role = evaluation.metrics if evaluation else {}
    one, other = (by_role.get(role, {}) for role in (CHALLENGER, CHAMPION))
    pairs = {name: (one.get(name), other.get(name)) for name in METRICS[config.task]}
    return {name: (a, b) for name, (a, b) in pairs.items() if a is not None and b is not None}


def _apart(config: ModelConfig, served: Sequence[pd.DataFrame]) -> tuple[float | None, float | None, float | None]:
    rows = pd.concat(served).dropna(subset=[RIVAL]) if served else pd.DataFrame()
    if rows.empty:
        return None, None, None
    e = config.evaluate
    difference = paired_interval(rows[RIVAL] - rows[LOSS], rows[EVENT_TIME], e.block, e.confidence)
    return difference.mean, *difference.bounds


def _looks(model: Model) -> list[Look]:
    results = {r.window: r.body for r in model.home.store.results(model.config.model, MONITOR, MonitoringResult)}
    return [
        Look(
            window=window,
            diagnosis=result.diagnosis,
            champion=result.champion,
            decayed=DECAYED in result.findings,
            shifted=result.drift.shifted if result.drift else None,
            drifted=list(result.drift.drifted) if result.drift else [],
            skill=result.skill,
        )
        for window, result in sorted(results.items())
    ]
