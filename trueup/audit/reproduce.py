"""Reproduce: make a version again from what its decision recorded, and list the differences.

The recorded revisions of the data are read by their digests, with the recorded recipe, config, features and seed. The
result is compared with the record: rows, predictions and metrics on the gate rows, and the registered model's files.
Ledger, registry and store are not changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.adapters.git import code_facts
from trueup.adapters.onnx import ONNX_FILE
from trueup.audit.snapshot import find, laid_out
from trueup.config.load import load_model, sound_name
from trueup.domain.data.digest import config_text
from trueup.domain.judging.gates import CHALLENGER
from trueup.domain.judging.metrics import metrics
from trueup.domain.learning.learning import class_names, predict, predict_each
from trueup.domain.learning.recipe import Recipe
from trueup.domain.types import LABEL, ROW_ID, Window
from trueup.errors import ClusterFailed, RegistryUnavailable, TrueupError, UntrustedModel, UsageError, WorkError
from trueup.governance.ledger_queries import part_about, versions_of
from trueup.governance.recorded_inputs import config_then, modules_then
from trueup.handoffs import Role, prediction_of
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.ledger.record import Challenge, Made
from trueup.model import Model
from trueup.stages.export import make_form
from trueup.stages.features import Examples, examples
from trueup.stages.train import data_digest, fit_recipe

TOLERANCE: Final = 1e-9  # of a prediction and of a metric: what another processor's last bits may do to a sum
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Difference:
    """One thing that is not what was recorded."""

    about: str  # ledger, input, config, function, rows, predictions, metric, model; commit, changes, package, setting
    what: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}"


@dataclass(frozen=True)
class Reproduced:
    """The result of making a version again."""

    model: str
    version: int
    role: Role
    sequence: int  # of the ledger entry that records it
    outcome: str
    rows: int = 0  # gate rows on which predictions were compared
    exact: bool = False  # every prediction is equal to its last bit
    largest: float | None = None  # of the differences of predictions, of the model's or of the judged twin's
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)  # by name: recorded, rebuilt
    tolerance: float = TOLERANCE
    onnx: str = ""  # the ONNX form in words
    trained_in: str = ""  # another home, in words, if it was received; then it is judged again, and not trained
    differences: tuple[Difference, ...] = ()  # in what must be the same
    circumstances: tuple[Difference, ...] = ()  # in code, packages and settings; alone they are no failure

    @property
    def same(self) -> bool:
        """Whether all that was recorded came out again."""
        return not self.differences and self.rows > 0

    @property
    def message(self) -> str:
        """The result in words."""
        if not self.same:
            return f"not the same: {'; '.join(map(str, self.differences)) or 'there were no rows to compare'}"
        how = "to the last bit" if self.exact else f"within {self.tolerance:g}, the most by {self.largest:.3g}"
        same = f"the same: predictions on {self.rows:,} gate rows, {how}, and the registered files"
        return f"{same}; it was received, and only {self.trained_in} can train it again" if self.trained_in else same


@dataclass(frozen=True)
class _Record:
    """A decision, and one of its versions."""

    entry: Entry
    version: int

    @property
    def body(self) -> Challenge:
        return self.entry.challenge

    @property
    def role(self) -> Role:
        return "judged" if self.version == self.body.judged.version else "refitted"

    @property
    def own(self) -> Made:
        return part_about(self.entry, self.version)

    @property
    def gate(self) -> Window:
        return self.body.gate

    @property
    def train(self) -> Window:
        return Window(self.body.model.trained_from, self.gate.start)

    @property
    def recipe(self) -> Recipe:
        return self.body.model.recipe


def reproduce(model: str, version: int, home: Home) -> Reproduced:
    """Make a version again and compare. Raises UsageError when no decision names it, ClusterFailed without its workers.

    A version that was received is not trained again, because its training rows are elsewhere; its judgement is. Inputs that are gone or changed are differences, not errors: the rest is still compared.
    """
    record = _record(sound_name(model), version, home)
    result = Reproduced(
        model,
        version,
        record.role,
        record.entry.seq,
        record.entry.kind,
        trained_in=origin.place if (origin := record.body.received) else "",
        circumstances=_circumstances(record, home),
    )
    edited = [Difference("ledger", str(p)) for p in home.ledger.verify() if p.seq == record.entry.seq]
    try:
        rebuilt = _rebuilt(record, home)
    except ClusterFailed:  # nothing was compared, and nothing is known to differ
        raise
    except (TrueupError, _Gone) as error:
        rebuilt = _Rebuilt(error.differences if isinstance(error, _Gone) else [Difference("rows", str(error))])
    return replace(
        result,
        rows=rebuilt.rows,
        exact=rebuilt.exact,
        largest=rebuilt.largest,
        metrics=rebuilt.metrics,
        onnx=rebuilt.onnx,
        differences=(*edited, *rebuilt.differences),
    )


class _Gone(Exception):
    """An input of the version is missing, so it cannot be made again."""

    def __init__(self, differences: list[Difference]) -> None:
        super().__init__("; ".join(map(str, differences)))
        self.differences = differences


@dataclass
class _Rebuilt:
    """The comparisons so far."""

    differences: list[Difference] = field(default_factory=list)
    rows: int = 0
    exact: bool = False
    largest: float | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    onnx: str = ""

    def compare(self, what: str, was: np.ndarray[Any, Any], now: np.ndarray[Any, Any]) -> None:
        """Compare predictions about the same rows, (n,) or (n, k)."""
        apart = np.abs(now - was).reshape(len(was), -1).max(axis=1)
        largest = float(apart.max())
        self.exact = self.exact and bool(np.array_equal(was, now))
        self.largest = max(largest, self.largest or 0.0)
        if (other := int((~(apart <= TOLERANCE)).sum())) > 0:
            share = f"{other:,} of {len(was):,} {what} differ by more than {TOLERANCE:g}"
            self.differences.append(Difference("predictions", f"{share}, the most by {largest:.3g}"))


def _record(model: str, version: int, home: Home) -> _Record:
    """The first decision on a version: a later approval or rollback only repeats it."""
    judging = [e for e in home.ledger.entries(model) if e.body.judged]
    if (entry := next((e for e in judging if version in versions_of(e)), None)) is not None:
        return _Record(entry, version)
    versions = {v for e in judging for v in versions_of(e)}
    if not versions:
        load_model(home.configs, model)  # its error lists the models
        raise UsageError(f"{model}: no version has been decided on yet; next: trueup run {model}")
    raise UsageError(
        f"{model}: no decision names version {version}; those that can be made again: "
        f"{', '.join(map(str, sorted(versions)))}; see `trueup ledger show {model}`"
    )


def _rebuilt(record: _Record, home: Home) -> _Rebuilt:
    """Make it again, and compare. Raises _Gone when an input is missing."""
    gone, config, modules = list[Difference](), None, dict[str, bytes]()
    try:
        config = config_then(record.entry.model, record.body, home)
    except WorkError as error:
        gone.append(Difference("config", str(error)))
    try:
        custom = config.features.custom if config else None
        modules = modules_then(record.entry.model, record.body, home, custom)
    except WorkError as error:
        gone.append(Difference("function", str(error)))
    inputs, wrong = find(record.body.inputs, home)
    gone += [Difference("input", what) for what in wrong]
    if config is None or gone:
        stored = _Rebuilt()
        _registered(record, home, stored)  # its files can be looked at all the same
        raise _Gone(gone + stored.differences)
    with laid_out(Model(config, home), inputs, modules, record.entry.as_of) as then:
        return _compared(record, Model(config, home), then)


def _compared(record: _Record, model: Model, then: Home) -> _Rebuilt:
    as_of, done = record.entry.as_of, _Rebuilt(exact=True)
    gate = examples(Model(model.config, then), record.gate, as_of)
    if record.body.received is not None:  # the rows of its training are elsewhere
        if (registered := _registered(record, model.home, done)) is not None:
            _against_the_evaluation(record, model, done, gate, registered)
        return done
    learned = examples(Model(model.config, then), record.train, as_of, known_by=record.gate.start)
    fitted = fit_recipe(model.config, then.fits, record.recipe, learned)
    _against_the_evaluation(record, model, done, gate, fitted)
    if record.role == "refitted":
        learned = examples(Model(model.config, then), Window(record.train.start, record.gate.end), as_of)
        fitted = fit_recipe(model.config, then.fits, record.recipe, learned)
    digest = record.own.data_digest
    if digest != (now := data_digest(learned, record.recipe)):
        done.differences.append(
            Difference("rows", f"the digest of training rows and recipe is {now[:12]}, and was {digest[:12]}")
        )
    if (registered := _registered(record, model.home, done)) is not None:
        classes = class_names(model.config.task, registered)
        both = predict_each({"was": registered, "now": fitted}, gate.inputs, model.config.task, classes)
        done.compare("predictions of the registered model on the gate rows", both["was"], both["now"])
        _against_the_form(record, model, done, learned, fitted)
    return done


def _against_the_form(record: _Record, model: Model, done: _Rebuilt, learned: Examples, fitted: Pipeline) -> None:
    """Make the ONNX form again and compare its bytes with those of the registered one."""
    form, files = make_form(model, fitted, learned.at(slice(0)).X)
    was, now = model.home.registry.onnx(record.own.uri, record.own.manifest_digest), files.get(ONNX_FILE)
    reason = f": {form.missing.reasons[0]}" if form and form.missing else ""
    if was is None:
        why = reason or (", because `export` was off" if form is None else "")
        done.onnx = (
            f"the recorded version has none{why}"
            if now is None
            else "the recorded version has none, and today one is made"
        )
    elif now is None:
        done.differences.append(Difference("model", f"its ONNX form could not be made again{reason}"))
    elif now == was:
        done.onnx = f"the same {len(now):,} bytes"
    else:
        done.onnx = "other bytes than those of the recorded version"
        # Another processor, package or commit may write other bytes of a model that predicts the same.
        if done.exact and not _is_other_code(_circumstances(record, model.home)):
            done.differences.append(Difference("model", f"its ONNX form has {done.onnx}"))


def _is_other_code(circumstances: Iterable[Difference]) -> bool:
    return any(difference.about != "setting" for difference in circumstances)


def _against_the_evaluation(record: _Record, model: Model, done: _Rebuilt, gate: Examples, fitted: Pipeline) -> None:
    """Compare the rebuilt judged model with the recorded evaluation."""
    recorded = record.body.evaluation
    try:
        frame = model.home.store.read_evaluation(recorded.path)
    except WorkError as error:
        done.differences.append(Difference("predictions", f"those of the judging are gone: {error}"))
        return
    classes = recorded.classes
    was = pd.Series(range(len(frame)), index=frame[ROW_ID])
    place = was.reindex(gate.row_id)
    if len(frame) != len(gate.y) or place.isna().any():
        lost = len(set(frame[ROW_ID]) - set(gate.row_id))
        more = f"{lost:,} of the {len(frame):,} judged rows are not there, and {int(place.isna().sum()):,} are new"
        done.differences.append(Difference("rows", more))
        return
    frame = frame.iloc[place.astype(int).to_numpy()]
    if (other := int((frame[LABEL].astype(str).to_numpy() != gate.y.astype(str).to_numpy()).sum())) > 0:
        done.differences.append(Difference("rows", f"{other:,} of {len(frame):,} gate rows have another label"))
    predictions = predict(fitted, gate.inputs, model.config.task, classes)
    done.rows = len(frame)
    done.compare("judged predictions on the gate rows", prediction_of(frame, CHALLENGER, classes), predictions)
    with suppress(ValueError):  # labels of one class, say: then nothing was measured either
        now = metrics(model.config.task, gate.y.to_numpy(), predictions, classes)
        done.metrics = {
            name: {"recorded": value, "rebuilt": now[name]}
            for name, value in recorded.metrics.get(CHALLENGER, {}).items()
            if value is not None
        }
    done.differences += [
        Difference("metric", f"{name} is {m['rebuilt']:.12g}, and was {m['recorded']:.12g}")
        for name, m in done.metrics.items()
        if not abs(m["rebuilt"] - m["recorded"]) <= TOLERANCE
    ]


def _registered(record: _Record, home: Home, done: _Rebuilt) -> Pipeline | None:
    """The registered model, its files checked against the decision's digest; None, and why, when that fails."""
    try:
        return home.registry.load(record.own.uri, record.own.manifest_digest)
    except (UntrustedModel, RegistryUnavailable) as error:
        done.differences.append(Difference("model", str(error)))
        return None


