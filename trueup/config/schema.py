"""The configuration of one model: a frozen pydantic model of `configs/<model>.yaml`, in stage order.

Field descriptions are the config reference: `docs/config.md` is generated from them.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    WrapValidator,
    model_validator,
)

from trueup.config.value_checks import known_encoding, readable_format, zone


class Task(StrEnum):
    """What kind of value the model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


# What `trueup.domain.judging.metrics` measures of a model; the first one decides.
METRICS = {
    Task.BINARY: ("log_loss", "brier", "auc", "average_precision", "ece"),
    Task.MULTICLASS: ("log_loss", "brier", "accuracy", "auc_ovr"),
    Task.REGRESSION: ("mse", "mae", "rmse", "r2"),
}

# What the paired gate compares, by task; the first one is the default.
PAIRED = {
    Task.BINARY: ("loss", "brier", "auc"),
    Task.MULTICLASS: ("loss", "brier", "accuracy", "auc_ovr"),
    Task.REGRESSION: ("loss", "mae"),
}
# What the fairness gate compares between groups, by task.
FAIRNESS = {
    Task.BINARY: (
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "equalized_odds",
        "mean_error",
        "loss",
    ),
    Task.MULTICLASS: ("loss",),
    Task.REGRESSION: ("mean_error", "mean_absolute_error", "loss"),
}
# What the calibration gate bounds, by task; the first one is the default.
CALIBRATION = {
    Task.BINARY: ("ece", "bias"),
    Task.MULTICLASS: ("ece", "bias"),
    Task.REGRESSION: ("bias",),
}


_CENTURY = timedelta(days=36_525)
_UNITS = {
    **{unit: timedelta(**{f"{unit}s": 1}) for unit in ("week", "day", "hour", "minute", "second")},
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_PART = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_ISO = TypeAdapter(timedelta)


class Months(timedelta):
    """A number of calendar months. As a span to be compared with others each has 30 days; `earlier` and `later` count them."""

    number: int

    def __new__(cls, number: int) -> Months:
        """So many months."""
        made = super().__new__(cls, days=30 * number)
        made.number = number
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Months, (self.number,)


def later(moment: datetime, span: timedelta) -> datetime:
    """The moment a span later; of calendar months the same day, or the month's last.

    >>> later(datetime(2024, 1, 31), Months(1))
    datetime.datetime(2024, 2, 29, 0, 0)
    """
    if not isinstance(span, Months):
        return moment + span
    year, month = divmod(moment.year * 12 + moment.month - 1 + span.number, 12)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


def earlier(moment: datetime, span: timedelta) -> datetime:
    """The moment a span before.

    >>> earlier(datetime(2024, 3, 31), Months(1))
    datetime.datetime(2024, 2, 29, 0, 0)
    """
    return later(moment, Months(-span.number)) if isinstance(span, Months) else moment - span


def parse_calendar(value: object) -> timedelta:
    """Read a span as `parse_duration` does, or a number of calendar months or years.

    >>> parse_calendar("2 months").number
    2
    """
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+)\s*(month|year)s?\s*", value.lower())):
        number = int(found[1]) * (12 if found[2] == "year" else 1)
        if number > 1200:
            raise ValueError(f"{value!r} is longer than a century; write a shorter span, such as '1 month'")
        return Months(number)
    return parse_duration(value)


def _kept_months(value: Any, handler: Callable[[Any], timedelta]) -> timedelta:
    """Pydantic would make a plain span of it."""
    return value if isinstance(value, Months) else handler(value)


def parse_duration(value: object) -> timedelta:
    """Read "1 day", "28 days", "1 day 12 hours" or an ISO 8601 duration as a timedelta.

    >>> parse_duration("28 days").days
    28
    """
    span = value if isinstance(value, timedelta) else _read_duration(value.strip()) if isinstance(value, str) else None
    if span is None:
        raise ValueError(f"{value!r} is not a span of time; write a number and a unit, such as '1 day' or '28 days'")
    if abs(span) > _CENTURY:
        raise ValueError(f"{value!r} is longer than a century; write a shorter span, such as '28 days'")
    return span


