"""The comparison of one model: both sides run, the base first, and this process judges."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from trueup import files
from trueup.adapters import parquet
from trueup.ci.environment import variables
from trueup.ci.features import Known, Leaks, changes, computed_leaks, declared_leaks, leaky_model
from trueup.ci.findings import LEAK, NOT_COMPARED, Comparison, Cost, Found
from trueup.ci.job import (
    BEFORE,
    ERROR,
    FEATURES,
    FRAME,
    JOB,
    LABELS,
    LATER,
    LATER_BLIND,
    PREDICTIONS,
    RAW,
    REPORT,
    ROW,
    SAMPLE,
    TRAINED,
    BatchSeen,
    Failure,
    Frame,
    Job,
    Report,
    Role,
    Trained,
)
from trueup.ci.judge import Judged, judge, judged_rows, loss_sentence
from trueup.ci.processes import Ran, run
from trueup.config.schema import ModelConfig
from trueup.config.sections.ci import SOURCE
from trueup.config.tasks import Task
from trueup.domain.judging.gates import CHALLENGER, CHAMPION
from trueup.domain.records import from_json, to_plain
from trueup.domain.types import Status
from trueup.errors import TrueupError, WorkError


@dataclass(frozen=True)
class Tree:
    """The project of one side: its folder, the folder of its configs, and the Python of its environment."""

    project: Path
    configs: Path
    python: str


@dataclass(frozen=True, eq=False)
class Side:
    """What a side left, in memory, so that nothing that runs later can change it."""

    report: Report
    cost: Cost
    predictions: pd.DataFrame  # by ROW
    features: pd.DataFrame  # by ROW


@dataclass(frozen=True, eq=False)
class Sample:
    """The sample of a model, in memory. `later` and `blind` are files with the judged rows, with and without their labels."""

    frame: Frame
    raw: pd.DataFrame
    labels: pd.DataFrame
    before: bytes
    later: bytes
    blind: bytes


class SideFailed(WorkError):
    """A side could not do its work; the message says which one and why."""


def compare_models(
    config: ModelConfig, base: Tree | None, head: Tree, place: Path, repository: Path, columns: Sequence[str]
) -> tuple[Comparison, Judged | None]:
    """Compare a model of two trees; without a base, judge a new model by its own config.

    `config` has the rules; `columns` are those of the source that the head's features name. Returns the judged rows, too,
    for pictures. A side that fails, or takes too long, is a finding.
    """
    runner = _Runner(config, place, repository)
    try:
        first, sample = runner.first(base or head, "base" if base else "new")
        known = Known(sample.raw, sample.labels, sample.frame.time, config.ingest.label, Task(config.task))
        leaks = declared_leaks(known, columns)
        try:
            if base and (lacking := [c for c in dict.fromkeys(columns) if c not in sample.raw]):
                raise SideFailed(_lacking(config, lacking))
            second = runner.head(head, sample) if base else None
        except SideFailed as failed:
            before = declared_leaks(known, _columns(config))
            return _with_leaks(_not_compared(config, failed), leaks, before, new=False), None
        return _judged(config, known, sample, first, second, leaks)
    except SideFailed as failed:
        return _not_compared(config, failed), None
    except TrueupError as error:
        return _not_compared(config, error), None
    except Exception as error:  # a table of the head may be anything: that is a finding, and no end of this command
        return _not_compared(config, WorkError(f"the comparison failed: {type(error).__name__}: {error}")), None


def _not_compared(config: ModelConfig, error: TrueupError) -> Comparison:
    return Comparison(config.model, NOT_COMPARED, (Found("not_compared", str(error)),))


def _judged(
    config: ModelConfig, known: Known, sample: Sample, first: Side, second: Side | None, declared: Leaks
) -> tuple[Comparison, Judged]:
    theirs = None if second is None else second.predictions
    rows = judged_rows(config, sample.frame, sample.labels, first.predictions, theirs)
    head = second or first
    judgement = judge(config, rows)
    found = declared.and_(_computed(known, head)).and_(_whole(rows))
    before = Leaks() if second is None else declared_leaks(known, _columns(config)).and_(_computed(known, first))
    comparison = Comparison(
        model=config.model,
        verdict=judgement.verdict,
        findings=(*judgement.findings, *_data_findings(rows, first, second)),
        remarks=(*([loss_sentence(rows.case)] if judgement.metrics else []), *judgement.remarks),
        verdicts=judgement.verdicts,
        metrics=judgement.metrics,
        slices=judgement.slices,
        features=() if second is None else changes(first.features, second.features, rows.frame.index),
        batches={"head": tuple(head.report.batches)} | ({"base": tuple(first.report.batches)} if second else {}),
        costs={"head": head.cost} | ({"base": first.cost} if second else {}),
        rows=len(rows.frame),
        judged_from=sample.frame.cut,
        judged_until=sample.frame.end,
    )
    return _with_leaks(comparison, found, before, new=second is None), rows


def _columns(config: ModelConfig) -> list[str]:
    """The columns of the source from which features are computed; a custom function has those of `ingest.keep`, too."""
    return [*config.features.columns, *(config.ingest.keep if config.features.custom else [])]


def _whole(rows: Judged) -> Leaks:
    return leaky_model(rows.case, CHALLENGER, CHAMPION if rows.case.has_champion else None)


def _computed(known: Known, side: Side) -> Leaks:
    return computed_leaks(known, side.features, side.report.columns)


def _with_leaks(comparison: Comparison, found: Leaks, before: Leaks, *, new: bool) -> Comparison:
    """Add the leaks of the head. New ones are the verdict, whatever the model gains by them."""
    fresh = found if new else found.without(before)
    old = tuple(s for s in found.sure if s not in fresh.sure)
    findings = tuple(Found("leak", f"{s.column}: {s.why}") for s in fresh.sure)
    return replace(
        comparison,
        verdict=LEAK if findings else comparison.verdict,
        findings=(*findings, *comparison.findings),
        suspects=fresh.sure,
        known_suspects=old,
        strong=fresh.strong,
    )


def _data_findings(rows: Judged, first: Side, second: Side | None) -> list[Found]:
    findings = list[Found]()
    if rows.missing:
        findings.append(
            Found(
                "fewer_rows", f"{rows.missing:,} of {rows.missing + len(rows.frame):,} judged rows have no prediction"
            )
        )
    head, before = (second or first).report.batches, {b.start for b in _broken(first.report.batches)}
    broken = [b for b in _broken(head) if second is None or b.start not in before]
    if broken:
        reasons = list(dict.fromkeys(r for b in broken for r in b.reasons))[:3]
        what = "1 batch" if len(broken) == 1 else f"{len(broken)} batches"
        findings.append(Found("broken_data", f"{what} of {len(head)} broken: {'; '.join(reasons)}"))
    return findings


def _broken(batches: Iterable[BatchSeen]) -> list[BatchSeen]:
    return [b for b in batches if b.status is Status.FAIL]


class _Runner:
    """Runs the sides of one model below a folder."""

    def __init__(self, config: ModelConfig, place: Path, repository: Path) -> None:
        self.config, self.place, self.repository = config, place, repository
        self.limit = config.ci.minutes * 60

    def first(self, tree: Tree, role: Role) -> tuple[Side, Sample]:
        """Run the side that makes the sample, and take what it left out of reach of the other side."""
        ci, folder = self.config.ci, self._folder(role)
        sample, labels = (_inside(tree, path) for path in (ci.sample, ci.label_sample))
        job = Job(self.config.model, role, tree.configs, folder, ci.rows, sample, labels)
        ran = self._run(tree, job)
        side = self._side(role, folder, ran)
        frame = from_json(Frame, (folder / FRAME).read_text(encoding="utf-8"))
        raw, of = _table(folder / RAW), _table(folder / LABELS)
        held = Sample(frame, raw, of, *((folder / name).read_bytes() for name in (BEFORE, SAMPLE, LATER_BLIND)))
        shutil.rmtree(folder)
        return side, held

    def head(self, tree: Tree, sample: Sample) -> Side:
        """Run the head: it gets the judged rows when it has trained, with their labels only if its features need them."""
        folder = self._folder("head")
        (folder / SAMPLE).write_bytes(sample.before)
        job = Job(self.config.model, "head", tree.configs, folder, frame=sample.frame)

        def give() -> None:
            trained = folder / TRAINED
            if _is_file(trained):
                needs = from_json(Trained, trained.read_text(encoding="utf-8")).history_of_labels
                with files.whole(folder / LATER, durable=False) as file:
                    file.write(sample.later if needs else sample.blind)
                trained.unlink()

        return self._side("head", folder, self._run(tree, job, give))

    def _folder(self, role: str) -> Path:
        folder = self.place / role
        folder.mkdir(parents=True)
        return folder

    def _run(self, tree: Tree, job: Job, meanwhile: Callable[[], None] = lambda: None) -> Ran:
        (job.folder / JOB).write_text(json.dumps(to_plain(job), default=str), encoding="utf-8")
        home = job.folder / "account"
        home.mkdir()
        environment = variables(os.environ, home, self.repository) | {"TRUEUP_CONFIGS": str(tree.configs)}
        command = [tree.python, "-m", "trueup.ci", str(job.folder)]
        return run(command, tree.project, environment, job.folder / "log.txt", self.limit, meanwhile)

    def _side(self, role: str, folder: Path, ran: Ran) -> Side:
        """Read what a side left. Raises SideFailed."""
        if ran.code is None:
            raise SideFailed(
                f"the {role} side was ended after ci.minutes ({self.config.ci.minutes:g}); raise it, or lower ci.rows or train.trials"
            )
        if ran.code or not (folder / REPORT).exists():
            raise SideFailed(f"the {role} side failed: {_why(folder, ran)}")
        if odd := [name for name in (REPORT, PREDICTIONS, FEATURES) if not _is_file(folder / name)]:
            raise SideFailed(f"the {role} side left no plain file {', '.join(odd)}")
        try:
            report = from_json(Report, (folder / REPORT).read_text(encoding="utf-8"))
            predictions, features = (_table(folder / name) for name in (PREDICTIONS, FEATURES))
        except Exception as error:
            raise SideFailed(f"the {role} side left files that cannot be read: {error}") from error
        cost = Cost(
            seconds=round(ran.seconds, 1), cpu_seconds=round(ran.cpu_seconds, 1), memory_mib=round(ran.memory_mib),
            family=report.family, trials=report.trials, train_rows=report.train_rows, phases=report.seconds,
        )  # fmt: skip
        return Side(report, cost, predictions, features)


def _inside(tree: Tree, path: str | None) -> str | None:
    """A sample's place in a tree; the word `source` stays. Raises SideFailed for one that is not in the project."""
    if path is None or path == SOURCE:
        return path
    file = (tree.configs / path).resolve()
    if not file.is_relative_to(tree.project.resolve()) or not file.is_file():
        raise SideFailed(
            f"ci.sample: {path} is no file of the project in the base; commit it, `trueup ci sample` writes one"
        )
    return str(file)


