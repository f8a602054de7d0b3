"""Parquet files that appear whole or not at all, and a digest of their content.

Repeated text is stored as codes into a dictionary and read as a pandas category: a column of three million airline
codes takes 3 MB instead of 200. Text with more than half distinct values is read as objects. Snappy wrote and read the
flights about twice as fast as zstd, at the same size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trueup.adapters.files.port import Stored
from trueup.domain.data.values import EXACT, as_text
from trueup.errors import WorkError
from trueup.files import whole

_DIGITS = 15  # decimal digits that a float64 preserves


def to_table(frame: pd.DataFrame) -> pa.Table:
    """Convert a frame (without its index) to Arrow: numbers, booleans, times in microseconds, and text.

    NaN, NaT and None all become missing. Raises WorkError for a column of mixed types.
    """
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise WorkError(
            f"a table with values of mixed types cannot be stored: {error}; give each column one type"
        ) from error
    columns = [c.cast(pa.timestamp("us"), safe=False) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return compact(pa.table(dict(zip(table.column_names, columns, strict=True))))


def compact(table: pa.Table, leave: Sequence[str] = ()) -> pa.Table:
    """Dictionary-encode the text columns with repetitions, with the values in the order of their first appearance."""
    columns = [table[n] if n in leave else _encode(table[n]) for n in table.column_names]
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


def _encode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    encoded = one_chunk(column.cast(pa.string())).dictionary_encode()
    return pa.chunked_array([encoded]) if len(encoded.dictionary) <= len(column) / 2 else column.cast(pa.string())


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    whole = column.combine_chunks()
    if not isinstance(whole, pa.ChunkedArray):
        return whole
    return pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)


def to_pandas(table: pa.Table, apart: bool = False) -> pd.DataFrame:
    """Convert to a frame with a fresh index; encoded text becomes a category.

    With `apart` every column is an array of its own, perhaps one that cannot be written: it takes a sixth of the time.

    No digit is lost: whole numbers with missing ones become floats only if these are exact, else Int64. Decimals become
    integers or floats only if these are exact, else objects of `Decimal`.
    """
    columns = [_exact(table[name]) for name in table.column_names]
    kept = [column if isinstance(column, pa.ChunkedArray) else None for column in columns]
    plain = pa.table({str(i): column for i, column in enumerate(kept) if column is not None})
    frame: pd.DataFrame = plain.to_pandas(date_as_object=False, split_blocks=apart)
    made = {str(i): column for i, column in enumerate(columns) if isinstance(column, pd.Series)}
    if made:
        frame = pd.DataFrame({str(i): made.get(str(i), frame.get(str(i))) for i in range(len(columns))}, copy=False)
    return frame.set_axis(table.column_names, axis=1)


def _exact(column: pa.ChunkedArray) -> pa.ChunkedArray | pd.Series[Any]:
    """A column that pandas converts exactly, or its exact conversion."""
    kind = column.type
    if pa.types.is_decimal(kind):
        return _decimals(column)
    if pa.types.is_integer(kind) and column.null_count and kind.bit_width == 64 and _beyond(column):
        return pd.Series(column.to_pandas(types_mapper=_NULLABLE.get))
    return column


_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


def _beyond(column: pa.ChunkedArray) -> bool:
    bounds = pc.min_max(column).as_py()
    return bounds["max"] is not None and max(abs(bounds["min"]), abs(bounds["max"])) > EXACT


def _decimals(column: pa.ChunkedArray) -> pa.ChunkedArray | pd.Series[Any]:
    kind = column.type
    if kind.scale == 0:
        try:
            return _exact(column.cast(pa.int64()))
        except pa.ArrowInvalid:
            return pd.Series(column.to_pandas())
    floats = column.cast(pa.string()).cast(pa.float64())  # Arrow's own cast is wrong in the last place
    if kind.precision <= _DIGITS or max(map(_digits, pc.unique(column).to_pylist()), default=0) <= _DIGITS:
        return floats
    return pd.Series(column.to_pandas())


def _digits(value: Decimal | None) -> int:
    return 0 if value is None else len(value.normalize().as_tuple().digits)


def exact(values: Sequence[Any]) -> pd.Series[Any]:
    """Convert a database driver's values to a column with every digit, like `to_pandas`."""
    if not len(values):
        return pd.Series(dtype=object)
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "integer" and None in values:
        try:
            whole = pd.Series(pd.array(values, dtype="Int64"))
        except OverflowError:
            return pd.Series(values, dtype=object)
        return whole if ((whole > EXACT) | (whole < -EXACT)).any() else whole.astype(np.float64)
    if kind == "decimal":
        digits = max(_digits(value) for value in set(values))
        return pd.Series(values, dtype=object) if digits > _DIGITS else pd.Series(values, dtype=object).astype(float)
    return pd.Series(values)