def _read_duration(text: str) -> timedelta | None:
    try:
        if text.lstrip("+-").startswith("P"):
            return _ISO.validate_python(text)
        parts = _PART.findall(text.lower())
        if not parts or _PART.sub("", text.lower()):
            return None
        return sum((float(n) * _UNITS[u if u in _UNITS else u.removesuffix("s")] for n, u in parts), timedelta())
    except (ValueError, LookupError):
        return None
    except OverflowError:
        return timedelta.max


def write_duration(value: timedelta) -> str:
    """Write a span the way the config does: the largest unit that divides it.

    >>> write_duration(timedelta(days=28)), write_duration(Months(1))
    ('28 days', '1 month')
    """
    if isinstance(value, Months):
        return f"{value.number} month{'' if value.number == 1 else 's'}"
    seconds = int(value.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
    return f"{seconds} seconds"


def _not_negative(span: timedelta) -> timedelta:
    if span < timedelta(0):
        raise ValueError("cannot be negative; write a span such as `1 day`, or `0 days`")
    return span


def _longer_than_nothing(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise ValueError("must be longer than nothing; write a span such as `1 day`")
    return span


def _span_or_expanding(value: object) -> object:
    try:
        return value if value == "expanding" else _longer_than_nothing(parse_calendar(value))
    except ValueError as error:
        raise ValueError(f"{error}, or `expanding`") from None


_Timedelta = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(write_duration)]
_Calendar = Annotated[
    timedelta, WrapValidator(_kept_months), BeforeValidator(parse_calendar), PlainSerializer(write_duration)
]
CalendarSpan = Annotated[_Calendar, AfterValidator(_longer_than_nothing)]
Duration = Annotated[_Timedelta, AfterValidator(_not_negative)]
Span = Annotated[_Timedelta, AfterValidator(_longer_than_nothing)]
Share = Annotated[float, Field(ge=0, le=1)]
NAME = r"^[a-z][a-z0-9_]{0,62}$"
Name = Annotated[str, Field(pattern=NAME)]
Dotted = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class Section(BaseModel):
    """What all parts of a configuration share: no unknown keys, only finite numbers, no later change."""

    # Nothing is above or below "not a number": a bound of it would let everything pass.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FilesSource(Section):
    """Files: one, a folder, or a glob."""

    kind: Literal["files"]
    path: str = Field(
        description="A CSV, JSON Lines, Excel or Parquet file, a folder of them, a glob, or an address such as "
        "s3://bucket/orders/*.parquet; or the folder of a Delta or Iceberg table. Relative to the folder of the configs. Text "
        "may be compressed: .gz, .bz2, .xz, .zst or .zip. Of folders such as `year=2024` the name is a column where the "
        "files have none of that name."
    )
    sheet: str | None = Field(None, description="Of workbooks, which are read as CSV files are; default: the only one.")
    encoding: Annotated[str, AfterValidator(known_encoding)] = Field(
        "utf-8", description="Of CSV files, such as latin-1 or cp1252."
    )
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Of CSV files; default: what splits the first line into most columns.",
    )
    decimal: Literal[".", ","] = Field(".", description="What stands before the fraction of a number in CSV files.")
    marks: dict[str, list[str]] = Field(
        default={},
        description="Per column of numbers in CSV files, what is written in them beside digits and is taken out: a mark "
        "between thousands (`,`, `.`, `'` or a blank), what stands before or behind a number (`$`, `%`, `kg`; 12 % is 12), "
        "and `()` or `-` for a negative number in brackets or with its sign behind.",
    )
    escape: Literal['"', "\\"] = Field(
        '"',
        description="What stands before a quotation mark within a quoted value of CSV files: another one, or a backslash.",
    )
    skip_rows: int = Field(0, ge=0, description="Lines above the line of column names in CSV files, such as a title.")
    pad: bool = Field(
        False,
        description="Whether a line of a CSV file may have fewer values than there are columns, as a line of totals or a "
        "note below the table has: the others are missing. Else it is an error.",
    )
    trim: bool = Field(False, description="Whether blanks around the values of CSV files are left out.")
    query: str | None = Field(
        None,
        description="SQL (DuckDB) over the files, which it sees as the table `files`; default: all of their columns.",
    )


class SqlSource(Section):
    """A query over any SQLAlchemy URL."""

    kind: Literal["sql"]
    url: str = Field(
        description="SQLAlchemy URL. `${NAME}` is read from the environment, so that secrets stay out of the file."
    )
    query: str = Field(description="A SELECT. The time window is added around it, so that the database filters.")
    updated_at: str | None = Field(
        None,
        description="A column that says when a row was last written: a time, or a number that grows. Landed batches with "
        "rows written since are read again, however old they are. What was deleted, or moved to another time, is not "
        "noticed where it was.",
    )


