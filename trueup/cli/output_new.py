"""How a table that nobody has described, a config and its rehearsal look on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from trueup.cli.output import about, lines, out, table, then, word

if TYPE_CHECKING:
    from trueup.domain.profiling.period import Power, Spans
    from trueup.onboarding.new_model import Drafted
    from trueup.onboarding.rehearse import Rehearsal, Seen


_WARNED = 12  # lines
_ENDS, _ODD = 4, 12  # batches of a rehearsal that are shown: at either end, and of those that did not pass


def drafted(made: Drafted, deployed: tuple[Path, bool] | None) -> None:
    """What `new` found out about a table, and what to type next."""
    from trueup.onboarding.draft import shown

    found = made.findings
    times, outcome = found.times.moments.dropna(), found.outcome
    out.print(
        f"[bold]{made.config.model}[/]: {found.rows:,} rows, {len(found.columns) + 2} columns, {times.min():%Y-%m-%d} to {times.max():%Y-%m-%d}"
    )
    kinds = Counter(c.kind for c in found.columns.values())
    out.print("columns: " + ", ".join(f"{n} {k}" for k, n in kinds.most_common()), highlight=False)
    out.print(
        f"{outcome.task} of {found.ask.label}; a batch is a {found.spans.period} of some {found.spans.rows:,.0f} rows",
        highlight=False,
    )
    suspicious = {s.column for s in found.suspects}
    for title, entries in {
        "left out, for they know the answer (leak suspects)": [f"{s.column}: {s.why}" for s in found.suspects],
        "tell the outcome very well alone; are they known when a prediction is made?": [
            f"{n}: {w}" for n, w in found.strong.items()
        ],
        "left out otherwise": [f"{n}: {w}" for n, w in found.left_out.items() if n not in suspicious],
        "personal data": [f"{n}: {w}" for n, w, _ in found.personal],
        "missing values": [
            f"{n}: {', '.join(map(str, c.sentinels))} ({sum(c.sentinels.values()):,} values)"
            for n, c in found.columns.items()
            if c.sentinels
        ],
        "gaps": [f"no row from {g.start:%Y-%m-%d} to {g.end:%Y-%m-%d}" for g in found.gaps],
        "to know": list(found.notes)
        + (
            [f"{found.duplicates:,} rows repeat another or its key; of each the last counts"]
            if found.duplicates
            else []
        ),
    }.items():
        if entries:
            out.print(f"{title}:", highlight=False)
            lines(entries)
    if found.choice is not None:
        out.print(
            f"a quick model on later rows: {found.choice.loss:.4g}, always saying the usual: {found.choice.prior:.4g}",
            highlight=False,
        )
        if found.choice.tried:
            out.print("tried:", highlight=False)
            words = {True: "taken", False: "not taken"}
            lines([f"{t.what}: {t.change:+.1%} of the loss; {words[t.taken]}" for t in found.choice.tried])
        if found.choice.power is not None:
            out.print(f"pace: {shown(found.spans, found.choice.power)}", highlight=False, soft_wrap=True)
    else:
        out.print("too few rows to tell whether a model would learn anything", highlight=False)
    marks = made.text.count("# CHECK")
    out.print(f"written: {made.path}; {marks} lines marked CHECK are for you to look at", soft_wrap=True)
    if deployed is not None:
        path, written = deployed
        out.print(f"deployments: {path}" if written else f"deployments: {path} has some of this name, and keeps them")
    then(f"trueup check {made.config.model} --rehearse")


def drafted_json(made: Drafted, deployed: tuple[Path, bool] | None) -> dict[str, Any]:
    """The same as plain values."""
    found = made.findings
    return {
        "model": made.config.model,
        "path": str(made.path),
        "deployments": str(deployed[0]) if deployed else None,
        "rows": found.rows,
        "task": str(found.outcome.task),
        "key": list(found.key),
        "period": found.spans.period,
        "kinds": {n: c.kind for n, c in found.columns.items()},
        "missing": {n: {str(v): k for v, k in c.sentinels.items()} for n, c in found.columns.items() if c.sentinels},
        "suspects": {s.column: s.why for s in found.suspects},
        "strong": found.strong,
        "left_out": found.left_out,
        "personal": {n: w for n, w, _ in found.personal},
        "gaps": [[str(g.start), str(g.end)] for g in found.gaps],
        "duplicates": found.duplicates,
        "notes": list(found.notes),
        "quick": None if found.choice is None else {"loss": found.choice.loss, "prior": found.choice.prior},
        "pace": _pace(found.spans, found.choice.power if found.choice is not None else None),
    }


def _pace(spans: Spans, power: Power | None) -> dict[str, Any]:
    """The spans in days, and the share of the loss that the gates show of a retrain in four of five cases."""
    day = timedelta(days=1)
    days = {
        name: getattr(spans, name) / day for name in ("min_history", "gate_window", "stale_after", "block", "reference")
    }
    told = {} if power is None else {"shown": power.shown(spans.stale_after), "gained": power.gained}
    return {**days, "min_new_days": spans.min_new_days, **told}


def checks(found: Sequence[Mapping[str, Any]]) -> None:
    """What is wrong with configs and sources."""
    for model in found:
        if model["problems"]:
            out.print(f"[bold]{model['model']}[/]: [red]{len(model['problems'])} to mend[/]")
            lines(model["problems"])
        else:
            span = f"{model['first']:%Y-%m-%d %H:%M} to {model['last']:%Y-%m-%d %H:%M}"
            out.print(f"[bold]{model['model']}[/]: [green]fine[/]; data from {span}")
            if model["set_aside"]:
                out.print(f"  set aside: {model['set_aside']}", highlight=False, soft_wrap=True)
            if labels := model.get("labels"):
                share = f"{labels['matching']:.0%} of the newest {labels['looked_at']:,} outcomes are of a row"
                out.print(f"  label source: {labels['outcomes']:,} outcomes; {share}", highlight=False)
            if "rehearsal" in model:
                rehearsal(model["rehearsal"])
            else:
                name = model["model"]
                then(f"trueup check {name} --rehearse, or trueup run {name}")


def rehearsal(found: Rehearsal) -> None:
    """What the batches would come to, and what to type next."""
    out.print(f"rehearsed: {len(found.batches)} of {found.there} complete batches; nothing was kept\n")
    if found.batches:
        _rehearsed_batches(found)
    _first_champion(found)
    for each in found.compared:
        out.print(f"{each.model}: {word(each.verdict)}; {each.said}", highlight=False, soft_wrap=True)
    if (e := found.estimate) is not None:
        retrain = "" if e.retrain is None else f", and {about(e.retrain)} for a retrain"
        out.print(
            f"time: {about(e.batch)} a batch{retrain}; beside it {about(e.start)} to start a run (not measured)",
            highlight=False,
            soft_wrap=True,
        )
    if found.breaks:
        out.print(f"[red]a run would come to nothing[/]: {escape(found.breaks)}", highlight=False, soft_wrap=True)
        then(f"mend the source or the config, then trueup check {found.model} --rehearse")
    else:
        then(f"trueup run {found.model}")


def _rehearsed_batches(found: Rehearsal) -> None:
    """The table of the batches, and what is wrong with them."""
    shown = _telling(found.batches)
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
        f"many count when the batch ends, and in the end\n(monitor.min_matured asks for {found.min_matured:,})[/]\n",
        highlight=False,
    )
    if len(shown) < len(found.batches):
        out.print(f"[dim]{len(found.batches) - len(shown):,} more batches are like these[/]\n", highlight=False)
    for name, (failed, total) in _by_expectation(found.batches).items():
        out.print(
            f"quarantine: {escape(name)}: {failed:,} of {total:,} rows, {failed / total:.2%}",
            highlight=False,
            soft_wrap=True,
        )
    for b in shown:
        if b.status.value != "pass":
            out.print(f"{b.window.start:%Y-%m-%d} {word(b.status.value)}:", highlight=False)
            lines(b.reasons)
    _warnings(found.batches)


def _warnings(batches: Sequence[Seen]) -> None:
    """What is said of batches that may be used, the most frequent first."""
    said = Counter(w for b in batches for w in b.warnings).most_common()
    first = {w: b.window.start for b in reversed(batches) for w in b.warnings}
    if said:
        out.print("to know:", highlight=False)
        where = {w: f"{n:,} batches from {first[w]:%Y-%m-%d} on" if n > 1 else f"{first[w]:%Y-%m-%d}" for w, n in said}
        lines([f"{where[w]}: {w}" for w, _ in said[:_WARNED]])
    if len(said) > _WARNED:
        out.print(f"[dim]{len(said) - _WARNED:,} more such lines; --json gives all[/]", highlight=False)


def _telling(batches: Sequence[Seen]) -> list[Seen]:
    """The first and the last batches, and those between them that did not pass, as far as there is room."""
    ends = {*range(_ENDS), *range(len(batches) - _ENDS, len(batches))}
    odd = [n for n, b in enumerate(batches) if b.status.value != "pass" or not b.enough]
    shown = ends | {*[n for n in odd if n not in ends][:_ODD]} if len(batches) > 2 * _ENDS + _ODD else None
    return [b for n, b in enumerate(batches) if shown is None or n in shown]


def _by_expectation(batches: Sequence[Seen]) -> dict[str, tuple[int, int]]:
    """How many rows of how many each expectation would put into quarantine, the most first."""
    total, failed = sum(b.rows for b in batches), Counter[str]()
    for b in batches:
        failed.update({f.expectation: f.rows for f in b.by})
    return {name: (rows, total) for name, rows in failed.most_common()}


def _first_champion(found: Rehearsal) -> None:
    """When there can be one, from what; or what is lacking."""
    if (first := found.first) is not None:
        what = "first champion" if found.champion else f"[yellow]no champion[/] after {found.tries} tries, the last"
        out.print(
            f"{what}: at {first.as_of:%Y-%m-%d}, trained on {first.train_rows:,} matured rows {first.train} "
            f"(train.min_rows asks for {found.min_rows:,}), judged on {first.gate_rows:,} rows {first.gate}",
            highlight=False,
            soft_wrap=True,
        )
    elif found.lacking:
        out.print(f"first champion: [yellow]not yet[/]: {escape(found.lacking)}", highlight=False, soft_wrap=True)
    if found.needs:
        out.print(f"for a champion it takes: {escape(found.needs)}", highlight=False, soft_wrap=True)
