"""Rules across the sections of a config. Each rule reads only the keys it needs, so one mistake hides no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from trueup.config.content import Location, items, keys, written
from trueup.config.durations import write_duration
from trueup.config.plugins import ROOT, Plugin
from trueup.config.policies import parse_all
from trueup.config.schema import ModelConfig
from trueup.config.sections.gates import GateConfig
from trueup.config.sections.governance import named_in
from trueup.config.tasks import Task
from trueup.config.value_checks import MIN_BLOCKS, SHORTEST
from trueup.errors import UsageError
from trueup.hints import did_you_mean
from trueup.secrecy import holds_secret

_DAY = timedelta(days=1)
_BLOCKS = [
    *(timedelta(days=n) for n in (7, 3, 2, 1)),
    *(timedelta(hours=n) for n in (12, 8, 6, 4, 3, 2, 1)),
    *(timedelta(minutes=n) for n in (30, 15, 10, 5, 1)),
]


class Mistake(NamedTuple):
    """A mistake with its fix, at a place of a config: keys and positions from the top."""

    at: Location
    what: str

    @property
    def place(self) -> str:
        """The place as people write it; positions count from 1."""
        return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in self.at).lstrip(".")

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


def contradictions(content: Mapping[str, Any], root: Path | None = None) -> Iterator[Mistake]:
    """Find contradictions in a raw config, which may have other mistakes, too; `root` is the folder of the configs."""
    yield from _leaks(content, root)
    yield from _protected(content, root)
    yield from _not_for_task(content)
    yield from _unfit_gates(content, root)
    yield from _too_few_blocks(content)
    yield from _no_policies(content, root)
    yield from _passwords(content)
    yield from _label_key(content)
    yield from _types(content)
    yield from _units(content)
    yield from _rollout(content)
    yield from _workers(content)
    yield from _monotone(content)


def meant(content: Any, *path: str, section: Any = ModelConfig, root: Path | None = None) -> Any:
    """The parsed value at a place: the default if the key is missing, None if the value is invalid."""
    key, *rest = path
    field = next(f for name, f in section.model_fields.items() if key == (f.alias or name))
    if not isinstance(content, Mapping):
        return None
    if key not in content:
        value = None if field.is_required() else field.get_default(call_default_factory=True)
        for name in rest:
            value = getattr(value, name, None)
        return value
    if rest:
        return meant(content[key], *rest, section=field.annotation, root=root)
    kind: Any = Annotated[field.annotation, field]
    try:
        return TypeAdapter(kind).validate_python(content[key], context={ROOT: root})
    except ValidationError:
        return None


# Secrets in the file


def _passwords(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find passwords: records of decisions contain the config."""
    for at in (("ingest", "source"), ("ingest", "label", "source"), ("score", "sink")):
        for key in keys(content, *at):
            text = written(content, *at, key)
            if isinstance(text, str) and holds_secret(text):
                yield Mistake((*at, key), "holds a password; write ${NAME} and set NAME in the environment")


# The outcome among the inputs


def _leaks(content: Mapping[str, Any], root: Path | None) -> Iterator[Mistake]:
    outcome = {meant(content, "ingest", "label", "column")}
    if written(content, "ingest", "label", "source") is None:  # otherwise it is a column of another table
        outcome.add(meant(content, "ingest", "label", "known_at"))
    outcome -= {None}
    for at, column in inputs(content, root):
        if isinstance(column, str) and column in outcome:
            mend = "write `of: label`" if at[-1] == "of" else "remove it"
            yield Mistake(at, f"{column} is known only with the label; {mend}")


def _protected(content: Mapping[str, Any], root: Path | None) -> Iterator[Mistake]:
    """Find features of forbidden columns, and of columns with personal data without a reason."""
    named = {key: meant(content, "governance", key) or [] for key in ("forbidden", "personal", "personal_inputs")}
    served = [name for _, name in items(content, "serve", "personal")]
    custom = written(content, "features", "custom") is not None  # its function gets the kept columns
    for at, column in inputs(content, root):
        of_features = at[0] == "features" or (custom and at[:2] == ("ingest", "keep"))
        if not of_features or not isinstance(column, str):
            continue
        if named_in(column, named["forbidden"]):
            yield Mistake(at, f"{column} is in governance.forbidden: no feature may be made of it; remove it")
        if not named_in(column, named["personal"]):
            continue
        if column not in named["personal_inputs"]:
            why = "say in governance.personal_inputs why the model needs it"
            yield Mistake(at, f"{column} is in governance.personal; remove it, or {why}")
        elif written(content, "serve") is not None and column not in served:
            yield Mistake(("serve",), f"{column} is in governance.personal; name it in serve.personal, too")