class CallableSource(Section):
    """A Python function."""

    kind: Literal["callable"]
    function: Dotted = Field(
        description="`module:function`; the function takes start and end (datetime or None) and returns a DataFrame. The module may lie beside the config."
    )


Source = Annotated[FilesSource | SqlSource | CallableSource, Field(discriminator="kind")]


class LabelConfig(Section):
    """What is predicted, and when it becomes known."""

    column: str = Field(
        description="The column that holds the outcome, of the rows' source or of `source`. It never becomes a feature."
    )
    source: Source | None = Field(
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

    source: Source
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


class ExpectationConfig(Section):
    """One expectation of the Great Expectations suite."""

    type: str = Field(description="Its name in Great Expectations, such as expect_column_values_to_be_between.")
    kwargs: dict[str, Any] = Field(default={}, description="Its arguments.")
    severity: Literal["critical", "warning"] = Field(
        "critical", description="A warning is reported and changes nothing."
    )
    level: Literal["row", "batch"] | None = Field(
        None,
        description="`row` sends the failing rows to quarantine, `batch` breaks the batch. Default: row for expectations about single values without `mostly`, else batch.",
    )


class ValidateConfig(Section):
    """What the data must be like."""

    expectations: list[ExpectationConfig] = Field(
        min_length=1, description="Never empty: an empty suite would pass anything."
    )
    min_rows: int = Field(30, ge=1, description="A batch with fewer rows is inconclusive: kept, scored, not diagnosed.")
    max_quarantined: Share = Field(0.05, description="A batch with a larger share of rows in quarantine is broken.")
    max_missing: dict[str, Share] = Field(
        default={},
        description="Per column the share that may be missing; the default for all features is just below 1 (not all).",
    )


class HistoryConfig(Section):
    """An aggregate of earlier rows, as known at a row's own time."""

    name: Name = Field(description="Prefix of the feature's name: `<name>_<keys>_<window>` and `..._n` for its count.")
    of: str = Field("label", description="`label`, or a numeric column, of the earlier rows.")
    aggregate: Literal["mean", "rate", "count"] = "mean"
    equals: str | int | float | bool | None = Field(
        None, description="For `rate`: the value whose share is taken; default 1."
    )
    by: list[list[str] | str] = Field(
        min_length=1, description="Key columns; each entry (a column, or a list of them) makes its own features."
    )
    counts: bool = Field(True, description="Whether the model also sees the count that each mean or rate rests on.")
    windows: list[Span] = Field(min_length=1, description="Trailing windows: labels that became known in (t - w, t].")


class FeaturesConfig(Section):
    """What the model sees."""

    numeric: list[str] = []
    categorical: list[str] = []
    calendar: dict[str, list[Literal["month", "day", "weekday", "hour", "minute_of_day", "day_of_year", "weekend"]]] = (
        Field(default={}, description="Per time column the calendar parts to take.")
    )
    history: list[HistoryConfig] = []
    custom: Dotted | None = Field(
        None,
        description="`module:function`; takes the landed rows, returns a frame of further numeric features with the same index. It sees no labels.",
    )

    @model_validator(mode="after")
    def _something(self) -> FeaturesConfig:
        if not (self.numeric or self.categorical or self.calendar or self.history or self.custom):
            raise ValueError("name at least one feature")
        if both := sorted(set(self.numeric) & set(self.categorical)):
            raise ValueError(f"{', '.join(both)}: numeric or categorical, not both")
        lists: list[list[Any]] = [self.numeric, self.categorical, *self.calendar.values()]
        if twice := sorted(c for named in lists for c in {*named} if named.count(c) > 1):
            raise ValueError(f"{', '.join(twice)}: named twice")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns that features are made of; what a function of one's own reads beside them is in `ingest.keep`."""
        keys = [c for h in self.history for by in h.by for c in ([by] if isinstance(by, str) else by)]
        values = [h.of for h in self.history if h.of != "label"]
        return list(dict.fromkeys([*self.numeric, *self.categorical, *self.calendar, *keys, *values]))


Family = Literal["gradient_boosting", "linear", "forest"]


class TrainConfig(Section):
    """How a challenger is made."""

    window: Annotated[_Calendar | Literal["expanding"], BeforeValidator(_span_or_expanding)] = Field(
        "expanding",
        description="`expanding` uses all history, a span the trailing part of it; `3 months` are calendar months.",
    )
    half_life: Span | None = Field(
        None,
        description="A row this much older than the newest counts half as much when a challenger is fitted, twice as much older a quarter. Default: all rows count alike.",
    )
    min_history: Duration = Field(timedelta(days=28), description="The first champion waits for this much history.")
    min_rows: int = Field(200, ge=30, description="Fewer matured rows are not trained on.")
    families: list[Family] = Field(
        default=["gradient_boosting", "linear", "forest"],
        min_length=1,
        description="Model families the search may choose from.",
    )
    parameters: dict[Family, dict[str, Any]] = Field(
        default={}, description="Per family, fixed parameters that the search leaves alone."
    )
    trials: int = Field(
        12, ge=1, description="Budget of the search. The champion's own recipe is always the first trial."
    )
    folds: int = Field(2, ge=1, description="Time-ordered folds: each is judged on what came after it.")
    search_rows: int | None = Field(
        50_000, ge=100, description="The search uses at most this many of the newest rows; the fit uses all."
    )
    max_seconds: float = Field(
        900,
        gt=0,
        description="Only a ceiling for the search; hitting it is recorded, for the result then depends on the machine.",
    )
    seed: int = 0


class AblationConfig(Section):
    """Whether each group of features earns its place: the recipe fitted again without it. It informs and never blocks."""

    groups: dict[str, list[str]] = Field(
        default={},
        description="Per name the features of a group, by patterns such as `precip*`. Default: the numeric, the categorical, the calendar and the custom features, and for each history its keys one by one.",
    )
    rows: int | None = Field(
        None,
        ge=100,
        description="Only this many of the newest training rows are fitted on, with and without each group; default: all.",
    )


class EvaluateConfig(Section):
    """How models are judged and described."""

    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(2000, ge=200, description="Bootstrap resamples.")
    block: Span = Field(
        timedelta(days=1),
        description="Rows of the same block are resampled together; blocks grow when their differences are autocorrelated. A batch (`ingest.period`), `promote.gate_window` and half of the new labels of a retrain (`promote.min_new_days`) must each hold ten of them.",
    )
    slices: list[str] = Field(default=[], description="Columns whose values are judged on their own.")
    min_slice_rows: int = Field(200, ge=1, description="Smaller slices are listed as too small to tell.")
    ablation: AblationConfig | None = Field(
        None, description="`{}` fits the recipe once more for each group of features, without it; default: off."
    )


class RegisterConfig(Section):
    """Where the model is registered, and what stands beside it."""

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        description="Name in MLflow's registry; default: the model's name.",
    )
    tags: dict[str, str] = {}


