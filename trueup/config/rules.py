"""What the parts of a config must be to each other. Each looks only at the parts it needs, so one mistake hides no other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from trueup.config.durations import write_duration
from trueup.config.policies import parse_all
from trueup.config.schema import ModelConfig
from trueup.config.tasks import CALIBRATION, FAIRNESS, METRICS, PAIRED, Task
from trueup.config.value_checks import MIN_BLOCKS, SHORTEST
from trueup.errors import UsageError

Location = tuple[int | str, ...]

_DAY = timedelta(days=1)
_BLOCKS = [
    *(timedelta(days=n) for n in (7, 3, 2, 1)),
    *(timedelta(hours=n) for n in (12, 8, 6, 4, 3, 2, 1)),
    *(timedelta(minutes=n) for n in (30, 15, 10, 5, 1)),
]


class Mistake(NamedTuple):
    """What is wrong, and the mend, at a place of a config: keys and positions, from the top."""

    at: Location
    what: str

    @property
    def place(self) -> str:
        """The place as people write it, positions counted from 1."""
        return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in self.at).lstrip(".")

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def contradictions(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find what contradicts itself in a config as it is written, which may have mistakes of other kinds too."""
    yield from _leaks(content)
    yield from _not_for_task(content)
    yield from _changes_nothing(content)
    yield from _too_few_blocks(content)
    yield from _no_policies(content)
    yield from _passwords(content)
    yield from _label_key(content)
    yield from _types(content)


def written(content: Any, *path: str) -> Any:
    """What stands at a place of the YAML; None where nothing does."""
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def meant(content: Any, *path: str, section: Any = ModelConfig) -> Any:
    """What the schema makes of a place: its default where nothing is written, None where what is written is wrong."""
    key, *rest = path
    field = next(f for name, f in section.model_fields.items() if key == (f.alias or name))
    if not isinstance(content, Mapping):
        return None
    if key not in content:
        value = None if field.is_required() else field.default
        for name in rest:
            value = getattr(value, name, None)
        return value
    if rest:
        return meant(content[key], *rest, section=field.annotation)
    kind: Any = Annotated[field.annotation, field]
    try:
        return TypeAdapter(kind).validate_python(content[key])
    except ValidationError:
        return None


# Secrets in the file

_PASSWORD = re.compile(
    r"://[^:/@?#]*:(?P<user>.*)@|[?&]\w*(?:pass|pwd|secret|token)\w*=(?P<query>[^&]*)", re.IGNORECASE
)
_VARIABLES = re.compile(r"(?:\$\{\w+\})*")


