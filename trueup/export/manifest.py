"""The manifest of a bundle: what it holds and where that comes from, as a device reads it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime, ValidationError

from trueup.config.tasks import Task
from trueup.errors import WorkError
from trueup.ledger.canonical import canonical

FORMAT: Final = "trueup-bundle/1"
DIGEST = r"^[0-9a-f]{64}$"
M = TypeVar("M", bound=BaseModel)


class Part(BaseModel):
    """A part of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LedgerEntry(Part):
    """The ledger entry about the version, with its signature and the public key of that."""

    seq: int
    hash: str = Field(pattern=DIGEST)
    key_id: str
    signature: str
    public: str


class FileFacts(Part):
    """A file of the bundle."""

    bytes: int
    sha256: str = Field(pattern=DIGEST)


class InputFacts(Part):
    """An input of the model: a column of the graph's single input, in order."""

    name: str
    kind: Literal["number", "category"]
    dtype: Literal["float64", "float32"]  # a number is rounded to it
    categories: tuple[str, ...] = ()  # the code of each is its position
    missing: float | None  # the number for a missing value; None for NaN
    unknown: float | None  # the number for a category that is not in the list; None for NaN
    of: Literal["numeric", "categorical", "calendar", "history", "custom"]
    column: str = ""  # of a calendar part: the column with the time
    part: str = ""  # of a calendar part, such as hour
    definition: dict[str, Any] = {}  # of a history feature its config, of a custom one its function
    unit: str = ""
    infinite: bool  # whether the model takes infinite numbers


class Output(Part):
    """What the model predicts."""

    name: str  # the label's column
    unit: str
    classes: tuple[str, ...] = ()  # of a multiclass task, in the order of the probabilities


class Manifest(Part):
    """What a bundle holds, and where that comes from."""

    format: Literal["trueup-bundle/1"]
    model: str
    task: Task
    version: int
    epoch: int  # of the version's newest promotion; 0 for one that never served
    issued: AwareDatetime
    expires: AwareDatetime
    trained_until: NaiveDatetime  # in the model's time zone
    timezone: str
    ledger: LedgerEntry
    files: dict[str, FileFacts]
    inputs: tuple[InputFacts, ...]
    output: Output
    tolerance: float  # of the predictions, relative to max(1, |value|)

    def content(self) -> bytes:
        """The bytes of the file: canonical JSON, without keys that were not set."""
        return canonical(self.model_dump(mode="json", exclude_unset=True)).encode()

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read the bytes of the file. Raises WorkError."""
        return read_manifest(cls, content, "write it with `trueup export`")


def read_manifest(kind: type[M], content: bytes, advice: str) -> M:
    """Read the bytes of a manifest. Raises WorkError, which ends with the advice."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise WorkError(f"manifest.json cannot be read: {where}: {first['msg']}; {advice}") from None


def in_words(moment: datetime) -> str:
    """A moment in UTC for people.

    >>> from datetime import UTC
    >>> in_words(datetime(2026, 11, 29, 12, 30, tzinfo=UTC))
    '2026-11-29 12:30 UTC'
    """
    return f"{moment:%Y-%m-%d %H:%M} UTC"