class PairedGate(Section):
    """Better than the champion by a minimum and beyond noise; after a change besides not worse beyond a margin."""

    kind: Literal["paired"]
    metric: Literal["loss", "brier", "auc", "accuracy", "auc_ovr", "mae"] = Field(
        "loss",
        description="What is compared. `loss`: log-loss, or squared error of a regression, on all rows that count (see `promote.folds`). Others on the gate window only: binary also `brier`, `auc`; multiclass `brier`, `accuracy`, `auc_ovr`; regression `mae`. Of `auc`, `auc_ovr` and `accuracy` it is what they lack to 1, so that less is better.",
    )
    min_gain: Share = Field(
        0.001, description="The challenger's mean loss must be lower by this share of the champion's."
    )
    confidence: float = Field(
        0.5,
        ge=0.5,
        lt=1,
        description="One-sided confidence that it is lower at all, for the first attempt against a champion; 0.5: the mean alone decides. The k-th attempt has the error of the first divided by the square root of k.",
    )
    margin: Share = Field(
        0.05,
        description="After a change of family, features, `train`, label or code: the upper bound of the difference (`evaluate.confidence`) must be below this share of the champion's loss.",
    )


class BaselineGate(Section):
    """Better than a prior and a simple model."""

    kind: Literal["baseline"]
    beat: list[Literal["prior", "simple"]] = ["prior", "simple"]


