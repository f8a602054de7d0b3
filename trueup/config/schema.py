"""The configuration of one model: a frozen pydantic model of `configs/<model>.yaml`, in stage order.

Field descriptions are the config reference: `docs/config.md` is generated from them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trueup.config.plugins import Plugin
from trueup.config.section import Name, Section
from trueup.config.sections.ci import CiConfig
from trueup.config.sections.exporting import ExportConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.config.sections.governance import GovernanceConfig
from trueup.config.sections.ingest import ColumnType, IngestConfig
from trueup.config.sections.monitoring import MonitorConfig
from trueup.config.sections.promotion import PromoteConfig
from trueup.config.sections.retention import RetentionConfig
from trueup.config.sections.retraining import ReplayConfig, RetrainConfig
from trueup.config.sections.scoring import ScoreConfig
from trueup.config.sections.serving import ServeConfig
from trueup.config.sections.training import EvaluateConfig, RegisterConfig, TrainConfig
from trueup.config.sections.validation import ValidateConfig
from trueup.config.tasks import Task


class ModelConfig(Section):
    """One model, from source to monitoring. The rules across sections are in `rules`."""

    model: Name = Field(description="The model's name, and the file's.")
    task: Task
    about: str = Field("", description="One sentence: what is predicted, and for whom.")
    tags: list[Name] = Field(
        [], description="Groups that the model belongs to, for `trueup run --all --tag` and `trueup status --tag`."
    )
    clock: Literal["data", "wall"] = Field(
        "data", description="The default of as_of: the end of the newest complete batch (`data`), or now (`wall`)."
    )
    ingest: IngestConfig
    validation: ValidateConfig = Field(alias="validate")
    features: FeaturesConfig
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    register_: RegisterConfig = Field(RegisterConfig(), alias="register")
    export: ExportConfig | None = Field(
        None, description="`{}` makes an ONNX form of each challenger and its refit; default: off."
    )
    promote: PromoteConfig = Field(default_factory=PromoteConfig)  # gates are imported when a config names them
    score: ScoreConfig = ScoreConfig()
    serve: ServeConfig | None = Field(
        None, description="`{}` lets `trueup serve` answer with the champion; it needs `export`. Default: off."
    )
    monitor: MonitorConfig = MonitorConfig()
    retrain: RetrainConfig = RetrainConfig()
    replay: ReplayConfig = ReplayConfig()
    retention: RetentionConfig = RetentionConfig()
    governance: GovernanceConfig = GovernanceConfig()
    ci: CiConfig = CiConfig()

    @property
    def rows_dataset(self) -> str:
        return f"{self.model}/rows"

    @property
    def labels_dataset(self) -> str:
        return f"{self.model}/labels"

    @property
    def registered_name(self) -> str:
        return self.register_.name or self.model

    @property
    def named(self) -> list[Plugin]:
        """The parts that a `kind` names, which may be classes of the user's own."""
        parts = (self.ingest.source, self.ingest.label.source, self.score.sink)
        policies = [policy for policy in self.replay.policies if not isinstance(policy, str)]
        return [*self.promote.gates, *policies, *(part for part in parts if part is not None)]

    @property
    def group_columns(self) -> list[str]:
        """Columns with groups that gates compare."""
        return list(dict.fromkeys(column for gate in self.promote.gates for column in gate.groups))

    @property
    def judged_columns(self) -> list[str]:
        """Columns that are landed for slices, fairness or behaviour."""
        named = [
            column
            for gate in self.promote.gates
            for _, column in type(gate).named_columns(gate.model_dump(mode="json"))
        ]
        return list(dict.fromkeys([*self.evaluate.slices, *self.group_columns, *named]))

    @property
    def input_columns(self) -> list[str]:
        """Source columns that are landed as rows: key, time, and those of features, slices, gates and expectations."""
        expected = [
            e.kwargs[k]
            for e in self.validation.expectations
            for k in ("column", "column_A", "column_B")
            if k in e.kwargs
        ]
        expected += [c for e in self.validation.expectations for c in e.kwargs.get("column_list", [])]
        named = [*self.ingest.key, self.ingest.time, *self.features.columns]
        named += [*self.judged_columns, *self.validation.max_missing, *self.ingest.keep, *expected]
        label = self.ingest.label
        outcome = {label.column, None if label.source else label.known_at}
        return [c for c in dict.fromkeys(named) if c not in outcome]

    @property
    def column_types(self) -> dict[str, ColumnType]:
        """Types of columns, as declared in `ingest.types` or determined by their use."""
        ingest, label = self.ingest, self.ingest.label
        by = [c for h in self.features.history for keys in h.by for c in ([keys] if isinstance(keys, str) else keys)]
        text = [*ingest.key, *self.features.categorical, *by, *self.evaluate.slices, *self.group_columns]
        numbers, times = [*self.numeric_columns, *ingest.coerce], [*self.features.calendar, ingest.time]
        kinds: dict[str, ColumnType] = {**dict.fromkeys(text, "text"), **dict.fromkeys(times, "time")}
        kinds |= dict.fromkeys(numbers, "number")
        if label.source is None:
            kinds |= self._outcome_types
        return {**kinds, **ingest.types, ingest.time: "time"}

    @property
    def _outcome_types(self) -> dict[str, ColumnType]:
        label = self.ingest.label
        amount = self.task is Task.REGRESSION or label.above is not None
        kinds: dict[str, ColumnType] = {label.column: "number" if amount else "text"}
        return kinds | ({} if label.known_at is None else {label.known_at: "time"})

    @property
    def reading(self) -> IngestConfig:
        """How rows are read: `ingest` with the types of all columns that are known."""
        return self.ingest.model_copy(update={"types": self.column_types})

    @property
    def label_reading(self) -> IngestConfig | None:
        """How a separate label source is read: `ingest` with that source and the types of its columns."""
        label = self.ingest.label
        if label.source is None:
            return None
        kinds = {label.key.get(name, name): self.column_types.get(name, "text") for name in self.ingest.key}
        return self.ingest.model_copy(update={"source": label.source, "types": kinds | self._outcome_types})

    @property
    def numeric_columns(self) -> list[str]:
        """Landed columns that must be numeric."""
        values = [h.of for h in self.features.history if h.of != "label" and h.aggregate == "mean"]
        return list(dict.fromkeys([*self.features.numeric, *values]))