def _label_key(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find reasons why outcomes of another source cannot be joined to the rows."""
    place = ("ingest", "label", "key")
    key, names = written(content, "ingest", "key"), written(content, *place)
    names = names if isinstance(names, Mapping) else {}
    if written(content, "ingest", "label", "source") is None:
        if names:
            yield Mistake(place, "is for outcomes of a second source; add `source` to the label, or remove it")
        return
    if key == []:
        yield Mistake(("ingest", "key"), "outcomes of a second source are joined by key; name its columns")
    key = [name for name in key if isinstance(name, str)] if isinstance(key, list) else []
    for name in names:
        if key and name not in key:
            yield Mistake(
                (*place, name), f"is not a column of ingest.key ({', '.join(key)}); use one of these, or remove it"
            )
    there = {name: named for name in key if isinstance(named := names.get(name, name), str)}
    for name, named in there.items():
        at = (*place, name) if name in names else ("ingest", "key")
        if twice := next((other for other in list(there)[: list(there).index(name)] if there[other] == named), None):
            yield Mistake(at, f"{twice} and {name} both map to {named} in the label source; name two different columns")
        for what in ("column", "known_at"):
            if named == written(content, "ingest", "label", what):
                mend = f"map {name} to its column there in ingest.label.key"
                yield Mistake(
                    at, f"{named} is the label source's ingest.label.{what}, which cannot be part of the key; {mend}"
                )


def _types(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find columns with a declared type that their use does not allow."""
    declared = written(content, "ingest", "types")
    for name, kind in declared.items() if isinstance(declared, Mapping) else ():
        used = [(use, takes) for column, use, takes in _uses(content) if column == name and kind not in takes]
        if isinstance(kind, str) and used:
            uses = " and ".join(f"{use} (which takes {' or '.join(takes)})" for use, takes in used)
            what = f"{name} is declared as {kind} and used as {uses}; change the type, or remove the column from one of the places"
            yield Mistake(("ingest", "types", name), what)


def _uses(content: Mapping[str, Any]) -> Iterator[tuple[Any, str, tuple[str, ...]]]:
    """Yield each column with a use that limits its type: the column, the use, the allowed types."""
    numbers, times = ("number", "integer", "boolean"), ("time",)
    yield written(content, "ingest", "time"), "ingest.time", times
    yield from ((name, "features.calendar", times) for name in keys(content, "features", "calendar"))
    yield from ((name, "features.numeric", numbers) for _, name in items(content, "features", "numeric"))
    yield from ((name, "ingest.coerce", numbers) for _, name in items(content, "ingest", "coerce"))
    yield from (
        (name, "ingest.key", ("text", "integer", "boolean", "time")) for _, name in items(content, "ingest", "key")
    )
    for _, history in items(content, "features", "history"):
        if written(history, "of") not in {None, "label"} and written(history, "aggregate") in {None, "mean"}:
            yield written(history, "of"), "the values of features.history", numbers
    if written(content, "ingest", "label", "source") is not None:
        return
    yield written(content, "ingest", "label", "known_at"), "ingest.label.known_at", times
    if meant(content, "task") is Task.REGRESSION or written(content, "ingest", "label", "above") is not None:
        yield written(content, "ingest", "label", "column"), "an outcome that is a number", numbers


def _units(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find units of inputs that the model does not have. The names of custom features are not known before they run."""
    if written(content, "features", "custom") is not None:
        return
    names = [name for kind in ("numeric", "categorical") for _, name in items(content, "features", kind)]
    for column in keys(content, "features", "calendar"):
        names += [f"{column}_{part}" for _, part in items(content, "features", "calendar", str(column))]
    prefixes = tuple(f"{written(history, 'name')}_" for _, history in items(content, "features", "history"))
    for name in keys(content, "export", "units"):
        if name not in names and not str(name).startswith(prefixes):
            hint = did_you_mean(str(name), map(str, names), "correct or remove it")
            yield Mistake(("export", "units", name), f"the model has no input of that name; {hint}")


def _workers(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """`train.dask_workers` fits LightGBM only."""
    families = meant(content, "train", "families")
    if meant(content, "train", "dask_workers") is not None and families is not None and "lightgbm" not in families:
        yield Mistake(
            ("train", "dask_workers"),
            "fits the family lightgbm only; add it to train.families, or remove train.dask_workers",
        )


def _monotone(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find a method for monotone features that LightGBM would replace by `basic` with no more than a warning."""
    place = ("train", "parameters", "lightgbm")
    at = (*place, "monotone_constraints_method")
    if (method := written(content, *at)) in (None, "basic"):
        return
    if meant(content, "train", "dask_workers") is not None:
        what = f"lightgbm.dask uses the method basic whatever is set here ({method}); remove it, or remove train.dask_workers"
        yield Mistake(at, what)
    elif written(content, *place, "feature_fraction_bynode") != 1:
        what = (
            f"LightGBM uses the method basic instead of {method} unless feature_fraction_bynode is 1, and the search chooses it "
            "from 0.1 to 1; set feature_fraction_bynode: 1 beside it, or remove it"
        )
        yield Mistake(at, what)


def _rollout(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find a rollout that would never get a request."""
    if written(content, "promote", "rollout") is not None and written(content, "serve") is None:
        mend = "add `serve: {}`, or remove it"
        yield Mistake(("promote", "rollout"), f"a rollout needs the traffic of `trueup serve`; {mend}")


def inputs(content: Mapping[str, Any], root: Path | None = None) -> Iterator[tuple[Location, Any]]:
    """Yield every place that names a column of the rows, with the value there."""
    for path in (("ingest", "key"), ("ingest", "keep"), ("evaluate", "slices")):
        yield from items(content, *path)
    for kind in ("numeric", "categorical"):
        yield from items(content, "features", kind)
    yield ("ingest", "time"), written(content, "ingest", "time")
    for section, key in (("features", "calendar"), ("validate", "max_missing")):
        yield from (((section, key, column), column) for column in keys(content, section, key))
    for at, history in items(content, "features", "history"):
        for entry_at, entry in items(history, "by"):
            columns = entry if isinstance(entry, list) else [entry]
            yield from (((*at, *entry_at), column) for column in columns)
        if (of := written(history, "of")) != "label":
            yield (*at, "of"), of
    for at, expectation in items(content, "validate", "expectations"):
        for key in ("column", "column_A", "column_B"):
            yield (*at, "kwargs", key), written(expectation, "kwargs", key)
        for rest, column in items(expectation, "kwargs", "column_list"):
            yield (*at, *rest), column
    for_gates = (
        (at, place, column) for at, kind, gate in _gates(content, root) for place, column in kind.named_columns(gate)
    )
    yield from (((*at, *place), column) for at, place, column in for_gates)


def sentinels(content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
    """Yield every column for which "missing" values are declared."""
    yield from ((("ingest", "missing", name), name) for name in keys(content, "ingest", "missing") if name != "*")


def _gates(content: Any, root: Path | None) -> Iterator[tuple[Location, type[Plugin], Mapping[str, Any]]]:
    """The gates of a known kind: their places, classes and keys."""
    for at, gate in items(content, "promote", "gates"):
        with suppress(ValueError):
            if isinstance(gate, Mapping):
                yield at, GateConfig.KINDS.find(str(gate.get("kind")), root), gate


# Keys that the task does not have


def _not_for_task(content: Mapping[str, Any]) -> Iterator[Mistake]:
    if (task := meant(content, "task")) is None:
        return
    for key in ("above", "positive"):
        if task is not Task.BINARY and written(content, "ingest", "label", key) is not None:
            yield Mistake(("ingest", "label", key), f"is for a binary task, this one is {task}; remove it")
    for at, history in items(content, "features", "history"):
        of_label = written(history, "of") in {None, "label"}
        if task is Task.MULTICLASS and of_label and written(history, "aggregate") in {None, "mean"}:
            yield Mistake((*at, "aggregate"), "a multiclass label has no mean; write `aggregate: rate` with `equals`")


def _unfit_gates(content: Mapping[str, Any], root: Path | None) -> Iterator[Mistake]:
    if (task := meant(content, "task")) is not None:
        features = written(content, "features")
        for at, kind, gate in _gates(content, root):
            assert issubclass(kind, GateConfig)
            yield from (Mistake((*at, *place), what) for place, what in kind.problems(gate, task, features))
            if gate.get("kind") == "features" and written(content, "evaluate", "ablation") is None:
                yield Mistake(
                    (*at, "kind"), "judges what `evaluate.ablation` measures; add `ablation: {}` to `evaluate`"
                )


def _no_policies(content: Mapping[str, Any], root: Path | None) -> Iterator[Mistake]:
    """Find policies of a replay that cannot be parsed or occur twice."""
    texts, earlier = meant(content, "replay", "policies", root=root) or [], set[str]()
    for number, text in enumerate(texts):
        try:
            names = {p.name for p in parse_all([text])}
        except UsageError as error:
            yield Mistake(("replay", "policies", number), str(error))
            continue
        if twice := sorted(names & earlier):
            yield Mistake(("replay", "policies", number), f"the policy {twice[0]!r} occurs twice; remove one")
        earlier |= names


# Enough blocks of time for an interval


@dataclass(frozen=True)
class _BlockSpan:
    """A span that must contain enough blocks. `at` is the key that sets its length, if the file has it."""

    at: Location
    length: timedelta
    words: str
    otherwise: str
    longer: str = ""  # how to make it long enough for a block of this size


def _too_few_blocks(content: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find spans with too few blocks, with fixes after which all spans have enough."""
    block = meant(content, "evaluate", "block")
    if block is None:
        return
    spans = list(_spans(content, block))
    short = [span for span in spans if span.length // block < MIN_BLOCKS]
    mends = [f"evaluate.block to `{write_duration(fitting)}`"] if (fitting := _fitting(spans)) else []
    if all(span.longer for span in short):
        mends.append(" and ".join(span.longer for span in short))
    messages: dict[Location, str] = {}
    for span in short:
        # If a length is the default, the key in the file is the block, or the period if both are defaults.
        written_at = [at for at in (span.at, ("evaluate", "block")) if written(content, *map(str, at)) is not None]
        if span.at == ("ingest", "period"):
            written_at.reverse()
        messages.setdefault(
            (written_at or [("ingest", "period")])[0],
            f"{span.words} {span.length // block} of evaluate.block ({write_duration(block)}), and with fewer than "
            f"{MIN_BLOCKS} {span.otherwise}; set {', or '.join(mends)}",
        )
    yield from map(Mistake, messages.keys(), messages.values())


def _spans(content: Mapping[str, Any], block: timedelta) -> Iterator[_BlockSpan]:
    """The spans with a valid length."""
    period = meant(content, "ingest", "period")
    window = meant(content, "promote", "gate_window")
    days = meant(content, "promote", "min_new_days")
    enough = MIN_BLOCKS * block
    if period is not None:
        words = "no batch could be diagnosed: all would be `unknown`"
        yield _BlockSpan(("ingest", "period"), SHORTEST[period], f"a {period} holds", words)
    if written(content, "promote", "gates") == []:
        return  # only the first champion is judged, on more than that
    consequence = "no challenger could be judged: all would be held"
    if window is not None:
        words = f"promote.gate_window ({write_duration(window)}) holds"
        longer = f"promote.gate_window to `{write_duration(enough)}`"
        yield _BlockSpan(("promote", "gate_window"), window, words, consequence, longer)
    if days is not None and period is not None:
        least = _least_new(content, period, timedelta(days=days))
        words = (
            f"half of {write_duration(least)} of new labels, the least that a retrain has "
            f"(promote.min_new_days: {days:g}), holds"
        )
        longer = f"promote.min_new_days to `{2 * enough / _DAY:g}`"
        yield _BlockSpan(("promote", "min_new_days"), least / 2, words, consequence, longer)


def _least_new(content: Mapping[str, Any], period: str, least: timedelta) -> timedelta:
    """The shortest span of new labels for which a challenger is trained.

    Batches arrive whole. If labels are known sooner than `promote.min_new_days`, the new labels are at least one
    period, minus the rows at its end without a known label.
    """
    delay: timedelta | None = meant(content, "ingest", "label", "known_after")
    return least if delay is None or delay >= least else max(least, SHORTEST[period] - delay)


def _fitting(spans: list[_BlockSpan]) -> timedelta | None:
    """The longest convenient block that fits often enough into all spans."""
    return next((block for block in _BLOCKS if all(s.length // block >= MIN_BLOCKS for s in spans)), None)