class AbsoluteGate(Section):
    """A bound on one metric of the challenger alone."""

    kind: Literal["absolute"]
    metric: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> AbsoluteGate:
        if self.at_most is None and self.at_least is None:
            raise ValueError("give at_most or at_least")
        return self


class SliceGate(Section):
    """No slice is harmed."""

    kind: Literal["slices"]
    margin: Share = Field(
        0.02,
        description="A slice fails when the Holm-adjusted lower bound of its loss difference is above this share of the champion's loss there.",
    )
    required: list[str] = Field(default=[], description="`column=value` slices that must be large enough to tell.")


class MarginGate(Section):
    """What gates with a margin and an interval share: fail when the interval lies above the margin, pass when below."""

    margin: float = Field(ge=0, description="Fails when the lower bound is above it, passes when the upper is below.")
    against: Literal["nothing", "champion"] = Field(
        "nothing",
        description="`nothing`: the figure itself is at most `margin`. `champion`: it is above the champion's by at most `margin`; a first champion passes.",
    )
    when_unclear: Literal["hold", "pass"] = Field(
        "hold",
        description="What happens when the interval holds the margin, or there is too little to tell. `pass` lets only a proved violation block.",
    )


class FairnessGate(MarginGate):
    """No two groups are treated further apart than a margin."""

    kind: Literal["fairness"]
    columns: list[str] = Field(
        min_length=1,
        description="Columns whose values are the groups, each column on its own. They are landed and need not be features.",
    )
    metric: Literal[
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "equalized_odds",
        "mean_error",
        "mean_absolute_error",
        "loss",
    ] = Field(
        description="What is compared. Binary: the first four at `threshold`, `mean_error` (prediction less outcome), `loss`. Multiclass: `loss`. Regression: the last three."
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="For a binary task: from this probability on a row is selected. Default: 0.5.",
    )
    required: list[str] = Field(
        default=[], description="`column=value` groups that must be large enough (`evaluate.min_slice_rows`) to tell."
    )


class CalibrationGate(MarginGate):
    """Predictions mean what they say."""

    kind: Literal["calibration"]
    metric: Literal["ece", "bias"] | None = Field(
        None,
        description="`ece`: mean distance of predicted and observed shares over ten bins of equal rows, corrected for its upward bias (binary, multiclass). `bias`: distance of mean prediction and mean outcome (of a multiclass task the largest of its classes), in the label's unit. Default: `ece`, for a regression `bias`.",
    )


class InvarianceCheck(Section):
    """Changing a column must not move the prediction."""

    kind: Literal["invariance"]
    column: str = Field(description="The landed column that is changed.")
    to: list[str | int | float | bool] = Field(
        default=[], description="Every row gets each of these values in turn; the largest move counts."
    )
    shift: float | None = Field(None, description="This is added to the column's numbers.")
    shuffle: bool = Field(False, description="Values are dealt anew among the rows, by `train.seed`.")
    at_most: float = Field(
        gt=0,
        description="A move of the prediction by more than this is a violation: a probability (multiclass: half the sum of all changes), or the label's unit.",
    )
    share: Share = Field(0.0, description="Share of the changed rows that may violate the check.")

    @model_validator(mode="after")
    def _one_change(self) -> InvarianceCheck:
        if [bool(self.to), self.shift is not None, self.shuffle].count(True) != 1:
            raise ValueError("say how the column is changed: exactly one of `to`, `shift` and `shuffle`")
        if self.shift == 0:
            raise ValueError("a shift of 0 changes nothing; give another number")
        return self


class DirectionCheck(Section):
    """Raising a number must not lower the prediction, or not raise it."""

    kind: Literal["direction"]
    column: str = Field(description="The landed numeric column that is raised.")
    raise_by: float = Field(gt=0, description="This is added to the column's numbers.")
    never: Literal["lower", "higher"] = Field(description="Where the prediction must not go.")
    tolerance: float = Field(0.0, ge=0, description="A move in that direction by at most this is none.")
    share: Share = Field(0.0, description="Share of the changed rows that may violate the check.")


BehaviourCheck = Annotated[InvarianceCheck | DirectionCheck, Field(discriminator="kind")]


class BehaviourGate(Section):
    """The challenger answers changed inputs as declared, on the gate rows."""

    kind: Literal["behaviour"]
    checks: list[BehaviourCheck] = Field(
        min_length=1,
        description="History features stay as they were; all other features are made anew of the changed rows.",
    )


