"""The section `ingest`: source, time, key, period and label."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, SerializeAsAny, model_validator

from trueup.config.durations import Duration
from trueup.config.plugins import Kinds, Plugin
from trueup.config.section import Section
from trueup.config.value_checks import readable_format, zone


class SourceConfig(Plugin):
    """A source of rows or of outcomes."""

    KINDS = Kinds(
        "source",
        "trueup.adapters.sources:Source",
        {
            "files": "trueup.adapters.sources.files:FilesSource",
            "sql": "trueup.adapters.sources.sql:SqlSource",
            "callable": "trueup.adapters.sources.function:CallableSource",
        },
    )


class LabelConfig(Section):
    """The outcome to predict, and when it becomes known."""

    column: str = Field(
        description="The column with the outcome, in the rows' source or in `source`. It is never a feature."
    )
    source: SerializeAsAny[SourceConfig] | None = Field(
        None,
        description="A second source for outcomes that are not beside the rows, with the columns `column`, `known_at` if there is one, and the key. If a key has several outcomes, the last one counts: by `known_at`, else by their order in the source. An outcome that was known before a row's time does not belong to that row. An outcome that is empty or deleted in the source is withdrawn. Each run joins all landed rows again.",
    )
    key: dict[str, str] = Field(
        default={},
        description="With `source`: other names of columns of `ingest.key` in the label source.",
    )
    above: float | None = Field(
        None,
        description="For a binary task: the label is 1 if the column is above this number, 0 if not, and unknown if it is missing.",
    )
    positive: str | int | float | bool | None = Field(
        None,
        description="For a binary task: the value that counts as 1. Default: the column has 0 and 1, or booleans.",
    )
    negative: list[str | int | float | bool] = Field(
        default=[],
        description="With `positive`: the values that count as 0. Default: those of the first batch with outcomes. Any other value is not an outcome and is counted. A batch with more than 2 % of such values is refused.",
    )
    unit: str = Field("", description="For a regression: the unit of the outcome in reports, such as minutes.")
    known_after: Duration | None = Field(None, description="A label counts from its row's time plus this delay.")
    known_at: str | None = Field(
        None, description="A column with the moment at which the label became known; instead of `known_after`."
    )
    # The same rule as below, for editors
    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "string"}}} for name in ("known_after", "known_at")
            ]
        }
    )

    @model_validator(mode="after")
    def _one_clock(self) -> LabelConfig:
        if (self.known_after is None) == (self.known_at is None):
            raise ValueError("set exactly one of known_after and known_at: a label counts only once it is known")
        if self.above is not None and self.positive is not None:
            raise ValueError("set above or positive, not both")
        if self.negative and self.positive is None:
            raise ValueError("negative needs positive: set positive, too")
        return self


ColumnType = Literal["text", "integer", "number", "boolean", "time"]


class IngestConfig(Section):
    """The source of the data, and how it is divided into batches."""

    source: SerializeAsAny[SourceConfig]
    time: str = Field(description="The column with a row's event time.")
    timezone: Annotated[str, AfterValidator(zone)] = Field(
        "UTC", description="Times with a zone are converted to this one. Times without a zone are taken to be in it."
    )
    time_format: Annotated[str, AfterValidator(readable_format)] | None = Field(
        None,
        description="Format of the time if it is not ISO 8601, such as '%d/%m/%Y %H:%M' (strftime); UTC, GMT or %z in it name a zone. `epoch s`, `epoch ms`, `epoch us` and `epoch ns` count from 1970 in UTC, `excel` counts the days of a spreadsheet, `days` and `hours` count steps from 1970 without a zone, for tables without dates. Also applies to `label.known_at`, unless that column has times already.",
    )
    missing: dict[str, list[str | int | float]] = Field(
        default={},
        description="Values that mean \"missing\", such as -200 or '?', per column, or under '*' for all columns except the key. They are counted. Numbers are compared as numbers. A column in which only numbers remain is numeric.",
    )
    types: dict[str, ColumnType] = Field(
        default={},
        description="Types of columns, fixed for the model's whole life. Needed only where the use of a column does not determine its type. Keys, categorical features, slices and groups are `text`, whatever they look like (101, 0101, true). Numeric features are `number`. Any other column has its type in the first landed batch. `integer` keeps all digits, `boolean` is landed as 0 and 1. Later values are converted to the type; values that cannot be converted are listed and break the batch.",
    )
    key: list[str] = Field(
        description="The columns that identify a row of a batch. If several rows have the same key, the last one counts. In another batch the same key identifies another row. With `[]` a row is identified by all its values except the outcome, and equal rows of a batch are numbered. Late rows do not change the identity of others. A corrected row counts as another row.",
    )
    period: Literal["day", "week", "month"] = Field(
        "month", description="The calendar period of a batch; weeks start on Monday."
    )
    label: LabelConfig
    coerce: list[str] = Field(
        default=[],
        description="Numeric columns with text that is converted to numbers. Text that is not a number becomes missing. Both are counted.",
    )
    extra_columns: Literal["ignore", "fail"] = Field(
        "ignore",
        description="How to treat columns that this config does not name: leave them out with a message, or fail the batch.",
    )
    revisit: int | None = Field(
        None,
        ge=1,
        description="How many landed batches each run reads again for late or corrected rows and labels. Default: enough for `known_after` if labels are beside the rows, and at least one.",
    )
    max_batches: int = Field(
        1000,
        ge=1,
        description="The largest number of new batches in one run. More are refused, because a wrong date is the more likely cause.",
    )
    late_after: Duration = Field(
        timedelta(days=1),
        description="A batch that is not complete this long after the end of its period is announced as missing.",
    )
    contract: str | None = Field(
        None,
        description="A data contract (ODCS 3) of the rows, such as `orders.odcs.yaml` beside the config. Its quality rules about columns of the config count like expectations of `validate`, and `trueup check` compares it with the config and the source.",
    )
    keep: list[str] = Field(default=[], description="Further columns to land, for slices, reports or custom features.")