def digest(table: pa.Table) -> str:
    """SHA-256 of the content of a table from `to_table`: names, kinds, values, missing values, and the rows' order.

    It does not depend on the order of the columns, on how Parquet writes them, or on whether whole numbers are integers
    or floats, or text is objects or categories.
    """
    return _digest(table.num_rows, ((name, table[name]) for name in sorted(table.column_names)))


def digest_of_file(place: Path | Stored) -> str:
    """The digest of the table in a file, of which one column at a time is read. Raises WorkError like `read`.

    The file of a home is read where it is kept, and no copy of it.
    """
    with _opened(place, fresh=True) as file:
        return _digest(
            file.metadata.num_rows, ((name, file.read([name])[name]) for name in sorted(file.schema_arrow.names))
        )


def _digest(rows: int, columns: Iterable[tuple[str, pa.ChunkedArray]]) -> str:
    whole = hashlib.sha256(str(rows).encode())
    for name, column in columns:
        kind, parts = _canonical(column)
        whole.update(f"\0{len(name)}:{name}:{kind}\0".encode())
        for part in parts:
            whole.update(np.ascontiguousarray(part).view(np.uint8).data)
    return whole.hexdigest()


def _canonical(column: pa.ChunkedArray) -> tuple[str, list[npt.NDArray[Any]]]:
    """The kind of a column and little-endian arrays of its content."""
    kind = column.type
    if column.null_count == len(column):
        return "missing", []
    if pa.types.is_dictionary(kind):
        codes = one_chunk(column)
        return "text", [codes.indices.fill_null(-1).to_numpy(zero_copy_only=False), *_texts(codes.dictionary)]
    if pa.types.is_string(kind):
        return "plain text", _texts(one_chunk(column))
    if pa.types.is_boolean(kind):
        return "boolean", [column.cast(pa.int8()).fill_null(-1).to_numpy()]
    if pa.types.is_timestamp(kind):
        return "time", [column.cast(pa.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()]
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise WorkError(f"values of type {kind} cannot be stored; make them numbers, times or text")
    numbers = column.to_numpy()
    if numbers.dtype.kind != "f" and max(abs(int(numbers.min())), abs(int(numbers.max()))) > EXACT:
        return "integer", [numbers.astype(np.int64, copy=False)]
    return "number", [numbers.astype(np.float64, copy=False)]


def _texts(values: pa.Array) -> list[npt.NDArray[Any]]:
    lengths = pc.binary_length(values).fill_null(-1).to_numpy(zero_copy_only=False)
    filled = values.fill_null("")  # Arrow does not say what lies where a missing text is
    if not len(filled):
        return [lengths, np.empty(0, dtype=np.uint8)]
    _, offsets, texts = filled.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64 if pa.types.is_large_string(filled.type) else np.int32)
    first, last = ends[filled.offset], ends[filled.offset + len(filled)]
    return [lengths, np.frombuffer(texts or b"", dtype=np.uint8)[first:last]]


def write(table: pa.Table, place: Path | Stored, durable: bool = True) -> None:
    """Write a Parquet file that appears whole, so that readers only see complete files.

    With `durable` it also survives a power cut. Raises WorkError if the disk is full; no partial file is left.
    """
    writing = whole(place, durable) if isinstance(place, Path) else place.files.writing(place.key, durable)
    with writing as stream:
        pq.write_table(table, stream, compression="snappy")


def write_chunks(frames: Iterable[pd.DataFrame], place: Path | Stored, durable: bool = True) -> None:
    """Write frames one below the other, each as it comes, to a file like that of `write`.

    There is at least one, and all have the columns of the first, of the same types. Text is stored as codes.
    """
    writing = whole(place, durable) if isinstance(place, Path) else place.files.writing(place.key, durable)
    with writing as stream, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for frame in frames:
            table = to_table(frame)
            texts = [field.name for field in table.schema if is_text(field.type) or pa.types.is_null(field.type)]
            table = _converted(table, texts, _codes)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(stream, table.schema, compression="snappy"))
            writer.write_table(table)