class BudgetGate(Section):
    """The model's files are small and its answers quick enough, measured in a process that has only loaded the model."""

    kind: Literal["budget"]
    max_mib: float | None = Field(None, gt=0, description="Size of all files of the registered model.")
    max_ms: float | None = Field(
        None, gt=0, description="Milliseconds for `batch` rows: the 95th percentile of `repeats` calls."
    )
    batch: int = Field(1_000, ge=1, le=100_000)
    repeats: int = Field(30, ge=20, le=10_000)

    @model_validator(mode="after")
    def _limited(self) -> BudgetGate:
        if self.max_mib is None and self.max_ms is None:
            raise ValueError("give max_mib or max_ms")
        return self


Gate = Annotated[
    PairedGate | BaselineGate | AbsoluteGate | SliceGate | FairnessGate | CalibrationGate | BehaviourGate | BudgetGate,
    Field(discriminator="kind"),
]


class ApprovalConfig(Section):
    """How long a challenger that passed waits for a person."""

    expires_after: Span = Field(
        timedelta(days=3), description="In wall time; then the champion stays, and that is recorded."
    )
    four_eyes: bool = Field(
        False,
        description="Who approves must be another than who asked for the retrain, and who overrides another than who "
        "asked for that. A retrain that a diagnosis or a schedule asked for has nobody of its own; a rollback needs one "
        "person only, for it must be quick.",
    )


class ProbationConfig(Section):
    """The old champion goes on beside a new one for some batches, and comes back if the new one loses to it."""

    batches: int = Field(
        0,
        ge=0,
        description="Batches after a promotion that the old champion scores in shadow, and looks at them; 0: off.",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Chance to take back a champion that is as good as the old one; each look has its equal part.",
    )


class PromoteConfig(Section):
    """When a challenger becomes the champion."""

    gate_window: Span = Field(
        timedelta(days=14), description="Span of the newest matured labels on which both are judged."
    )
    folds: int = Field(
        4,
        ge=1,
        le=50,
        description="At how many cut-offs the challenger's recipe is fitted and judged on the gate window that follows, going back from the newest label to the end of the champion's training. Older rows count as earlier attempts against the same champion judged them.",
    )
    recency: float = Field(
        0.7,
        gt=0,
        le=1,
        description="What a row counts in the paired comparison, as a share of what a row counts that is one gate window newer; 1: all rows count the same.",
    )
    min_new_days: float = Field(
        20,
        gt=0,
        le=36_525,
        description="Days of matured labels that the champion has not seen; fewer hold the decision. The gate window is at most half of them.",
    )
    refit: bool = Field(True, description="Fit the accepted recipe again with the gate window included.")
    max_refit_shift: float = Field(
        0.5,
        gt=0,
        description="Limit for the mean absolute change of predictions between judged and refitted model, as a share of the judged predictions' spread.",
    )
    gates: list[Gate] = Field(
        default=[{"kind": "paired"}, {"kind": "baseline"}, {"kind": "slices"}],
        validate_default=True,
        description="All must pass. `[]`: after the first champion every challenger takes office that is sound to compare and not the same as the champion.",
    )
    mode: Literal["auto", "approval"] = Field(
        "auto", description="With `approval` a challenger that passed waits for `trueup approve` or `trueup reject`."
    )
    approval: ApprovalConfig = ApprovalConfig()
    probation: ProbationConfig = ProbationConfig()


class FolderSink(Section):
    """Predictions as Parquet files in a folder, one file a batch."""

    kind: Literal["folder"]
    path: str


class SqlSink(Section):
    """Predictions in a SQL table, one row a key."""

    kind: Literal["sql"]
    url: str
    table: str = Field(pattern=r"^[A-Za-z_]\w*$")


class ScoreConfig(Section):
    """Where predictions go besides the store."""

    sink: Annotated[FolderSink | SqlSink, Field(discriminator="kind")] | None = None


