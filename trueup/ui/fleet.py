"""The rows of the fleet's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from trueup.config.durations import write_duration
from trueup.config.schema import ModelConfig
from trueup.config.sections.promotion import RolloutConfig
from trueup.config.sections.retraining import RetrainConfig
from trueup.domain.data.periods import Period, period_of
from trueup.domain.judging.rollout import step_words
from trueup.domain.monitoring.diagnosis import DECAYED, ESTIMATED_DECAY, HEALTHY, STALE, UNKNOWN, Skill
from trueup.domain.retraining.limits import before_planning, rejections
from trueup.domain.types import Window
from trueup.governance.approval import PENDING
from trueup.governance.rollouts import ROLLOUT
from trueup.ui.reader import Facts
from trueup.ui.records import CLOSED, Line, Seen, SeenEstimate, SeenRollout
from trueup.ui.urgency import NEW, Signs, needs, rank

_TOP: Final = 3  # columns that are named
_OF_CHAMPION: Final = {DECAYED, STALE, ESTIMATED_DECAY, UNKNOWN, HEALTHY}


@dataclass(frozen=True)
class Control:
    """Whether an automatic retrain may start, in words; `stopped` needs a person."""

    words: str
    stopped: bool = False


@dataclass(frozen=True)
class Row:
    """One model on the fleet's page."""

    model: str
    about: str
    tags: tuple[str, ...]
    needs: tuple[str, ...]  # what applies, the most urgent first
    rank: int
    reasons: tuple[str, ...]
    champion: int | None
    age_days: float | None
    epoch: int | None
    skill: Skill | None  # of the last batch
    measured: int | None  # the version that predicted it
    gate: Skill | None
    spark: tuple[float | None, ...]
    estimate: SeenEstimate | None
    newest: Window | None
    fresh: str
    missing: bool
    drifted: int | None  # columns; None if inputs were not compared
    columns: tuple[str, ...]  # those that matter, each with what it explains of the predictions' change
    effects: tuple[str, ...]  # the same in sentences
    decision: Line | None
    approvals: tuple[Line, ...]
    rollout: str
    control: Control


def rows(facts: Sequence[Facts], configs: dict[str, ModelConfig | str | None], now: datetime) -> list[Row]:
    """A row for each model, in the order of what needs a person, then by name. `now` has an offset."""
    made = [row_of(one, configs.get(one.name), now) for one in facts]
    return sorted(made, key=lambda row: (row.rank, row.model))


def row_of(facts: Facts, config: ModelConfig | str | None, now: datetime) -> Row:
    """The row of one model. `config` is a text with its mistakes, or None while it has not been read."""
    read = config if isinstance(config, ModelConfig) else None
    newest, serving = facts.newest, champion_line(facts.lines)
    seen = None if newest is None else newest.body
    local = _local(read, now)
    overdue = None if read is None or newest is None else _overdue(newest.window, read, local)
    waiting = tuple(open_approvals(facts.lines, now))
    control = _control(facts, read, local)
    promotion = serving.body.promotion if serving else None
    signs = Signs(
        findings=_standing(seen, promotion.version if promotion else None),
        approvals=len(waiting),
        stopped=control.stopped,
        missing=overdue is not None,
        estimate_off=bool(seen and seen.estimate and seen.estimate.off),
        config=isinstance(config, str),
    )
    return Row(
        model=facts.name,
        about=read.about if read else "",
        tags=tuple(read.tags) if read else (),
        needs=tuple(needs(signs)),
        rank=rank(signs),
        reasons=(config,) if isinstance(config, str) else (seen.reasons if seen else ()),
        champion=promotion.version if promotion else None,
        age_days=_age(serving, newest.as_of if newest else None),
        epoch=promotion.epoch if promotion else None,
        skill=seen.skill if seen else None,
        measured=seen.champion if seen else None,
        gate=serving.body.evaluation.skill if serving and serving.body.evaluation else None,
        spark=tuple(None if r.body.skill is None else r.body.skill.mean for r in facts.recent),
        estimate=seen.estimate if seen else None,
        newest=newest.window if newest else None,
        fresh=_fresh(newest.window if newest else None, read, local, overdue),
        missing=overdue is not None,
        drifted=None if seen is None or seen.drift is None or seen.drift.shifted is None else len(seen.drift.drifted),
        columns=_columns(seen),
        effects=tuple(e.words for e in seen.drift.effects[:_TOP] if e.words) if seen and seen.drift else (),
        decision=facts.lines[-1] if facts.lines else None,
        approvals=waiting,
        rollout=rollout_words(facts.lines),
        control=control,
    )