def _passwords(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """What stands in a config stands in the records of decisions, too: it is no place for a secret."""
    for at in (("ingest", "source", "url"), ("ingest", "label", "source", "url"), ("score", "sink", "url")):
        url = written(content, *at)
        for found in _PASSWORD.finditer(url) if isinstance(url, str) else ():
            if not _VARIABLES.fullmatch(found["user"] or found["query"] or ""):
                yield Mistake(at, "a password stands in it; write ${NAME} and set NAME in the environment")


# The outcome among the inputs


def _leaks(content: Mapping[str, Any]) -> Iterator[Mistake]:
    outcome = {meant(content, "ingest", "label", "column")}
    if written(content, "ingest", "label", "source") is None:  # else it is a column of another table than the rows'
        outcome.add(meant(content, "ingest", "label", "known_at"))
    outcome -= {None}
    for at, column in inputs(content):
        if isinstance(column, str) and column in outcome:
            mend = "write `of: label`" if at[-1] == "of" else "take it out"
            yield Mistake(at, f"{column} is known only with the label; {mend}")


def _label_key(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """What cannot join outcomes of another source to the rows."""
    place = ("ingest", "label", "key")
    key, names = written(content, "ingest", "key"), written(content, *place)
    names = names if isinstance(names, Mapping) else {}
    if written(content, "ingest", "label", "source") is None:
        if names:
            yield Mistake(place, "is for outcomes from a second source; add `source` to the label, or take it out")
        return
    if key == []:
        yield Mistake(("ingest", "key"), "outcomes of a second source are joined by key; name the columns of it")
    key = [name for name in key if isinstance(name, str)] if isinstance(key, list) else []
    for name in names:
        if key and name not in key:
            yield Mistake(
                (*place, name), f"is no column of ingest.key ({', '.join(key)}); write one of these, or take it out"
            )
    there = {name: named for name in key if isinstance(named := names.get(name, name), str)}
    for name, named in there.items():
        at = (*place, name) if name in names else ("ingest", "key")
        if twice := next((other for other in list(there)[: list(there).index(name)] if there[other] == named), None):
            yield Mistake(at, f"{twice} and {name} are both called {named} in the label source; name two columns of it")
        for what in ("column", "known_at"):
            if named == written(content, "ingest", "label", what):
                mend = f"say in ingest.label.key how {name} is called there"
                yield Mistake(at, f"{named} is the label source's ingest.label.{what}, and no part of its key; {mend}")


def _types(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Columns that are declared as something else than what they are used for takes."""
    declared = written(content, "ingest", "types")
    for name, kind in declared.items() if isinstance(declared, Mapping) else ():
        used = [(use, takes) for column, use, takes in _uses(content) if column == name and kind not in takes]
        if isinstance(kind, str) and used:
            said = " and ".join(f"{use} (which takes {' or '.join(takes)})" for use, takes in used)
            what = f"{name} is declared as {kind} and used as {said}; declare it so, or take it out of either place"
            yield Mistake(("ingest", "types", name), what)


def _uses(content: Mapping[str, Any]) -> Iterator[tuple[Any, str, tuple[str, ...]]]:
    """The columns whose use says of which types they may be: the column, its use, and these types."""
    numbers, times = ("number", "integer", "boolean"), ("time",)
    yield written(content, "ingest", "time"), "ingest.time", times
    yield from ((name, "features.calendar", times) for name in _keys(content, "features", "calendar"))
    yield from ((name, "features.numeric", numbers) for _, name in _items(content, "features", "numeric"))
    yield from ((name, "ingest.coerce", numbers) for _, name in _items(content, "ingest", "coerce"))
    yield from (
        (name, "ingest.key", ("text", "integer", "boolean", "time")) for _, name in _items(content, "ingest", "key")
    )
    for _, history in _items(content, "features", "history"):
        if written(history, "of") not in {None, "label"} and written(history, "aggregate") in {None, "mean"}:
            yield written(history, "of"), "the values of features.history", numbers
    if written(content, "ingest", "label", "source") is not None:
        return
    yield written(content, "ingest", "label", "known_at"), "ingest.label.known_at", times
    if meant(content, "task") is Task.REGRESSION or written(content, "ingest", "label", "above") is not None:
        yield written(content, "ingest", "label", "column"), "an outcome that is a number", numbers


def inputs(content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
    """Every place that names a column of the rows, with what stands there."""
    for path in (("ingest", "key"), ("ingest", "keep"), ("evaluate", "slices")):
        yield from _items(content, *path)
    for kind in ("numeric", "categorical"):
        yield from _items(content, "features", kind)
    yield ("ingest", "time"), written(content, "ingest", "time")
    for section, key in (("features", "calendar"), ("validate", "max_missing")):
        yield from (((section, key, column), column) for column in _keys(content, section, key))
    for at, history in _items(content, "features", "history"):
        for entry_at, entry in _items(history, "by"):
            keys = entry if isinstance(entry, list) else [entry]
            yield from (((*at, *entry_at), key) for key in keys)
        if (of := written(history, "of")) != "label":
            yield (*at, "of"), of
    for at, expectation in _items(content, "validate", "expectations"):
        for key in ("column", "column_A", "column_B"):
            yield (*at, "kwargs", key), written(expectation, "kwargs", key)
        for rest, column in _items(expectation, "kwargs", "column_list"):
            yield (*at, *rest), column

    yield from _judged(content)


def sentinels(content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
    """Every column, of the rows or of the label, whose values that mean "none" are named."""
    yield from ((("ingest", "missing", name), name) for name in _keys(content, "ingest", "missing") if name != "*")


def _keys(content: Any, *path: str) -> list[Any]:
    """The keys of a mapping; none where no mapping is."""
    found = written(content, *path)
    return list(found) if isinstance(found, Mapping) else []


def _judged(content: Any) -> Iterator[tuple[Location, Any]]:
    """The places of gates that name a column."""
    for at, gate in _gates(content, "fairness"):
        yield from (((*at, *rest), column) for rest, column in _items(gate, "columns"))
    yield from (((*at, "column"), written(check, "column")) for at, check in _behaviour(content))


def _gates(content: Any, kind: str) -> Iterator[tuple[Location, Any]]:
    """The gates of a kind, with their places."""
    return ((at, gate) for at, gate in _items(content, "promote", "gates") if written(gate, "kind") == kind)


def _behaviour(content: Any) -> Iterator[tuple[Location, Any]]:
    """The checks of the behaviour gates, with their places."""
    for at, gate in _gates(content, "behaviour"):
        yield from (((*at, *rest), check) for rest, check in _items(gate, "checks"))


def _items(content: Any, *path: str) -> Iterator[tuple[Location, Any]]:
    """The items of a list, with their places; none where no list is."""
    found = written(content, *path)
    for position, item in enumerate(found if isinstance(found, list) else ()):
        yield (*path, position), item


# What the task does not have


def _not_for_task(content: Mapping[str, Any]) -> Iterator[Mistake]:
    if (task := meant(content, "task")) is None:
        return
    for key in ("above", "positive"):
        if task is not Task.BINARY and written(content, "ingest", "label", key) is not None:
            yield Mistake(("ingest", "label", key), f"is for a binary task, this one is {task}; take it out")
    for at, history in _items(content, "features", "history"):
        of_label = written(history, "of") in {None, "label"}
        if task is Task.MULTICLASS and of_label and written(history, "aggregate") in {None, "mean"}:
            yield Mistake((*at, "aggregate"), "a multiclass label has no mean; write `aggregate: rate` with `equals`")
    yield from _gates_not_for_task(content, task)


def _gates_not_for_task(content: Mapping[str, Any], task: Task) -> Iterator[Mistake]:
    known_by_kind = {"absolute": METRICS, "paired": PAIRED, "fairness": FAIRNESS, "calibration": CALIBRATION}
    for kind, metrics in known_by_kind.items():
        for at, gate in _gates(content, kind):
            metric = written(gate, "metric")
            if isinstance(metric, str) and metric not in metrics[task]:
                known = ", ".join(metrics[task])
                yield Mistake((*at, "metric"), f"a {task} task has no metric {metric!r}; it has {known}")
    for at, gate in _gates(content, "fairness"):
        if task is not Task.BINARY and written(gate, "threshold") is not None:
            yield Mistake((*at, "threshold"), f"is for a binary task, this one is {task}; take it out")
    for at, check in _behaviour(content):
        if task is Task.MULTICLASS and written(check, "kind") == "direction":
            what = "the prediction of a multiclass task has no direction; ask for invariance, or take it out"
            yield Mistake((*at, "kind"), what)


def _no_policies(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """What a replay is to compare, and could not read."""
    texts, known = meant(content, "replay", "policies") or [], set[str]()
    for number, text in enumerate(texts):
        try:
            names = {p.name for p in parse_all([text])}
        except UsageError as error:
            yield Mistake(("replay", "policies", number), str(error))
            continue
        if twice := sorted(names & known):
            yield Mistake(
                ("replay", "policies", number), f"the policy {twice[0]!r} is given twice; each once is enough"
            )
        known |= names


def _changes_nothing(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Behaviour checks that could not fail, for no feature would change with the column."""
    if written(content, "features", "custom") is not None:
        return  # what it reads is not known
    numeric = {column for _, column in _items(content, "features", "numeric") if isinstance(column, str)}
    others = {column for _, column in _items(content, "features", "categorical") if isinstance(column, str)}
    calendar = written(content, "features", "calendar")
    others |= set(calendar) if isinstance(calendar, Mapping) else set()
    for at, check in _behaviour(content):
        column, place = written(check, "column"), (*at, "column")
        if not isinstance(column, str):
            continue
        if column not in numeric | others:
            what = "no feature would change with it (history features stay as they were); name a column of features"
            yield Mistake(place, f"{column}: {what}.numeric, .categorical or .calendar")
        elif column not in numeric and (written(check, "raise_by") or written(check, "shift")) is not None:
            yield Mistake(place, f"{column} is not of features.numeric, and only numbers can be raised or shifted")


# Blocks of time enough for an interval


@dataclass(frozen=True)
class _Held:
    """A span that must hold blocks enough. `at` is the key that sets its length, if the file has it."""

    at: Location
    length: timedelta
    words: str
    otherwise: str
    longer: str = ""  # how to make it long enough for a block


def _too_few_blocks(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Say where a batch or a gate window holds too few blocks; with the mends that make all of them hold enough."""
    block = meant(content, "evaluate", "block")
    if block is None:
        return
    spans = list(_spans(content, block))
    short = [span for span in spans if span.length // block < MIN_BLOCKS]
    mends = [f"evaluate.block to `{write_duration(fitting)}`"] if (fitting := _fitting(spans)) else []
    if all(span.longer for span in short):
        mends.append(" and ".join(span.longer for span in short))
    told: dict[Location, str] = {}
    for span in short:
        # Where a length is the default, the block is what stands in the file; or the period, beside two defaults.
        given = [at for at in (span.at, ("evaluate", "block")) if written(content, *map(str, at)) is not None]
        if span.at == ("ingest", "period"):
            given.reverse()
        told.setdefault(
            (given or [("ingest", "period")])[0],
            f"{span.words} {span.length // block} of evaluate.block ({write_duration(block)}), and with fewer than "
            f"{MIN_BLOCKS} {span.otherwise}; set {', or '.join(mends)}",
        )
    yield from map(Mistake, told.keys(), told.values())


def _spans(content: Mapping[str, Any], block: timedelta) -> Iterator[_Held]:
    """The spans of which the schema understands the lengths."""
    period = meant(content, "ingest", "period")
    window = meant(content, "promote", "gate_window")
    days = meant(content, "promote", "min_new_days")
    enough = MIN_BLOCKS * block
    if period is not None:
        words = "no batch could be diagnosed: all would be `unknown`"
        yield _Held(("ingest", "period"), SHORTEST[period], f"a {period} holds", words)
    if written(content, "promote", "gates") == []:
        return  # nobody is judged but the first champion, who has more than that
    held = "no challenger could be judged: all would be held"
    if window is not None:
        words = f"promote.gate_window ({write_duration(window)}) holds"
        longer = f"promote.gate_window to `{write_duration(enough)}`"
        yield _Held(("promote", "gate_window"), window, words, held, longer)
    if days is not None and period is not None:
        least = _least_new(content, period, timedelta(days=days))
        words = (
            f"half of {write_duration(least)} of new labels, the least that a retrain has "
            f"(promote.min_new_days: {days:g}), holds"
        )
        longer = f"promote.min_new_days to `{2 * enough / _DAY:g}`"
        yield _Held(("promote", "min_new_days"), least / 2, words, held, longer)


def _least_new(content: Mapping[str, Any], period: str, least: timedelta) -> timedelta:
    """The shortest span of new labels that a challenger is trained with.

    Batches come whole. Where labels are known sooner than `promote.min_new_days`, what is new is a period at least, less
    the rows at its end whose labels are not yet known.
    """
    delay: timedelta | None = meant(content, "ingest", "label", "known_after")
    return least if delay is None or delay >= least else max(least, SHORTEST[period] - delay)


def _fitting(spans: list[_Held]) -> timedelta | None:
    """The longest handy block of which all spans hold enough."""
    return next((block for block in _BLOCKS if all(s.length // block >= MIN_BLOCKS for s in spans)), None)
