"""The section `ci`: how `trueup ci compare` judges a pull request."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trueup.config.section import Section

Finding = Literal["worse", "not_better", "gate", "leak", "broken_data", "fewer_rows", "not_compared", "tests"]

SOURCE = "source"  # the word for the config's own source


def _inside(path: str) -> str:
    """Refuse a path out of the project: the sample must be what a commit holds."""
    if PurePosixPath(path).is_absolute() or "://" in path:
        raise ValueError(f"{path} is not a path relative to the folder of the configs; commit the file to the project")
    return path


Sample = Annotated[str, AfterValidator(_inside)]


class CiConfig(Section):
    """How `trueup ci compare` judges a pull request. The section of the base branch counts, not that of the pull request."""

    sample: Sample | None = Field(
        None,
        description="The rows to compare on: a CSV, JSON Lines or Parquet file that is committed to the project, relative to the folder of the configs, with the columns that `ingest.source` gives; `trueup ci sample` writes one. The word `source` uses `ingest.source` itself, if that needs no secrets, such as a function or a committed file. Without a sample the result is `not_compared`.",
    )
    label_sample: Sample | None = Field(
        None,
        description="With `ingest.label.source` and a file as `sample`: the file with the outcomes, with the columns that the label source gives.",
    )
    rows: int = Field(50_000, ge=200, description="The newest rows of the sample that are used, in whole batches.")
    minutes: float = Field(
        20,
        gt=0,
        le=1_440,
        description="Time limit of the base side, of the head side and of the project's tests, each. What takes longer is ended and is `not_compared`, or failed `tests`.",
    )
    fail_on: list[Finding] = Field(
        default=["worse", "gate", "leak", "broken_data", "fewer_rows", "not_compared", "tests"],
        description="Findings with which the command ends with exit code 1. `worse`: the loss is shown to be higher, overall or in a slice. `not_better`: no gain is shown. `gate`: another gate of the base fails. `leak`: a new feature knows the outcome. `broken_data`: a batch of the sample breaks an expectation of the head and none of the base. `fewer_rows`: the head does not predict all judged rows. `not_compared`: the comparison could not be made. `tests`: the project's tests fail.",
    )