def _circumstances(record: _Record, home: Home) -> tuple[Difference, ...]:
    """Differences between the code, packages and settings of then and those of today."""
    was = {name: str(value) for name, value in record.body.code.items()}
    now = code_facts(home.configs)
    return (*_of_code(was, now), *_of_packages(was, now), *_of_settings(record, home))


def _of_code(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    commit, here = was.get("git_commit", _UNKNOWN), now["git_commit"]
    if commit == _UNKNOWN:
        yield Difference("commit", "the commit of the code is not recorded")
    elif commit != here:
        yield Difference(
            "commit",
            f"it was made by {commit[:12]}, and this is {here[:12]}; for the same code: "
            f"git worktree add ../trueup-{commit[:12]} {commit}",
        )
    for when, facts in (("the code that made it", was), ("the code here", now)):
        if facts.get("git_dirty") == "true":
            yield Difference("changes", f"{when} has changes that are in no commit")


def _of_packages(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    for name, here in now.items():
        package, then = name.removeprefix("version."), was.get(name)
        if package != name and then is not None and then != here:
            yield Difference("package", f"{package} is {here}, and was {then}")
    if was.get("lock_digest", now.get("lock_digest")) != now.get("lock_digest"):
        yield Difference("package", "requirements.lock is another than it was")


def _of_settings(record: _Record, home: Home) -> Iterator[Difference]:
    """Keys of the config that differ today; the recorded values were used."""
    with suppress(TrueupError):
        then = config_then(record.entry.model, record.body, home)
        today = load_model(home.configs, record.entry.model)
        a, b = (json.loads(config_text(c)) for c in (then, today))
        if keys := list(_changed(a, b)):
            yield Difference("setting", f"today's config differs in {', '.join(keys)}; the recorded one was used")


def _changed(was: Mapping[str, Any], now: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for key in sorted(was.keys() | now.keys()):
        a, b = was.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _changed(a, b, f"{at}{key}.")
        elif a != b:
            yield f"{at}{key}"
