"""The names, kinds and help texts of all figures. Times are Unix timestamps, spans are seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_MODEL: Final = "trueup_model_"
_HOME: Final = "trueup_home_"

# By name: the help text, and the labels beside the model.
OF_MODELS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "info": ("The model's task and owner, always 1.", ("task", "owner")),
    "readable": ("Whether the model's config and figures could be read in this scrape.", ()),
    "diagnosis": ("The diagnosis of the newest monitored batch: 1 for it, 0 for the others.", ("diagnosis",)),
    "finding": ("Whether the newest monitored batch has a finding; the first one is the diagnosis.", ("finding",)),
    "champion_version": ("The version that serves.", ()),
    "champion_epoch": ("The promotion that made it the champion.", ()),
    "champion_promoted_timestamp_seconds": ("When the champion was promoted.", ()),
    "champion_age_seconds": ("From the end of the champion's training rows to the newest monitoring.", ()),
    "skill": ("Paired skill on the newest batch with enough labels, of the version that served it.", ()),
    "skill_version": ("The version that served that batch.", ()),
    "skill_low": ("Lower bound of the skill; -Inf with too little data.", ()),
    "skill_high": ("Upper bound of the skill; +Inf with too little data.", ()),
    "gate_skill": ("Paired skill of the champion when it was judged.", ()),
    "loss": ("The deciding loss on the newest batch with enough labels, of the version that served it.", ("loss",)),
    "gate_loss": ("The deciding loss of the champion when it was judged.", ("loss",)),
    "estimated_loss": ("The deciding loss on the newest batch, estimated without its labels.", ("loss",)),
    "estimated_gate_loss": ("The same estimate for the rows on which the champion was judged.", ("loss",)),
    "estimated_decay": ("Whether the estimate for the newest batch is worse than its limit.", ()),
    "estimate_error": ("Realised minus estimated loss of the newest estimate whose labels have matured.", ()),
    "estimate_off": ("Whether that error is larger than chance explains.", ()),
    "drifted_columns_ratio": ("Share of the newest batch's compared columns that drifted.", ()),
    "shifted": ("Whether the inputs of the newest batch have shifted.", ()),
    "drift_effect": (
        "Change of the mean prediction that a column's movement explains; the three largest.",
        ("column",),
    ),
    "labels_matured": ("Labelled predictions of the newest monitored batch.", ()),
    "label_lag_seconds": ("From the newest batch with enough labels to the newest monitored one.", ()),
    "batch_rows": ("Rows of the newest batch.", ()),
    "batch_quarantined_rows": ("Rows of the newest batch in quarantine.", ()),
    "batch_broken": ("Whether the newest batch broke its contract.", ()),
    "period_seconds": ("Longest span of a batch.", ()),
    "batch_end_timestamp_seconds": ("End of the newest batch.", ()),
    "batch_due_timestamp_seconds": ("When the next batch is late; only for models on the wall clock.", ()),
    "approvals_open": ("Challengers that wait for a person.", ()),
    "approval_open_since_timestamp_seconds": ("Since when the challenger waits for a person.", ()),
    "rollout_step": ("Step of the rollout under way; 0 is shadow, -1 is none.", ()),
    "rejections_in_a_row": ("Challengers that failed in a row.", ()),
    "retrain_stopped": ("Whether retrains are refused after too many rejections, until `trueup clear`.", ()),
    "stage_seconds": ("Wall seconds of a stage in the last turn, or in the last retrain by itself.", ("run", "stage")),
    "turn_timestamp_seconds": ("When a turn last handled a batch.", ()),
    "outbox_waiting": ("Events that wait for the event server, or to be looked at for people.", ("receiver",)),
    "outbox_oldest_timestamp_seconds": ("When the oldest of them was recorded.", ("receiver",)),
}
OF_HOME: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "info": ("The version of Trueup that reads the home, always 1.", ("version",)),
    "models": ("Models with a config.", ()),
    "configs_broken": ("Configs with mistakes; `trueup_model_readable` names their models.", ()),
    "configs_unread": ("Configs that the next scrapes will read.", ()),
    "ledger_readable": ("Whether ledger and store of the home could be read in this scrape.", ()),
    "ledger_entries": ("Entries of the ledger.", ()),
    "ledger_unsigned_entries": ("Entries of the ledger without a signature.", ()),
    "outbox_delivers": ("Whether an event ever got to the event server, or was looked at for people.", ("receiver",)),
    "scrape_errors": ("Models whose figures could not be read in this scrape.", ()),
    "scrape_seconds": ("Wall seconds that this scrape took.", ()),
}


class Families:
    """Figures by name, in the order of the names above."""

    def __init__(self) -> None:
        self._of_models = {
            name: GaugeMetricFamily(_MODEL + name, text, labels=["model", *labels])
            for name, (text, labels) in OF_MODELS.items()
        }
        self._decisions = CounterMetricFamily(
            f"{_MODEL}decisions", "Entries of the ledger by outcome.", labels=["model", "outcome"]
        )
        self._of_home = {
            name: GaugeMetricFamily(_HOME + name, text, labels=labels) for name, (text, labels) in OF_HOME.items()
        }

    def of_model(self, model: str, name: str, value: float | None, *labels: str) -> None:
        """Add a figure of a model, unless it is unknown."""
        if value is not None:
            self._of_models[name].add_metric([model, *labels], float(value))

    def decisions(self, model: str, counts: Iterable[tuple[str, int]]) -> None:
        """Add a model's counts of decisions."""
        for outcome, count in counts:
            self._decisions.add_metric([model, outcome], count)

    def of_home(self, name: str, value: float, *labels: str) -> None:
        """Add a figure of the home."""
        self._of_home[name].add_metric(labels, float(value))

    def collect(self) -> Iterator[Metric]:
        """All families with a figure, as prometheus_client expects them of a registry."""
        for family in (*self._of_models.values(), self._decisions, *self._of_home.values()):
            if family.samples:
                yield family
