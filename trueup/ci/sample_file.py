"""Writes a sample file: the newest rows of a model's source, with their outcomes, to be committed to the project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from trueup.adapters import parquet
from trueup.ci.job import ROW
from trueup.ci.sample import newest
from trueup.config.schema import ModelConfig
from trueup.domain.data.values import as_text
from trueup.domain.profiling.columns import profile
from trueup.domain.profiling.personal_data import personal
from trueup.errors import UsageError
from trueup.home import Home
from trueup.model import Model

_PHONE = "phone numbers"  # a key of digits and dashes looks like one


@dataclass(frozen=True)
class Written:
    """A sample file, and with a separate label source the file of its outcomes; paths are relative to the configs."""

    model: str
    file: Path
    rows: int
    columns: list[str]
    sample: str
    label_file: Path | None = None
    label_sample: str | None = None
    personal: tuple[str, ...] = ()


def write_sample(
    config: ModelConfig, home: Home, rows: int, file: Path, *, all_columns: bool, with_personal: bool
) -> Written:
    """Write the newest whole batches of a source, at most so many rows, in the order of time.

    The columns are those that the config names, or all of the source. Raises UsageError for columns of personal data
    (unless `with_personal`), and for a file out of the project, SourceError, NoData.
    """
    place = _relative(file, home.configs)
    found = newest(Model(config, home), rows).rows.drop(columns=ROW)
    found = found.sort_values(config.ingest.time, kind="stable", ignore_index=True)
    label = config.ingest.label
    named = [*config.input_columns, *([] if label.source else [label.column, label.known_at])]
    wanted = list(found) if all_columns else [c for c in dict.fromkeys(named) if c in found]
    table = found[wanted]
    people = tuple(
        f"{name} ({why})"
        for name, why, _ in personal(profile(table.drop(columns=config.ingest.time)))
        if not (name in config.ingest.key and _PHONE in why)
    )
    if people and not with_personal:
        raise UsageError(
            f"{config.model}: columns that look like personal data would be committed: {'; '.join(people)}; leave them out "
            "of the config, or allow it with --with-personal"
        )
    _write(table, file)
    written = Written(config.model, file, len(table), [str(c) for c in table], place, personal=people)
    if label.source is None:
        return written
    beside = _write_outcomes(config, home, table, file)
    return replace(written, label_file=beside, label_sample=_relative(beside, home.configs))


def _write_outcomes(config: ModelConfig, home: Home, table: pd.DataFrame, file: Path) -> Path:
    """Write the outcomes of the sample's rows from the label source, beside the sample."""
    source, label = home.label_source(config), config.ingest.label
    assert source is not None
    names = {name: label.key.get(name, name) for name in config.ingest.key}
    columns = list(dict.fromkeys([*names.values(), label.column, *([label.known_at] if label.known_at else [])]))
    outcomes = source.everything(columns)
    of_rows, of_outcomes = (
        pd.MultiIndex.from_frame(frame[list(keys)].apply(as_text))
        for frame, keys in ((table, names), (outcomes, names.values()))
    )
    beside = file.with_name(f"{file.stem}-labels{file.suffix}")
    _write(outcomes[of_outcomes.isin(of_rows)], beside)
    return beside


def _relative(file: Path, configs: Path) -> str:
    """The path for the config. Raises UsageError for a file out of the project, and for a kind that is not written."""
    if file.suffix not in {".parquet", ".csv"}:
        raise UsageError(f"--out {file}: the file's name ends in .parquet or .csv")
    configs = configs.resolve()
    try:
        inside = file.resolve().relative_to(configs.parent)
    except ValueError:
        raise UsageError(
            f"--out {file} is not in the project {configs.parent}; a sample is committed with it"
        ) from None
    if inside.parts[0] == configs.name:
        return inside.relative_to(configs.name).as_posix()
    return f"../{inside.as_posix()}"


def _write(table: pd.DataFrame, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".csv":
        table.to_csv(file, index=False, date_format="%Y-%m-%d %H:%M:%S.%f")
    else:
        parquet.write(parquet.to_table(table.reset_index(drop=True)), file)


def words(written: Written) -> Iterator[str]:
    """What was written, and what to do next."""
    yield f"{written.file}: {written.rows:,} rows, {len(written.columns)} columns"
    if written.label_file is not None:
        yield f"{written.label_file}: their outcomes"
    labels = f", label_sample: {written.label_sample}" if written.label_sample else ""
    yield f"next: set `ci: {{sample: {written.sample}{labels}}}` in the config, look at the rows, and commit both"
