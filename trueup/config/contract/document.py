"""The parts of an ODCS document that Trueup compares. What it does not know in a document, it leaves to others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml.error import YAMLError

from trueup.config import yaml_text
from trueup.config.durations import Months
from trueup.errors import ConfigError

LogicalType = Literal[
    "string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean", "map", "vector"
]
_UNITS: Final = {
    **dict.fromkeys(("d", "day", "days"), timedelta(days=1)),
    **dict.fromkeys(("w", "wk", "week", "weeks"), timedelta(days=7)),
    **dict.fromkeys(("h", "hr", "hour", "hours"), timedelta(hours=1)),
    **dict.fromkeys(("min", "minute", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("s", "sec", "second", "seconds"), timedelta(seconds=1)),
    **dict.fromkeys(("mo", "month", "months"), Months(1)),
    **dict.fromkeys(("y", "yr", "year", "years"), timedelta(days=365)),
}


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Quality(_Part):
    """A quality rule of a column or of the table."""

    type: Literal["library", "text", "sql", "custom"] | None = None
    metric: str | None = None
    rule: str | None = None  # the name of `metric` in ODCS 3.0
    arguments: dict[str, Any] = {}
    unit: str | None = None
    severity: str | None = None
    name: str | None = None
    engine: str | None = None
    implementation: str | dict[str, Any] | None = None
    mustBe: Any = None
    mustBeLessOrEqualTo: float | None = None
    mustBeLessThan: float | None = None
    mustBeGreaterOrEqualTo: float | None = None
    mustBeGreaterThan: float | None = None
    mustBeBetween: tuple[float, float] | None = None


class Column(_Part):
    """A column of a table."""

    name: str
    physical_name: str | None = Field(None, alias="physicalName")
    logical_type: LogicalType | None = Field(None, alias="logicalType")
    options: dict[str, Any] = Field({}, alias="logicalTypeOptions")
    required: bool = False
    unique: bool = False
    primary_key: bool = Field(False, alias="primaryKey")
    key_position: int = Field(-1, alias="primaryKeyPosition")
    classification: str = ""
    enum: list[dict[str, Any]] = []
    quality: list[Quality] = []

    @property
    def column(self) -> str:
        """Its name in the data."""
        return self.physical_name or self.name

    @property
    def personal(self) -> bool:
        """Whether its classification says that it holds personal data."""
        return any(word in self.classification.casefold() for word in ("personal", "pii", "sensitive"))


class Table(_Part):
    """A table: an object of the document's schema."""

    name: str
    physical_name: str | None = Field(None, alias="physicalName")
    properties: list[Column] = []
    quality: list[Quality] = []

    @property
    def columns(self) -> dict[str, Column]:
        """The columns, by their names in the data."""
        return {column.column: column for column in self.properties}

    @property
    def key(self) -> list[str]:
        """The columns of the primary key, in order."""
        listed = [column for column in self.properties if column.primary_key]
        return [column.column for column in sorted(listed, key=lambda c: c.key_position)]


class Sla(_Part):
    """A service level."""

    what: str = Field(alias="property")
    value: Any = None
    unit: str | None = None
    element: str | None = None

    @property
    def span(self) -> timedelta | None:
        """Its value as a span of time; None for other values."""
        unit = _UNITS.get((self.unit or "").strip().casefold())
        number = self.value if isinstance(self.value, int | float) and not isinstance(self.value, bool) else None
        if unit is None or number is None:
            return None
        return Months(int(number)) if isinstance(unit, Months) and number == int(number) else unit * number

    def about(self, table: Table, *columns: str) -> bool:
        """Whether it is about a table, or about one of some columns of it."""
        if self.element is None:
            return not columns
        name, _, column = self.element.partition(".")
        return name == table.name and column in (columns or ("",))


class Contract(_Part):
    """A document."""

    kind: Literal["DataContract"]
    api_version: Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^v?3\.\d+\.\d+$")] = Field(
        alias="apiVersion"
    )
    id: Annotated[str, BeforeValidator(_as_text)]
    version: Annotated[str, BeforeValidator(_as_text)]
    tables: list[Table] = Field(alias="schema", min_length=1)
    levels: list[Sla] = Field([], alias="slaProperties")


def read_contract(path: Path) -> Contract:
    """Read a document. Raises ConfigError with all mistakes of the parts that are compared."""
    try:
        content = yaml_text.read(path.read_text(encoding="utf-8"))
        return Contract.model_validate(content)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}; correct the path, or write it"]) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"not YAML: {' '.join(str(error).split())}; correct it"]) from None
    except ValidationError as error:
        raise ConfigError(str(path), [_explained(e) for e in error.errors(include_url=False)]) from None


def table_of(contract: Contract, path: Path, model: str, columns: list[str]) -> Table:
    """The table of a model's rows: the only one, else that with the model's name, else the only one with its columns.

    `columns` are those of its key and time. Raises ConfigError if none or several could be it.
    """
    if len(contract.tables) == 1:
        return contract.tables[0]
    named = [table for table in contract.tables if table.name == model]
    fitting = named or [table for table in contract.tables if set(columns) <= set(table.columns)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(table.name for table in fitting or contract.tables)
    what = f"has {'several tables' if fitting else 'no table'} with the columns {', '.join(columns)}"
    raise ConfigError(str(path), [f"schema: {what} ({listed}); name the table of the rows {model}"])


def _explained(error: Any) -> str:
    at = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in error["loc"]).lstrip(".") or "the file"
    if error["type"] == "missing":
        return f"{at}: is missing; a data contract of ODCS 3 has it"
    return f"{at}: {error['msg'][:1].lower()}{error['msg'][1:]}; see the Open Data Contract Standard 3"
