"""The page `capacity.md`: measured costs, and what follows from them by calculation.

A new measurement changes `MEASURED` here, and with it every derived number of the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, log10

FLEET, BATCHES, SERVING = "python -m benchmarks.fleet", "python -m benchmarks.batches", "python -m benchmarks.serving"
MIB, GIB, TIB = 2.0**20, 2.0**30, 2.0**40
HOUR, DAY, YEAR = 3600.0, 86_400.0, 365.0  # seconds, seconds, days


@dataclass(frozen=True)
class Measured:
    """A measured cost; `source` is the command or the page with it."""

    value: float
    unit: str
    what: str
    source: str


MODELS_10, MODELS_200 = f"{FLEET} --models 10", FLEET
FEW = Measured(4.61, "CPU s", "a fleet of 10 models that finds nothing new", MODELS_10)
MANY = Measured(16.01, "CPU s", "a fleet of 200 models that finds nothing new", MODELS_200)
SMALL = Measured(1.91, "CPU s", "a model's new batch of 56 rows, with its share of the imports", MODELS_10)
FIRST = Measured(2.33, "CPU s", "the first champion of a small model, the same", MODELS_200)
MODEL_BYTES = Measured(845_739, "bytes", "what the home keeps of a small model with its first champion", MODELS_200)
BATCH_BYTES = Measured(44_518, "bytes", "what it keeps of each further small batch", MODELS_10)
BATCH_FILES = Measured(5.2, "files", "of these", MODELS_10)
BATCH_ROWS = Measured(9, "rows", "in the database, of each further small batch", MODELS_10)
THOUSAND = Measured(4.62, "CPU s", "a batch of 1,000 rows with 22 features, without a retrain", BATCHES)
MILLION = Measured(28.02, "CPU s", "the same of a million rows", BATCHES)
THOUSAND_PEAK = Measured(281, "MiB", "memory of the process with the batch of 1,000 rows", BATCHES)
MILLION_PEAK = Measured(1021, "MiB", "the same of a million rows", BATCHES)
ROW_BYTES = Measured(178.8, "bytes", "what the home keeps of a row of the batch of a million rows", BATCHES)
LIGHTGBM = Measured(
    137, "bytes", "memory of a `lightgbm` fit for a row, 32 features, 3 million rows", "how-to/large-tables.md"
)
BOOSTING = Measured(347, "bytes", "the same of `gradient_boosting`", "how-to/large-tables.md")
FIT_BASE = Measured(400, "MiB", "memory of a process that fits, besides", "how-to/large-tables.md")
REQUEST = Measured(129, "CPU µs", "a prediction over HTTP, logged, with 13 history features; 32 connections", SERVING)
ALONE = Measured(252, "CPU µs", "the same, one connection", SERVING)
SERVER = Measured(72, "MiB", "memory of a serving process with one model", SERVING)
PUBLISHING = Measured(
    403, "MiB", "memory of the process that publishes a small model for servers", "how-to/kubernetes.md"
)
PREFECT = Measured(293, "MiB", "memory of Prefect's server after a year of daily batches", "soak.md")
WORKER = Measured(182, "MiB", "memory of Prefect's worker for Kubernetes", "how-to/kubernetes.md")
LIVE = Measured(
    241, "MiB", "memory of the live page with 200 models and a year of daily batches", "python -m benchmarks.ui"
)
LOGGED = Measured(411, "bytes", "what the log keeps of such a prediction, with 32 features", f"{SERVING} --parts log")
ONNX = Measured(22, "CPU µs", "a row in onnxruntime, boosted trees, one row a call", "python -m benchmarks.export")

MEASURED = (
    FEW,
    MANY,
    SMALL,
    FIRST,
    MODEL_BYTES,
    BATCH_BYTES,
    BATCH_FILES,
    BATCH_ROWS,
    THOUSAND,
    MILLION,
    THOUSAND_PEAK,
)
MEASURED += (
    MILLION_PEAK,
    ROW_BYTES,
    LIGHTGBM,
    BOOSTING,
    FIT_BASE,
    REQUEST,
    ALONE,
    SERVER,
    PUBLISHING,
    PREFECT,
    WORKER,
    LIVE,
    LOGGED,
    ONNX,
)

IDLE = (MANY.value - FEW.value) / 190  # CPU s of an idle model
IMPORTS = FEW.value - 10 * IDLE  # CPU s of a process before its first model
ROW = (MILLION.value - THOUSAND.value) / 999_000 * 1e6  # CPU µs
ROW_PEAK = (MILLION_PEAK.value - THOUSAND_PEAK.value) * MIB / 999_000  # bytes

CORES, MEMORY, SHARE = 4, 16 * GIB, 0.5  # an example of a machine, and how much of it is planned for


def number(value: float) -> str:
    """A number with three digits, from a million on in words, and below with all digits before the point.

    >>> number(1234567.8), number(951641), number(12.345), number(0.05), number(3.0)
    ('1.23 million', '951,641', '12.3', '.05', '3')
    """
    for word, factor in (("billion", 1e9), ("million", 1e6)):
        if value >= factor:
            return f"{number(value / factor)} {word}"
    if value == 0:
        return "0"
    digits = max(0, 2 - floor(log10(abs(value))))
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("0.", ".", 1) if text.startswith("0.") else text


def size(value: float) -> str:
    """Bytes in the largest unit that fits.

    >>> size(3 * 2**30)
    '3 GiB'
    """
    unit, factor = next(((u, f) for u, f in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB)) if value >= f), ("KiB", 1024.0))
    return f"{number(value / factor)} {unit}"


def product(*factors: tuple[float, str]) -> tuple[str, float]:
    """The calculation in words, and its result.

    >>> product((24, "runs"), (0.5, "CPU s"))
    ('24 runs × .5 CPU s', 12.0)
    """
    result = 1.0
    for value, _ in factors:
        result *= value
    return " × ".join(f"{number(value)} {unit}".strip() for value, unit in factors), result


def row(what: str, calculation: tuple[str, float], unit: str, divided: float = 1) -> str:
    """A line of a table: what, how it was calculated, and the result in another unit."""
    words, result = calculation
    return f"| {what} | {words} | {f'{number(result / divided)} {unit}'.strip()} |"


def in_bytes(what: str, calculation: tuple[str, float]) -> str:
    """The same for a number of bytes."""
    words, result = calculation
    return f"| {what} | {words} | {size(result)} |"


def capacity_page() -> str:
    """The whole page."""
    parts = (_head, _measured, _machine, _steps, _thousand, _billions)
    return "\n".join(line for part in parts for line in part()) + "\n"


def _head() -> Iterator[str]:
    yield from [
        "# Capacity",
        "",
        "Generated from `docs/capacity.py` by `make docs`. Only the first table was measured. Everything after it is calculated from",
        "these figures, and the calculation is beside each result; nobody has run it. Costs are in CPU time of one core, memory and",
        "disk; multiply them with your prices. Several programs used the two cores of the measurements, so a quiet core may need less.",
        "",
    ]


def _measured() -> Iterator[str]:
    yield from ["## Measured", "", "| | | from |", "|---|---|---|"]
    for m in MEASURED:
        source = f"[{m.source}]({m.source})" if m.source.endswith(".md") else f"`{m.source}`"
        yield f"| {m.what} | {number(m.value)} {m.unit} | {source} |"
    yield from [
        "",
        "From these:",
        "",
        "| | calculation | |",
        "|---|---|---|",
        f"| an idle model | ({number(MANY.value)} - {number(FEW.value)}) CPU s / 190 models | {number(IDLE)} CPU s |",
        f"| a process before its first model | {number(FEW.value)} CPU s - 10 models × {number(IDLE)} CPU s | {number(IMPORTS)} CPU s |",
        f"| a row of a batch | ({number(MILLION.value)} - {number(THOUSAND.value)}) CPU s / 999,000 rows | {number(ROW)} CPU µs |",
        f"| its memory | ({number(MILLION_PEAK.value)} - {number(THOUSAND_PEAK.value)}) MiB / 999,000 rows | {number(ROW_PEAK)} bytes |",
        "",
    ]


def _machine() -> Iterator[str]:
    use, table = CORES * SHARE, "| | calculation | |"
    cores = (CORES, "cores"), (SHARE, "of the time")
    free = (
        (MEMORY * SHARE - FIT_BASE.value * MIB) / LIGHTGBM.value,
        (MEMORY * SHARE - FIT_BASE.value * MIB) / BOOSTING.value,
    )
    half = f"({number(MEMORY * SHARE / GIB)} GiB - {number(FIT_BASE.value)} MiB)"
    yield from [
        "## What one machine carries",
        "",
        f"With {CORES} cores and {size(MEMORY)}, of which {SHARE:.0%} are planned for. Each line uses the whole machine.",
        "",
        table,
        "|---|---|---|",
        f"| idle turns an hour | {product(*cores)[0]} × 3,600 s / {number(IDLE)} CPU s | {number(use * HOUR / IDLE)} |",
        f"| small batches an hour | {product(*cores)[0]} × 3,600 s / {number(SMALL.value)} CPU s | {number(use * HOUR / SMALL.value)} |",
        f"| rows of large batches an hour | {product(*cores)[0]} × 3,600 s / {number(ROW)} CPU µs | {number(use * HOUR / ROW * 1e6)} |",
        f"| log of predictions a day, at 100 a second | 100 × 86,400 s × {number(LOGGED.value)} bytes | {size(100 * DAY * LOGGED.value)} |",
        f"| predictions a second over HTTP | {product(*cores)[0]} / {number(REQUEST.value)} CPU µs | {number(use / REQUEST.value * 1e6)} |",
        f"| the same, each client waiting for its answer | {product(*cores)[0]} / {number(ALONE.value)} CPU µs | {number(use / ALONE.value * 1e6)} |",
        f"| rows of a batch | {number(MEMORY * SHARE / GIB)} GiB / {number(ROW_PEAK)} bytes | {number(MEMORY * SHARE / ROW_PEAK)} |",
        f"| training rows of `lightgbm` | {half} / {number(LIGHTGBM.value)} bytes | {number(free[0])} |",
        f"| training rows of `gradient_boosting` | {half} / {number(BOOSTING.value)} bytes | {number(free[1])} |",
        "",
    ]


def _steps() -> Iterator[str]:
    yield from [
        "## When to take which step",
        "",
        "| when | step |",
        "|---|---|",
        "| there are several models | `trueup run --all` by one schedule: [the imports are paid once](how-to/fleet.md) |",
        f"| the fleet does not end before its next schedule | `--workers`, up to the cores; each costs {number(IMPORTS)} CPU s more a run |",
        "| idle turns are most of the cost | files that nobody wrote are not read; for SQL set [`watermark`](how-to/sources-and-sinks.md) |",
        "| a batch has more rows than the table above allows | a shorter `ingest.period`; then a sample in `query` |",
        "| a fit has more rows than the table above allows | [`lightgbm`](how-to/large-tables.md); then `train.window`; then a sample in `query` |",
        "| the cores of one machine are not enough, or it may be lost | [PostgreSQL and workers on several machines](how-to/workers.md) |",
        "| no file system can be shared | [an object store](how-to/object-store.md) |",
        "| one serving process is not enough | `trueup serve --workers`, then [several machines](how-to/serve.md#7-serve-from-several-machines) |",
        "| predictions are needed without a network, or inside another engine | [ONNX files](how-to/export.md) and [bundles](how-to/edge.md) |",
        "",
    ]


def _thousand() -> Iterator[str]:
    models, runs, retrains = 1000.0, 24.0, 1 / 30
    idle = product((models, "models"), (runs, "runs a day"), (IDLE, "CPU s"))
    batches = product((models, "models"), (1, "batch a day"), (SMALL.value, "CPU s"))
    trained = product((models, "models"), (retrains, "a day"), (FIRST.value, "CPU s"))
    started = product((runs, "runs a day"), (IMPORTS, "CPU s"))
    total = idle[1] + batches[1] + trained[1] + started[1]
    night = product((models, "models"), (SMALL.value, "CPU s"))
    kept = product((models, "models"), (YEAR, "days"), (BATCH_BYTES.value, "bytes"))
    inserted = product((models, "models"), (YEAR, "days"), (BATCH_ROWS.value, "rows"))
    files = product((models, "models"), (YEAR, "days"), (BATCH_FILES.value, "files"))
    yield from [
        "## A plan for 1,000 models",
        "",
        "1,000 small models with a batch a day each. A fleet runs every hour, so that each batch is handled within the hour, and a model",
        "retrains once a month on average.",
        "",
        "| a day | calculation | |",
        "|---|---|---|",
        row("idle turns", idle, "CPU hours", HOUR),
        row("batches", batches, "CPU hours", HOUR),
        row("retrains, as a first champion", trained, "CPU hours", HOUR),
        row("starts of the fleet", started, "CPU hours", HOUR),
        f"| together | | {number(total / HOUR)} CPU hours, {number(total / DAY)} cores |",
        "",
        "| | calculation | |",
        "|---|---|---|",
        row("the hour in which all batches arrive, one process", night, "CPU hours", HOUR),
        in_bytes("home at the start", product((models, "models"), (MODEL_BYTES.value, "bytes"))),
        in_bytes("more each year, before `trueup gc`", kept),
        row("files each year, the same", files, ""),
        row("rows in the database each year", inserted, ""),
        "",
        "Where: the fleet on one machine, with `--workers` in the hour of the batches. What breaks first, in this order:",
        "",
        f"1. The hour of the batches: in one process they end within it only if a core is free for them {night[1] / HOUR:.0%} of the time. Two workers on",
        "   two cores need half of that on each, and `--tag` spreads groups of models over the day.",
        f"2. The number of files: {number(files[1])} a year. Set [`retention`](config.md#retention), so that `trueup gc` removes what no decision needs.",
        f"3. With a Prefect server each turn is a flow run, {number(models * runs)} a day, each with tasks. That was not measured. Without a server",
        "   `trueup run --all` is one process.",
        f"4. Serving: a process with 1,000 models was not measured. Each process asks PostgreSQL for the facts of {number(models / 5)} models a second. Serve groups of",
        "   models by processes of their own.",
        "5. SQLite has one writer at a time. Before a second machine runs turns, move the databases to PostgreSQL.",
        "",
    ]


def _billions() -> Iterator[str]:
    yield from [
        "## A plan for a table of 10 billion rows",
        "",
        "10 billion rows of three years in a warehouse, 22 features, with a batch a day. First everything through Trueup, then the plan.",
        "",
        *_everything(10e9, 3 * YEAR),
        *_sampled(10e9, 3 * YEAR, 0.01),
    ]


def _everything(rows: float, days: float) -> Iterator[str]:
    daily, fit = rows / days, product((rows, "rows"), (LIGHTGBM.value, "bytes"))
    batch = product((daily, "rows"), (ROW_PEAK, "bytes"))
    fitted = (64 * GIB - FIT_BASE.value * MIB) / LIGHTGBM.value
    yield from [
        "| all rows | calculation | |",
        "|---|---|---|",
        f"| a batch | {number(rows)} rows / {number(days)} days | {number(daily)} rows |",
        row("a batch's time", product((daily, "rows"), (ROW, "CPU µs")), "CPU minutes", 60e6),
        in_bytes("a batch's memory", batch),
        in_bytes("the home", product((rows, "rows"), (ROW_BYTES.value, "bytes"))),
        row("landing three years once", product((rows, "rows"), (ROW, "CPU µs")), "CPU hours", HOUR * 1e6),
        in_bytes("memory of a fit on all rows", fit),
        f"| rows of a fit in 64 GiB | (64 GiB - {number(FIT_BASE.value)} MiB) / {number(LIGHTGBM.value)} bytes | {number(fitted)}, the newest {number(fitted / daily)} days |",
        "",
        f"What breaks first: the memory of a fit ({size(fit[1])}), which `train.window` can bound to the newest {number(fitted / daily)} days in 64 GiB. Then the memory of a",
        f"batch ({size(batch[1])}), because a batch is read whole and a day is the shortest period. Then the time to land the past (set",
        f"`ingest.max_batches: {number(days)}`). The time of such a fit was not measured. A model gains little from so many rows: [the gates](gates-evidence.md)",
        "decide on blocks of time, not on single rows.",
        "",
    ]


def _sampled(rows: float, days: float, share: float) -> Iterator[str]:
    sample, daily = rows * share, rows * share / days
    yield from [
        f"So the plan takes {share:.0%} of the keys, by a hash of the key in `query`: a key is in the sample always or never, and a row's past is whole.",
        "",
        "| where | what | calculation | |",
        "|---|---|---|---|",
        f"| warehouse | the filter by hash, and joins | one scan of a day's partition | {number(rows / days)} rows a day |",
        f"| Trueup | a batch, besides its rows | as measured for 1,000 rows | {number(THOUSAND.value)} CPU s a day |",
        _placed("Trueup", "its rows", product((daily, "rows"), (ROW, "CPU µs")), "CPU s a day", 1e6),
        _placed(
            "Trueup",
            "the sample landed once",
            product((sample, "rows"), (ROW, "CPU µs")),
            "CPU hours",
            HOUR * 1e6,
        ),
        f"| Trueup | the home | {number(sample)} rows × {number(ROW_BYTES.value)} bytes | {size(sample * ROW_BYTES.value)} |",
        f"| Trueup | memory of a fit on the whole sample | {number(sample)} rows × {number(LIGHTGBM.value)} bytes | {size(sample * LIGHTGBM.value)} |",
        _placed(
            "warehouse or workers of your own",
            "all rows of a day by the ONNX file",
            product((rows / days, "rows"), (ONNX.value, "CPU µs")),
            "CPU s a day",
            1e6,
        ),
        _placed("the same", "all rows once", product((rows, "rows"), (ONNX.value, "CPU µs")), "CPU hours", HOUR * 1e6),
        "",
        "What breaks first then: rare groups. A slice needs `evaluate.min_slice_rows` (200) rows in the gate window, so it is judged only if the whole",
        f"table has {number(200 / share)} of its rows there. Next, history features: they are whole only if they group by the key of the hash, or by a column",
        "that it determines. Group by others, such as a region, in the warehouse. What the loop monitors is the sample; predictions of all",
        "other rows are not in its records, unless a sink of your own writes them.",
        "",
    ]


def _placed(where: str, what: str, calculation: tuple[str, float], unit: str, divided: float) -> str:
    return f"| {where} {row(what, calculation, unit, divided)}"
