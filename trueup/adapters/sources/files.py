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
    """A file, a folder of files, or a glob."""

    kind: Literal["files"] = "files"
    path: str = Field(
        description="A CSV, JSON Lines, Excel or Parquet file, a folder of them, a glob, a remote address such as s3://bucket/orders/*.parquet, or the folder of a Delta or Iceberg table. Relative to the folder of the configs. Text may be compressed: .gz, .bz2, .xz, .zst or .zip. Folders such as `year=2024` add a column if the files have none of that name."
    )
    sheet: str | None = Field(
        None,
        description="The sheet to read from workbooks. Its cells are read like CSV values. Default: the only sheet.",
    )
    encoding: Annotated[str, AfterValidator(known_encoding)] = Field(
        "utf-8", description="Encoding of CSV files, such as latin-1 or cp1252."
    )
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="Separator in CSV files; default: the character that splits the first line into most columns.",
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal mark in CSV files.")
    marks: dict[str, list[str]] = Field(
        default={},
        description="Marks to remove from the numbers of a column in CSV files: a thousands separator (`,`, `.`, `'` or a blank), a prefix or suffix (`$`, `%`, `kg`; 12 % is 12), and `()` or `-` for negative numbers in brackets or with a trailing sign.",
    )
    escape: Literal['"', "\\"] = Field(
        '"',
        description="Escape character before a quotation mark within a quoted value of CSV files: another quotation mark, or a backslash.",
    )
    skip_rows: int = Field(0, ge=0, description="Number of lines above the column names in CSV files, such as a title.")
    pad: bool = Field(
        False,
        description="Whether a line of a CSV file may have fewer values than there are columns, such as a line of totals or a note below the table. The missing values count as missing. Without `pad` such a line is an error.",
    )
    trim: bool = Field(False, description="Whether to remove blanks around the values of CSV files.")
    query: str | None = Field(
        None,
        description="SQL (DuckDB) over the files as the table `files`; default: all of their columns.",
    )

    def open(self, reading: IngestConfig, root: Path) -> SourcePort:
        from trueup.adapters.sources.file_table import FileTable

        return FileTable(self, reading, root)
