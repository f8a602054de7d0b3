"""Prints a profiled table, a checked config and its rehearsal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from trueup.cli.output import about, lines, out, say, table, then, word

if TYPE_CHECKING:
    from trueup.domain.profiling.period import Power, Spans
    from trueup.onboarding.check import ConfigCheck
    from trueup.onboarding.new_model import Drafted, Findings
    from trueup.onboarding.rehearse import Rehearsal, Seen


_WARNED = 12  # lines
_ENDS, _ODD = 4, 12  # printed batches of a rehearsal: at either end, and of those that did not pass


@dataclass(frozen=True)
class Drafting:
    """The findings of `new` about a table, and the files it wrote."""

    model: str
    path: Path
    deployments: Path | None
    rows: int
    task: str
    key: tuple[str, ...]
    period: str
    kinds: dict[str, str]
    missing: dict[str, dict[str, int]]  # values that mean "missing", with their counts
    suspects: dict[str, str]
    strong: dict[str, str]
    left_out: dict[str, str]
    personal: dict[str, str]
    gaps: list[tuple[str, str]]
    duplicates: int
    notes: tuple[str, ...]
    quick: dict[str, float] | None
    pace: dict[str, float]

    @classmethod
    def of(cls, made: Drafted, deployed: tuple[Path, bool] | None) -> Drafting:
        findings, choice = made.findings, made.findings.choice
        return cls(
            model=made.config.model,
            path=made.path,
            deployments=deployed[0] if deployed else None,
            rows=findings.rows,
            task=str(findings.outcome.task),
            key=findings.key,
            period=findings.spans.period,
            kinds={n: c.kind for n, c in findings.columns.items()},
            missing={
                n: {str(v): k for v, k in c.sentinels.items()} for n, c in findings.columns.items() if c.sentinels
            },
            suspects={s.column: s.why for s in findings.suspects},
            strong=findings.strong,
            left_out=findings.left_out,
            personal={n: w for n, w, _ in findings.personal},
            gaps=[(str(g.start), str(g.end)) for g in findings.gaps],
            duplicates=findings.duplicates,
            notes=findings.notes,
            quick=None if choice is None else {"loss": choice.loss, "prior": choice.prior},
            pace=_pace(findings.spans, choice.power if choice is not None else None),
        )


def _pace(spans: Spans, power: Power | None) -> dict[str, float]:
    """The spans in days, and the share of the loss that the gates show of a retrain in four of five cases."""
    names = ("min_history", "gate_window", "stale_after", "block", "reference")
    shown = {} if power is None else {"shown": power.shown(spans.stale_after), "gained": power.gained}
    return {**{n: getattr(spans, n) / timedelta(days=1) for n in names}, "min_new_days": spans.min_new_days, **shown}


def drafted(drafting: Drafting, made: Drafted, deployments_written: bool) -> None:
    """Print the findings of `new`, and the next command."""
    findings, moments = made.findings, made.findings.times.moments.dropna()
    out.print(
        f"[bold]{drafting.model}[/]: {drafting.rows:,} rows, {len(drafting.kinds) + 2} columns, "
        f"{moments.min():%Y-%m-%d} to {moments.max():%Y-%m-%d}"
    )
    say("columns: " + ", ".join(f"{n} {kind}" for kind, n in Counter(drafting.kinds.values()).most_common()))
    say(
        f"{drafting.task} of {findings.ask.label}; a batch is a {drafting.period} of about {findings.spans.rows:,.0f} rows"
    )
    for title, entries in _findings(drafting).items():
        if entries:
            say(f"{title}:")
            lines(entries)
    _quick_model(findings)
    marks = made.text.count("# CHECK")
    say(f"written: {drafting.path}; {marks} lines marked CHECK need your answer")
    if drafting.deployments is not None:
        say(
            f"deployments: {drafting.deployments}"
            + ("" if deployments_written else " has some of this name, and keeps them")
        )
    then(f"trueup check {drafting.model} --rehearse")


def _findings(drafting: Drafting) -> dict[str, list[str]]:
    otherwise = {n: why for n, why in drafting.left_out.items() if n not in drafting.suspects}
    repeated = (
        [f"{drafting.duplicates:,} rows repeat another or its key; the last of each counts"]
        if drafting.duplicates
        else []
    )
    return {
        "left out, because they leak the outcome (leak suspects)": _named(drafting.suspects),
        "predict the outcome very well alone; are they known when a prediction is made?": _named(drafting.strong),
        "left out otherwise": _named(otherwise),
        "personal data": _named(drafting.personal),
        "missing values": [
            f"{n}: {', '.join(values)} ({sum(values.values()):,} values)" for n, values in drafting.missing.items()
        ],
        "gaps": [f"no row from {start[:10]} to {end[:10]}" for start, end in drafting.gaps],
        "to know": [*drafting.notes, *repeated],
    }


def _named(reasons: Mapping[str, str]) -> list[str]:
    return [f"{name}: {why}" for name, why in reasons.items()]


def _quick_model(findings: Findings) -> None:
    from trueup.onboarding.draft import shown

    if (choice := findings.choice) is None:
        say("too few rows to see whether a model would learn anything")
        return
    say(f"a quick model on later rows: {choice.loss:.4g}, a constant baseline: {choice.prior:.4g}")
    if choice.tried:
        say("tried:")
        lines([f"{t.what}: {t.change:+.1%} of the loss; {'taken' if t.taken else 'not taken'}" for t in choice.tried])
    if choice.power is not None:
        say(f"pace: {shown(findings.spans, choice.power)}")


def checks(checked: Sequence[ConfigCheck]) -> None:
    """Print the problems of configs and sources."""
    for each in checked:
        if each.problems:
            out.print(f"[bold]{each.model}[/]: [red]{len(each.problems)} to fix[/]")
            lines(each.problems)
        else:
            span = f"{each.first:%Y-%m-%d %H:%M} to {each.last:%Y-%m-%d %H:%M}"
            out.print(f"[bold]{each.model}[/]: [green]fine[/]; data from {span}")
            if each.set_aside:
                say(f"  set aside: {each.set_aside}")
            if (labels := each.labels) is not None:
                share = f"{labels.matching:.0%} of the newest {labels.looked_at:,} outcomes match a row"
                out.print(f"  label source: {labels.outcomes:,} outcomes; {share}", highlight=False)
            if each.rehearsal is not None:
                rehearsal(each.rehearsal)
            else:
                then(f"trueup check {each.model} --rehearse, or trueup run {each.model}")


def rehearsal(result: Rehearsal) -> None:
    """Print the result of the batches, and the next command."""
    out.print(f"rehearsed: {len(result.batches)} of {result.there} complete batches; nothing was written\n")
    if result.batches:
        _rehearsed_batches(result)
    _first_champion(result)
    for each in result.compared:
        say(f"{each.model}: {word(each.verdict)}; {each.message}")
    if (e := result.estimate) is not None:
        retrain = "" if e.retrain is None else f", and {about(e.retrain)} for a retrain"
        say(f"time: {about(e.batch)} a batch{retrain}; plus {about(e.start)} to start a run (not measured)")
    if result.breaks:
        say(f"[red]a run would fail[/]: {escape(result.breaks)}")
        then(f"correct the source or the config, then trueup check {result.model} --rehearse")
    else:
        then(f"trueup run {result.model}")


def _rehearsed_batches(result: Rehearsal) -> None:
    shown = _shown_batches(result.batches)
    rows = [
        [
            f"{b.window.start:%Y-%m-%d}",
            f"{b.rows:,}",
            f"{b.quarantined:,}",
            f"{b.share:.2%}",
            *(f"{count:,}" for count in (b.labels, b.at_end, b.in_time)),
            f"{word(b.status.value)}" + ("" if b.enough else ", too few labels"),
        ]
        for b in shown
    ]
    figures = ["rows", "quar.", "share", "labels", "at end", "later"]
    out.print(table(["batch", *figures, "validation"], rows, figures))
    out.print(
        "[dim]quar.: rows for quarantine, with their share; labels: rows with an outcome;\nat end, later: of these, how "
        f"many count when the batch ends, and in the end\n(monitor.min_matured requires {result.min_matured:,})[/]\n",
        highlight=False,
    )
    if len(shown) < len(result.batches):
        out.print(f"[dim]{len(result.batches) - len(shown):,} more batches are like these[/]\n", highlight=False)
    for name, (failed, total) in _by_expectation(result.batches).items():
        say(f"quarantine: {escape(name)}: {failed:,} of {total:,} rows, {failed / total:.2%}")
    for b in shown:
        if b.status.value != "pass":
            out.print(f"{b.window.start:%Y-%m-%d} {word(b.status.value)}:", highlight=False)
            lines(b.reasons)
    _warnings(result.batches)


def _warnings(batches: Sequence[Seen]) -> None:
    counted = Counter(w for b in batches for w in b.warnings).most_common()
    first = {w: b.window.start for b in reversed(batches) for w in b.warnings}
    if counted:
        out.print("to know:", highlight=False)
        where = {
            w: f"{n:,} batches from {first[w]:%Y-%m-%d} on" if n > 1 else f"{first[w]:%Y-%m-%d}" for w, n in counted
        }
        lines([f"{where[w]}: {w}" for w, _ in counted[:_WARNED]])
    if len(counted) > _WARNED:
        out.print(f"[dim]{len(counted) - _WARNED:,} more such lines; --json prints all[/]", highlight=False)


def _shown_batches(batches: Sequence[Seen]) -> list[Seen]:
    """The first and the last batches, and those between them that did not pass, as far as there is room."""
    ends = {*range(_ENDS), *range(len(batches) - _ENDS, len(batches))}
    odd = [n for n, b in enumerate(batches) if b.status.value != "pass" or not b.enough]
    shown = ends | {*[n for n in odd if n not in ends][:_ODD]} if len(batches) > 2 * _ENDS + _ODD else None
    return [b for n, b in enumerate(batches) if shown is None or n in shown]


def _by_expectation(batches: Sequence[Seen]) -> dict[str, tuple[int, int]]:
    """Print how many rows each expectation would put into quarantine, the most first."""
    total, failed = sum(b.rows for b in batches), Counter[str]()
    for b in batches:
        failed.update({f.expectation: f.rows for f in b.by})
    return {name: (rows, total) for name, rows in failed.most_common()}


def _first_champion(result: Rehearsal) -> None:
    """Print when and from what a first champion is possible, or what is missing."""
    if (first := result.first) is not None:
        what = "first champion" if result.champion else f"[yellow]no champion[/] after {result.tries} tries, the last"
        say(
            f"{what}: at {first.as_of:%Y-%m-%d}, trained on {first.train_rows:,} matured rows {first.train} "
            f"(train.min_rows requires {result.min_rows:,}), judged on {first.gate_rows:,} rows {first.gate}"
        )
    elif result.lacking:
        say(f"first champion: [yellow]not yet[/]: {escape(result.lacking)}")
    if result.needs:
        say(f"needed for a champion: {escape(result.needs)}")
