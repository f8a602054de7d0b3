"""The figures of a home as the text that Prometheus reads. Nothing is pushed or counted in a process.

Each scrape asks ledger and store, so the figures survive every restart and are the same whichever process answers.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from importlib.metadata import version
from threading import Lock
from typing import Final
from zoneinfo import ZoneInfo

from prometheus_client import generate_latest

from trueup.config.schema import ModelConfig
from trueup.domain.data.periods import LONGEST, period_of
from trueup.domain.monitoring.diagnosis import NAMES
from trueup.domain.types import Status
from trueup.home import Home
from trueup.metrics.configs import Configs
from trueup.metrics.families import Families
from trueup.metrics.reader import Reader, Recent
from trueup.metrics.standing import Standing

__all__ = ["CONTENT_TYPE", "Figures", "text"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_OUTCOMES: Final = ("promoted", "rejected", "held", "pending", "refused", "failed", "rolled_back", "override")
_COLUMNS: Final = 3  # columns with a figure of their effect
_READING: Final = 0.25  # seconds in which a scrape reads configs
_log: Final = logging.getLogger(__name__)


class Figures:
    """The figures of one home; what was read is kept, so that a scrape reads only what is new."""

    def __init__(self, home: Home) -> None:
        self._home, self._reader, self._configs = home, Reader(home), Configs(home.configs)
        self._lock = Lock()

    def text(self) -> bytes:
        """All figures in Prometheus' text format. Never raises for a home or a config that cannot be read."""
        with self._lock:
            begun, families = time.perf_counter(), Families()
            self._add(families)
            families.of_home("scrape_seconds", time.perf_counter() - begun)
            return generate_latest(families)

    def _add(self, families: Families) -> None:
        self._configs.read_changed(_READING)
        configs = {name: self._configs.get(name) for name in self._configs.names()}
        families.of_home("info", 1, version("trueup"))
        families.of_home("models", len(configs))
        families.of_home("configs_broken", sum(isinstance(c, str) for c in configs.values()))
        families.of_home("configs_unread", sum(c is None for c in configs.values()))
        try:
            self._reader.look(configs)
        except Exception as error:  # a scrape always answers, and says that the home cannot be read
            _log.warning("the home cannot be read for the metrics: %s", error)
            families.of_home("ledger_readable", 0)
            return
        families.of_home("ledger_readable", 1)
        families.of_home("ledger_entries", self._reader.entries)
        families.of_home("ledger_unsigned_entries", self._reader.unsigned)
        for receiver, told in self._reader.told.items():
            families.of_home("outbox_delivers", told, receiver)
        now, failed = self._home.now(), 0
        for name, config in configs.items():
            wrong = isinstance(config, str)
            try:
                self._add_model(families, name, config if isinstance(config, ModelConfig) else None, now)
            except Exception as error:  # figures of one model are not worth those of the others
                _log.warning("the figures of %s cannot be read: %s: %s", name, type(error).__name__, error)
                failed, wrong = failed + 1, True
            families.of_model(name, "readable", not wrong)
        families.of_home("scrape_errors", failed)

    def _add_model(self, families: Families, name: str, config: ModelConfig | None, now: datetime) -> None:
        of_model = Of(families, name)
        standing, recent = self._reader.standing(name), self._reader.recent(name)
        of_model.ledger(standing, now)
        of_model.monitoring(recent)
        of_model.estimate(recent)
        of_model.turns(recent)
        if config is not None:
            of_model.config(config, recent)
        for (model, receiver), waiting in self._reader.waiting.items():
            if model == name:
                of_model.add("outbox_waiting", waiting.count, receiver)
                of_model.add("outbox_oldest_timestamp_seconds", waiting.oldest.timestamp(), receiver)


