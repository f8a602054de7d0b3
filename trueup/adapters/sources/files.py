"""The source `files`: CSV, JSON Lines, Excel, Parquet, Delta or Iceberg."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trueup.adapters.sources.port import SourcePort
from trueup.adapters.sources.source import Source
from trueup.config.sections.ingest import IngestConfig
from trueup.config.value_checks import known_encoding


class FilesSource(Source):
    """Files: one, a folder, or a glob."""

    kind: Literal["files"] = "files"
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

    def open(self, reading: IngestConfig, root: Path) -> SourcePort:
        from trueup.adapters.sources.file_table import FileTable

        return FileTable(self, reading, root)