class DriftConfig(Section):
    """When inputs count as shifted.

    A batch is compared with rows of the champion's training window: of the same phase of the season where there are
    enough, the same weekday for days, the same month once there are two years. A limit is wider than it says here where
    samples of that size, or a column's own movement from batch to batch within the training window, exceed it.
    """

    sample: int = Field(
        5_000, ge=100, description="Rows compared on each side, so that the verdict does not depend on volume."
    )
    share: Share = Field(
        0.3,
        description="Inputs count as shifted when at least this share of the columns has drifted in distribution; or, whatever the share, when a single column shows what no season brings: `missing_growth`, `new_categories`, or infinite values where there were none.",
    )
    numeric_threshold: float = Field(0.1, gt=0, description="PSI from which a numeric column has drifted.")
    categorical_threshold: float = Field(
        0.1, gt=0, description="Jensen-Shannon distance from which a categorical column has drifted."
    )
    missing_growth: Share = Field(
        0.2, description="A column has drifted when its share of missing values moved by this much."
    )
    new_categories: Share = Field(
        0.05, description="A column has drifted when this share of rows has categories that training never saw."
    )


class DecayConfig(Section):
    """When a champion counts as decayed."""

    batches: int = Field(2, ge=1, description="N: bad batches needed ...")
    of_last: int = Field(3, ge=1, description="... among the last M since the promotion.")
    min_drop: Share = Field(
        0.01,
        description="A batch is bad when the lower bound of its drop in paired skill is above this share of the reference's loss. For a champion worse than chance the drop is that of its lead over the best constant, if larger.",
    )
    severe: Share = Field(0.1, description="Decayed at once when that lower bound is above this share.")
    reference_window: Span = Field(
        timedelta(days=56), description="The cheap reference is refitted each batch on this much history."
    )

    @model_validator(mode="after")
    def _n_of_m(self) -> DecayConfig:
        if self.batches > self.of_last:
            raise ValueError("batches (N) is at most of_last (M)")
        return self


class MonitorConfig(Section):
    """How the champion is watched."""

    min_matured: int = Field(200, ge=30, description="Matured labels a batch needs to be diagnosed.")
    settle: int = Field(
        3,
        ge=1,
        description="Batches, from an unusual one on, until a retrain on such rows starts by itself, or at once after `trueup clear`; what is unusual in so many batches one after the other becomes the usual. 1: unusual batches only alert.",
    )
    stale_after: CalendarSpan | None = Field(
        None,
        description="A champion whose training data end this long before as_of is stale and is retrained; default: never.",
    )
    drift: DriftConfig = DriftConfig()
    decay: DecayConfig = DecayConfig()


class BudgetConfig(Section):
    """How many retrains may start in a span of time."""

    starts: int = Field(10, ge=1)
    per: Span = timedelta(days=30)


class RetrainConfig(Section):
    """What starts a retrain that nobody asked for by hand, and how often; all spans are of the model's own clock."""

    findings: list[Literal["decayed", "stale", "shifted"]] = Field(
        default=["decayed", "stale"],
        description="Findings of the diagnosis that ask for a retrain; `[]`: none does, and the champion stays for good. `shifted` asks for one whenever the inputs moved, whether or not the model lost by it.",
    )
    every: CalendarSpan | None = Field(
        None, description="Also with the first batch this long after the last retrain, whatever the diagnosis."
    )
    new_rows: int | None = Field(
        None, ge=1, description="Also once so many labels have become known that neither trained nor judged a model."
    )
    cooldown: Duration = Field(timedelta(days=1), description="No retrain starts for this long after the last one.")
    budget: BudgetConfig = BudgetConfig()
    max_rejections: int = Field(
        3,
        ge=1,
        description="After this many challengers in a row that failed (at the gates, by an error that does not pass, or rolled back) none is trained until `trueup clear`, or until a full `promote.gate_window` of labels that judged nobody.",
    )


Kept = Annotated[Duration, Field(gt=timedelta(0))]


class RetentionConfig(Section):
    """How long `trueup gc` leaves things where they are, in wall time.

    The newest revision of every batch, what the champion in office rests on, and every entry of the ledger stay for ever.
    """

    reports: Kept = Field(
        timedelta(days=365),
        description="Pages of Data Docs, of drift, and Evidently's snapshots; a retrain's report, and the model files of "
        "a retrain that failed, when no decision that is still kept names them.",
    )
    snapshots: Kept = Field(
        timedelta(days=365),
        description="Revisions of batches, counted from the moment at which a newer one took their place, and what "
        "models said about gate rows; unless a decision that is still kept may rest on them. Computed features are a "
        "cache: those that nothing uses any more go after a day.",
    )
    predictions: Kept = Field(
        timedelta(days=730),
        description="Predictions, those in shadow included. What was removed is never predicted again: the first one "
        "served counts, also when it is gone.",
    )
    decisions: Kept = Field(
        timedelta(days=3650), description="How long what a decision rests on outlives the other spans."
    )