def _codes(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return one_chunk(column.cast(pa.string())).dictionary_encode()


def read(place: Path | Stored, columns: Sequence[str] | None = None, fresh: bool = False) -> pa.Table:
    """Read a file, or those of the named columns that it has. Raises WorkError if it is missing or damaged.

    With `fresh` the file of a home is read where it is kept, and no copy of it.
    """
    with _opened(place, fresh) as file:
        return file.read(None if columns is None else list(columns))


def chunks(place: Path | Stored, columns: Sequence[str] | None = None, rows: int = 65_536) -> Iterator[pa.Table]:
    """Read a file in tables of at most so many rows. Raises WorkError like `read`."""
    with _opened(place) as file:
        # Threads take two to three times the CPU seconds for tables of this size.
        for batch in file.iter_batches(rows, columns=None if columns is None else list(columns), use_threads=False):
            yield pa.Table.from_batches([batch])


def without_rows(place: Path | Stored) -> pa.Table:
    """A table with the columns of a file and no rows. Raises WorkError like `read`."""
    with _opened(place) as file:
        return file.schema_arrow.remove_metadata().empty_table()


def columns(place: Path | Stored) -> list[str]:
    """Names of a file's columns. Raises WorkError if it is missing or damaged."""
    with _opened(place) as file:
        return list(file.schema_arrow.names)


def statistics(place: Path | Stored) -> dict[str, dict[str, float]]:
    """`nullCount` of each column, and `min` and `max` of numbers, from a file's footer. Raises WorkError like `read`."""
    found: dict[str, dict[str, float]] = {}
    with _opened(place) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        for group in groups:
            for position in range(group.num_columns):
                column = group.column(position)
                if column.statistics is not None:
                    _add_statistics(found.setdefault(column.path_in_schema, {}), column.statistics)
    return found


def _add_statistics(found: dict[str, float], more: Any) -> None:
    """Add those of another part of a column."""
    if more.has_null_count:
        found["nullCount"] = found.get("nullCount", 0) + more.null_count
    if more.has_min_max and type(more.min) in (int, float) and more.physical_type != "BYTE_ARRAY":
        found["min"] = min(found.get("min", more.min), more.min)
        found["max"] = max(found.get("max", more.max), more.max)


@contextmanager
def _opened(place: Path | Stored, fresh: bool = False) -> Iterator[pq.ParquetFile]:
    try:
        with _source(place, fresh) as source, pq.ParquetFile(source) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise WorkError(
            f"{place} cannot be read: {error}; restore it from a backup, or remove it and ingest its window again"
        ) from error


def _source(place: Path | Stored, fresh: bool = False) -> AbstractContextManager[Path | pa.NativeFile]:
    return nullcontext(place) if isinstance(place, Path) else place.files.opened(place.key, fresh)


def is_whole(place: Path | Stored) -> bool:
    """Whether a Parquet file has its footer, which is written last."""
    try:
        with _source(place) as source:
            pq.read_metadata(source)
    except (OSError, pa.ArrowException):
        return False
    return True


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables by column name.

    A column that some lack is missing there. Integers and floats become floats, also those beyond a float's exact range
    (landing has counted them); numbers and text become text.
    """
    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, set()).add(field.type)
    texts = [name for name, kinds in types.items() if len({_kind(t) for t in kinds} - {"null"}) > 1]
    floats = [n for n, kinds in types.items() if n not in texts and any(map(pa.types.is_floating, kinds))]
    alike = [_with_floats(_with_text(table, texts), floats) for table in tables]
    joined = pa.concat_tables(alike, promote_options="permissive").unify_dictionaries()
    return compact(joined, leave=[n for n in joined.column_names if n not in texts])


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text, encoded or not."""
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind))


def with_booleans(table: pa.Table, names: Collection[str]) -> pa.Table:
    """Convert columns of 1 and 0 to booleans, so that `concat` writes them beside text as true and false."""
    return _converted(
        table, names, lambda column: column.cast(pa.bool_()) if _kind(column.type) == "numbers" else column
    )


def _with_floats(table: pa.Table, names: Collection[str]) -> pa.Table:
    return _converted(
        table,
        names,
        lambda column: column.cast(pa.float64(), safe=False) if pa.types.is_integer(column.type) else column,
    )


def _with_text(table: pa.Table, names: Collection[str]) -> pa.Table:
    return _converted(table, names, _text)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_null(column.type):
        return column
    encoded = pa.types.is_dictionary(column.type)
    return column.cast(pa.string()) if encoded else pa.array(as_text(column.to_pandas()), pa.string())


def _converted(
    table: pa.Table, names: Collection[str], convert: Callable[[pa.ChunkedArray], pa.ChunkedArray | pa.Array]
) -> pa.Table:
    """The table with these columns converted."""
    for position, name in enumerate(table.column_names):
        if name in names:
            table = table.set_column(position, name, convert(table[name]))
    return table


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "codes"
    return "numbers" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else str(kind)