class Of:
    """Adds the figures of one model."""

    def __init__(self, families: Families, name: str) -> None:
        self._families, self._name = families, name

    def add(self, figure: str, value: float | None, *labels: str) -> None:
        """Add one figure, unless it is unknown."""
        self._families.of_model(self._name, figure, value, *labels)

    def ledger(self, standing: Standing, now: datetime) -> None:
        """What the ledger says: champion, decisions, and what waits for a person."""
        counts = {**dict.fromkeys(_OUTCOMES, 0), **standing.outcomes}  # a rise from nothing is none for Prometheus
        self._families.decisions(self._name, sorted(counts.items()))
        approval = standing.open_approval(now)
        self.add("approvals_open", approval is not None)
        if approval is not None:
            self.add("approval_open_since_timestamp_seconds", approval.recorded_at.timestamp())
        self.add("rollout_step", standing.rollout_step)
        self.add("rejections_in_a_row", standing.rejections)
        self.add("retrain_stopped", standing.stopped)
        if (serving := standing.serving) is None:
            return
        self.add("champion_version", serving.version)
        self.add("champion_epoch", serving.epoch)
        self.add("champion_promoted_timestamp_seconds", serving.promoted_at.timestamp())
        if (gate := serving.evaluation) is not None:
            self.add("gate_skill", None if gate.skill is None else gate.skill.mean)
            for metric in gate.intervals[:1]:
                self.add("gate_loss", metric.value, metric.name)

    def monitoring(self, recent: Recent) -> None:
        """The newest monitored batch, and the newest one with enough labels."""
        if (newest := recent.newest) is None:
            return
        seen = newest.body
        for name in NAMES:
            self.add("diagnosis", name == seen.diagnosis, name)
            self.add("finding", name in seen.findings, name)
        if seen.champion_age_days is not None:
            self.add("champion_age_seconds", seen.champion_age_days * 86400)
        self.add("labels_matured", seen.matured)
        if seen.drift is not None:
            columns = {check.column for check in seen.drift.checks}
            self.add("drifted_columns_ratio", len(seen.drift.drifted) / len(columns) if columns else None)
            self.add("shifted", seen.drift.shifted)
            for effect in seen.drift.effects[:_COLUMNS]:
                self.add("drift_effect", effect.effect, effect.column)
        if (judged := recent.judged) is None or (skill := judged.body.skill) is None:
            return
        self.add("label_lag_seconds", (newest.window.end - judged.window.end).total_seconds())
        self.add("skill_version", judged.body.champion)
        self.add("skill", skill.mean)
        self.add("skill_low", skill.low)
        self.add("skill_high", skill.high)
        for metric in judged.body.metrics[:1]:
            self.add("loss", metric.value, metric.name)

    def estimate(self, recent: Recent) -> None:
        """The estimate for the newest batch, and the newest estimate that could be compared with its labels."""
        if recent.newest is not None and (estimate := recent.newest.body.estimate) is not None:
            for metric in estimate.metrics[:1]:
                self.add("estimated_loss", metric.value, metric.name)
            for metric in estimate.gate[:1]:
                self.add("estimated_gate_loss", metric.value, metric.name)
            self.add("estimated_decay", estimate.worse)
        estimates = (look.body.estimate for look in reversed(recent.looks))
        checks = (estimate.check for estimate in estimates if estimate is not None and estimate.check is not None)
        if (check := next(checks, None)) is not None:
            self.add("estimate_error", check.error)
            self.add("estimate_off", check.off)

    def turns(self, recent: Recent) -> None:
        """The last turn, and the last retrain by itself."""
        for run, result in (("run", recent.turn), ("retrain", recent.retrain)):
            for stage, seconds in sorted(result.body.seconds.items()) if result is not None else ():
                self.add("stage_seconds", seconds, run, stage)
        if recent.turned_at is not None:
            self.add("turn_timestamp_seconds", recent.turned_at.replace(tzinfo=UTC).timestamp())
        if recent.turn is not None and recent.turn.body.batches:
            newest = max(recent.turn.body.batches, key=lambda b: b.batch.rows.window)
            self.add("batch_rows", newest.batch.rows.rows)
            self.add("batch_quarantined_rows", newest.quarantined)
            self.add("batch_broken", newest.status == Status.FAIL)

    def config(self, config: ModelConfig, recent: Recent) -> None:
        """What only the config says: owner, task, and moments in the model's time zone."""
        self.add("info", 1, config.task, config.governance.owner)
        period = config.ingest.period
        self.add("period_seconds", LONGEST[period].total_seconds())
        if recent.turn is None:
            return
        end, zone = recent.turn.window.end, ZoneInfo(config.ingest.timezone)
        self.add("batch_end_timestamp_seconds", end.replace(tzinfo=zone).timestamp())
        if config.clock == "wall":
            late = period_of(end, period).end + config.ingest.late_after
            self.add("batch_due_timestamp_seconds", late.replace(tzinfo=zone).timestamp())


def text(home: Home) -> bytes:
    """The figures of a home in Prometheus' text format; what was read is kept as long as the home is."""
    if (kept := home.kept.get("metrics")) is None:
        kept = home.kept["metrics"] = Figures(home)
    content: bytes = kept.text()
    return content
