"""Homes for the tests of the live page: records as the loop writes them, without its work."""

from datetime import datetime, timedelta

from trueup.config.settings import Settings
from trueup.domain.monitoring.diagnosis import Skill
from trueup.domain.monitoring.drift import ColumnDrift, DriftResult
from trueup.domain.monitoring.result import MonitoringResult
from trueup.domain.records import to_plain
from trueup.domain.types import Metric, Window
from trueup.home import Home
from trueup.ledger.entries import Decision, Promotion
from trueup.ledger.record import Approval, Record

START = datetime(2026, 1, 5)
CONFIG = """model: {name}
task: binary
about: {about}
ingest:
  source: {{kind: files, path: rows.csv}}
  time: t
  key: [id]
  period: day
  label: {{column: y, known_after: 1 day}}
features: {{numeric: [x], categorical: [c]}}
validate:
  min_rows: 1
  expectations:
    - {{type: expect_column_to_exist, kwargs: {{column: x}}}}
evaluate: {{block: 1 hour}}
clock: data
"""


def estimated(value, worse=False, off=False):
    """An estimate without labels, as monitoring records it."""
    metrics = [
        {"name": "log_loss", "value": value, "n": 900, "low": value - 0.1, "high": value + 0.1, "confidence": 0.95},
        {"name": "auc", "value": 0.77, "n": 900, "low": None, "high": None, "confidence": None},
    ]
    check = {
        "estimated": value,
        "realised": value + 0.2,
        "error": 0.2,
        "low": -0.05,
        "high": 0.05,
        "off": off,
        "words": "an earlier estimate was 0.2 too low",
    }
    return {
        "method": "cbpe",
        "rows": 900,
        "metrics": metrics,
        "gate": metrics,
        "worse": worse,
        "reason": "as estimated",
        "check": check,
    }


def day(number):
    return Window(START + timedelta(days=number), START + timedelta(days=number + 1))


class Fleet:
    """A home with configs, whose models are told what happens to them."""

    def __init__(self, folder, *names, **places):
        self.configs = folder / "configs"
        self.configs.mkdir()
        for name in names:
            (self.configs / f"{name}.yaml").write_text(CONFIG.format(name=name, about=f"The model {name}."))
        self.settings = Settings(home=folder / "home", configs=self.configs, **places)

    def open(self):
        self.home = Home(self.settings)
        _ = self.home.ledger, self.home.store
        return self

    def close(self):
        self.home.close()

    def batch(
        self,
        name,
        number,
        diagnosis="healthy",
        champion=1,
        skill=0.2,
        columns=("x", "c"),
        reasons=("ok",),
        estimate=None,
        effects=(),
    ):
        checks = tuple(ColumnDrift(c, "psi", 0.3 if i == 0 else 0.05, 0.1, i == 0) for i, c in enumerate(columns))
        drift = DriftResult(True, f"1 of {len(columns)} columns drifted", checks, 5000, 5000)
        measured = Skill(skill, skill - 0.05, skill + 0.05, 0.95, 900, 12, 0.4, 0.5)
        metrics = (Metric("log_loss", 0.4 - skill / 10, 900, 0.3, 0.5, 0.95), Metric("auc", 0.8, 900))
        result = MonitoringResult(
            diagnosis=diagnosis, findings=(diagnosis,), reasons=tuple(reasons), awaits_labels=False, champion=champion,
            skill=measured, unusual=(), probation=None, champion_age_days=3.0, landed=number + 1, matured=900, left_out=0,
            of_others=0, metrics=metrics, drift=drift, usual=None, shift=(),
        )  # fmt: skip
        window = day(number)
        body = to_plain(result) | {"estimate": estimate}
        body["drift"] |= {"effects": list(effects)}
        return self.home.store.record(name, "monitor", window, number + 1, window.end, body, "pass")

    def decide(self, name, kind, number, version=1, reasons=("log-loss 0.4 is 0.01 below the champion's",), epoch=None):
        end = day(number).end
        body = Record(outcome=kind, reasons=tuple(reasons))
        if kind == "pending":
            body |= Record(approval=Approval(expected_epoch=epoch or 0, expires_after_seconds=864000.0, run_id="r"))
        promotion = None if kind != "promoted" else Promotion(version, "d" * 64, epoch or 0)
        identity = f"{name}:{kind}:{number}:{version}"
        return self.home.ledger.append(Decision(identity, name, kind, end, body, promotion))