class GovernanceConfig(Section):
    """What people answer for. It stands in every decision and in the dossier, and no decision depends on it."""

    owner: str = Field("", description="Who answers for the model: a person, a team or a role.")
    risk_tier: str = Field(
        "",
        description="In the words of the scheme that you use, such as `limited`. Nothing here assesses it.",
    )
    intended_use: str = Field(
        "", description="What its predictions are for, who acts on them, and what they are not for."
    )
    limitations: list[str] = Field(
        default=[], description="Where it is known to be wrong or not to apply, each in a sentence."
    )


class PriceConfig(Section):
    """What an hour of training costs."""

    per_hour: float = Field(gt=0, description="Of the machine that trains.")
    currency: str = Field("USD", min_length=1, max_length=8)


class ReplayConfig(Section):
    """What `trueup replay` compares where nothing else is said; see docs/how-to/replay.md."""

    policies: list[str] = Field(
        default=[],
        description="Such as `frozen`, `every 1 month, no gate` or `on decay, cooldown {7, 30} days`. Default: the usual ones.",
    )
    price: PriceConfig | None = Field(None, description="Tells costs in money, too.")


class ModelConfig(Section):
    """One model, from its source to its monitor. What its parts must be to each other stands in `consistency`."""

    model: Name = Field(description="The model's name; also the file's.")
    task: Task
    about: str = Field("", description="One sentence: what is predicted, for whom.")
    clock: Literal["data", "wall"] = Field(
        "data", description="What as_of is when none is given: the end of the newest complete batch, or now."
    )
    ingest: IngestConfig
    validation: ValidateConfig = Field(alias="validate")
    features: FeaturesConfig
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    register_: RegisterConfig = Field(RegisterConfig(), alias="register")
    promote: PromoteConfig = PromoteConfig()
    score: ScoreConfig = ScoreConfig()
    monitor: MonitorConfig = MonitorConfig()
    retrain: RetrainConfig = RetrainConfig()
    replay: ReplayConfig = ReplayConfig()
    retention: RetentionConfig = RetentionConfig()
    governance: GovernanceConfig = GovernanceConfig()

    @property
    def rows_dataset(self) -> str:
        """Name of the dataset with the model's rows."""
        return f"{self.model}/rows"

    @property
    def labels_dataset(self) -> str:
        """Name of the dataset with the model's labels."""
        return f"{self.model}/labels"

    @property
    def registered_name(self) -> str:
        """The model's name in MLflow's registry."""
        return self.register_.name or self.model

    @property
    def group_columns(self) -> list[str]:
        """Columns whose values the fairness gates compare."""
        return list(dict.fromkeys(c for g in self.promote.gates if isinstance(g, FairnessGate) for c in g.columns))

    @property
    def behaviour_checks(self) -> list[BehaviourCheck]:
        """What the behaviour gates ask of the challenger, in the order of the config."""
        return [check for g in self.promote.gates if isinstance(g, BehaviourGate) for check in g.checks]

    @property
    def judged_columns(self) -> list[str]:
        """Columns that are landed because something is judged by them."""
        changed = [check.column for check in self.behaviour_checks]
        return list(dict.fromkeys([*self.evaluate.slices, *self.group_columns, *changed]))

    @property
    def input_columns(self) -> list[str]:
        """Source columns that are landed as rows: key, time, and all that features, slices, gates and expectations name."""
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
        """What the config says of the types of columns: declared in `ingest.types`, or by what they are for."""
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
        """How the outcomes of a source of their own are read: as `ingest`, with that source and its columns' types."""
        label = self.ingest.label
        if label.source is None:
            return None
        kinds = {label.key.get(name, name): self.column_types.get(name, "text") for name in self.ingest.key}
        return self.ingest.model_copy(update={"source": label.source, "types": kinds | self._outcome_types})

    @property
    def numeric_columns(self) -> list[str]:
        """Landed columns that must hold numbers."""
        values = [h.of for h in self.features.history if h.of != "label" and h.aggregate == "mean"]
        return list(dict.fromkeys([*self.features.numeric, *values]))