def _lacking(config: ModelConfig, columns: Iterable[str]) -> str:
    """What to do about columns of the head's features that the sample of the base does not have."""
    named, sample = ", ".join(columns), config.ci.sample
    if sample == SOURCE:
        return (
            f"the source of the base has no column {named}, which the head's features name; correct the name, or add the "
            "column to the base first"
        )
    return (
        f"{sample} has no column {named}, which the head's features name; write it anew in the base: "
        f"trueup ci sample {config.model} --all-columns"
    )


def _is_file(path: Path) -> bool:
    """Whether it is a plain file: a head could leave a link, or a pipe that is never read to its end."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _table(file: Path) -> pd.DataFrame:
    return parquet.to_pandas(parquet.read(file)).set_index(ROW)


def _why(folder: Path, ran: Ran) -> str:
    """A side's own message, else the last line of its output."""
    if _is_file(folder / ERROR):
        try:
            return from_json(Failure, (folder / ERROR).read_text(encoding="utf-8")).message
        except ValueError:
            pass
    lines = [line.strip() for line in ran.output.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {ran.code}"


def rules_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a new model's config that can be read without its code: own classes are left out."""
    plain = {key: value for key, value in content.items() if key not in {"score", "replay"}}
    ingest = {**plain["ingest"], "source": {"kind": "files", "path": "sample"}}
    promote = dict(plain.get("promote") or {})
    if isinstance(promote.get("gates"), list):
        promote["gates"] = [g for g in promote["gates"] if ":" not in str(dict(g).get("kind"))]
    return {**plain, "ingest": ingest, **({"promote": promote} if promote else {})}
