"""The section `ingest`: source, time, key, period and label."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SerializeAsAny, model_validator

from trueup.config.durations import Duration
from trueup.config.kinds import Kinds, Named
from trueup.config.section import Section
from trueup.config.value_checks import readable_format, zone


class SourceConfig(Named):
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
    """What is predicted, and when it becomes known."""

    column: str = Field(
        description="The column that holds the outcome, of the rows' source or of `source`. It never becomes a feature."
    )
    source: SerializeAsAny[SourceConfig] | None = Field(
        None,
        description="Where the outcomes come from when they do not stand beside the rows: a second source with the columns "
        "`column`, `known_at` if there is one, and the key. Of several outcomes of a key the last one counts: by `known_at`, "
        "else by their order there. One that was known before a row's time is not that row's. An outcome that is emptied or "
        "gone there is withdrawn. All landed rows are joined again at each run.",
    )
    key: dict[str, str] = Field(
        default={},
        description="With `source`: per column of `ingest.key` that is called otherwise there, its name there.",
    )
    above: float | None = Field(
        None,
        description="For a binary task: the label is 1 where the column is above this, 0 where not, unknown where missing.",
    )
    positive: str | int | float | bool | None = Field(
        None,
        description="For a binary task: the value that counts as 1. Default: the column holds 0 and 1, or booleans.",
    )
    negative: list[str | int | float | bool] = Field(
        default=[],
        description="With `positive`: the values that count as 0. Default: those of the first batch with outcomes. Any other "
        "value is no outcome and is counted; a batch in which they are more than 2 % is refused.",
    )
    unit: str = Field(
        "", description="For a regression: what the outcome is measured in, such as minutes; for reports."
    )
    known_after: Duration | None = Field(None, description="A label counts from its row's time plus this delay.")
    known_at: str | None = Field(
        None, description="A column that holds the moment at which the label became known; instead of `known_after`."
    )

    @model_validator(mode="after")
    def _one_clock(self) -> LabelConfig:
        if (self.known_after is None) == (self.known_at is None):
            raise ValueError("give exactly one of known_after and known_at: mere presence of a label is not maturity")
        if self.above is not None and self.positive is not None:
            raise ValueError("give above or positive, not both")
        if self.negative and self.positive is None:
            raise ValueError("negative says what counts as 0 beside positive: give positive, too")
        return self


ColumnType = Literal["text", "integer", "number", "boolean", "time"]


class IngestConfig(Section):
    """Where the data comes from and how it falls into batches."""

    source: SerializeAsAny[SourceConfig]
    time: str = Field(description="The column with a row's event time.")
    timezone: Annotated[str, AfterValidator(zone)] = Field(
        "UTC", description="Times with a zone are brought to this one; times without are taken to be in it."
    )
    time_format: Annotated[str, AfterValidator(readable_format)] | None = Field(
        None,
        description="How the time is written where it is not ISO 8601, such as '%d/%m/%Y %H:%M' (strftime); UTC, GMT or "
        "%z in it name a zone. `epoch s`, `epoch ms`, `epoch us` and `epoch ns` count from 1970 in UTC, `excel` the days of "
        "a spreadsheet, `days` and `hours` the steps of a table that numbers them and names no date: from 1970 on, without "
        "a zone. Also for `label.known_at`, unless that holds times already.",
    )
    missing: dict[str, list[str | int | float]] = Field(
        default={},
        description="Per column, or for all but the key under '*', the values that mean that there is none, such as "
        "-200 or '?'. They are counted. Numbers are compared as numbers, and a column of which only numbers are left "
        "holds numbers.",
    )
    types: dict[str, ColumnType] = Field(
        default={},
        description="Per column its type, for as long as the model lives, where what it is used for does not say it. Keys, "
        "categorical features, slices and groups are `text`, whatever they look like (101, 0101, true); numeric features are "
        "`number`; any other column has the type of the first batch that was landed. `integer` keeps all digits, `boolean` "
        "is landed as 0 and 1. Later values are brought to the type; a batch with others is broken, and names them.",
    )
    key: list[str] = Field(
        description="The columns that name a row of a batch. The last of several rows of the same key counts; "
        "in another batch the same key names another row. `[]` where no column names a row: all that the source gives "
        "of it but its outcome does, and rows of a batch that hold the same are numbered. Rows that come late leave the "
        "others' names as they are; a row of which a value is corrected is another row.",
    )
    period: Literal["day", "week", "month"] = Field(
        "month", description="The calendar period of a batch; weeks start on Monday."
    )
    label: LabelConfig
    coerce: list[str] = Field(
        default=[],
        description="Numeric columns in which text is read as a number; what cannot be read becomes missing. Both are counted.",
    )
    extra_columns: Literal["ignore", "fail"] = Field(
        "ignore",
        description="What to do with columns that no part of this config names: leave them out (and say so), or fail the batch.",
    )
    revisit: int | None = Field(
        None,
        ge=1,
        description="How many landed batches are read again for late or corrected rows and labels; default: enough for `known_after` where labels stand beside the rows, and one at least.",
    )
    max_batches: int = Field(
        1000,
        ge=1,
        description="The most new batches that one run lands. More are refused: a wrong date makes such a history sooner "
        "than a table does.",
    )
    late_after: Duration = Field(
        timedelta(days=1),
        description="A batch that is not complete this long after its period's end is announced as missing.",
    )
    keep: list[str] = Field(default=[], description="Further columns to land, for slices, reports or custom features.")