def champion_line(lines: Sequence[Line]) -> Line | None:
    """The entry that put the present champion there."""
    return next((line for line in reversed(lines) if line.body.promotion is not None), None)


def open_approvals(lines: Sequence[Line], now: datetime) -> list[Line]:
    """The approval that still can be decided, if there is one: a newer one takes an older one's place."""
    closed = {line.decision_id for line in lines}
    waiting = [line for line in lines if line.kind == PENDING and f"{line.decision_id}{CLOSED}" not in closed]
    serving = champion_line(lines)
    epoch = serving.body.promotion.epoch if serving and serving.body.promotion else 0
    return [
        line
        for line in waiting[-1:]
        if line.body.approval is not None and line.body.approval.expected_epoch == epoch and now < expires(line)
    ]


def expires(line: Line) -> datetime:
    """The wall-clock moment from which an approval counts as expired."""
    seconds = line.body.approval.expires_after_seconds if line.body.approval else 0.0
    return line.recorded_at + timedelta(seconds=seconds)


def rollout_words(lines: Sequence[Line]) -> str:
    """The rollout that is under way, in words; empty without one."""
    states: dict[int, SeenRollout] = {}
    for line in lines:
        if (state := line.body.rollout) is not None:
            states[line.seq if line.kind == ROLLOUT else (state.start or line.seq)] = state
    for state in states.values():
        if state.ended is None:
            paused = ", paused" if state.paused else ""
            return f"version {state.version} in {step_words(RolloutConfig.model_validate(state.rules), state.step)}{paused}"
    return ""


def _standing(seen: Seen | None, champion: int | None) -> tuple[str, ...]:
    """The findings that still hold: those about a champion that was replaced since do not."""
    if seen is None:
        return (UNKNOWN,)
    if champion is None or seen.champion == champion:
        return seen.findings
    return tuple(f for f in seen.findings if f not in _OF_CHAMPION) or (NEW,)


def _control(facts: Facts, config: ModelConfig | None, local: datetime) -> Control:
    """Whether a retrain that nobody asked for may start."""
    retrain = RetrainConfig() if config is None else config.retrain
    steps = [line.step for line in facts.lines if line.body.received is None or line.body.promotion]
    streak = rejections(steps)
    if streak >= retrain.max_rejections:
        return Control(f"stopped after {streak} rejections in a row: `trueup clear {facts.name}`", stopped=True)
    moments = [r.as_of for r in facts.recent[-1:]] + [line.as_of for line in facts.lines[-1:]]
    as_of = local if config is not None and config.clock == "wall" else max(moments, default=local)
    refusal = before_planning(steps, as_of, retrain)
    if refusal is not None and refusal.rule == "cooldown":
        return Control(f"cooldown of {write_duration(retrain.cooldown)}")
    if refusal is not None and refusal.rule == "budget":
        return Control(f"budget of {retrain.budget.starts} in {write_duration(retrain.budget.per)} is used up")
    return Control(f"{streak} of {retrain.max_rejections} rejections" if streak else "may start")


def _age(serving: Line | None, as_of: datetime | None) -> float | None:
    """Days from the champion's last training row to the last monitoring."""
    if serving is None or serving.body.model is None:
        return None
    moment = serving.as_of if as_of is None else max(as_of, serving.as_of)
    return (moment - serving.body.model.trained_until) / timedelta(days=1)


def _local(config: ModelConfig | None, now: datetime) -> datetime:
    zone = ZoneInfo(config.ingest.timezone) if config else None
    return now.astimezone(zone).replace(tzinfo=None)


def _overdue(newest: Window, config: ModelConfig, local: datetime) -> timedelta | None:
    """How long the batch after the newest has been complete, if it is time to have it; by the wall clock only."""
    period: Period = config.ingest.period
    due = period_of(newest.end, period).end
    late = local - due
    return late if config.clock == "wall" and late > config.ingest.late_after else None


def _fresh(newest: Window | None, config: ModelConfig | None, local: datetime, overdue: timedelta | None) -> str:
    if newest is None:
        return "no batch yet"
    until = f"until {newest.end:%Y-%m-%d}"
    if overdue is not None:
        return f"{until}, {overdue / timedelta(days=1):.1f} days late"
    if config is not None and config.clock == "wall":
        return f"{until}, {max(local - newest.end, timedelta(0)) / timedelta(days=1):.1f} days ago"
    return until


def _columns(seen: Seen | None) -> tuple[str, ...]:
    """The columns that matter most: by what they explain of the predictions' change, else those that drifted."""
    if seen is None or seen.drift is None:
        return ()
    by_effect = tuple(f"{e.column} {e.effect:+.3g}" for e in seen.drift.effects)
    return (by_effect or seen.drift.drifted)[:_TOP]
