"""Tables of other people: what `trueup new` writes for each, and what the loop makes of it as written.

For each known table of a folder: `new`, `check --rehearse`, then the loop over the whole history under virtual time, all in
this process and without Prefect. Three policies live through it: as written, the same without gates, and a first champion
that stays. `kept` is the share of the gain without gates over the frozen champion that is left with them, on the rows that
all three have scored; None where the frozen one is no worse than the one without gates. `kept_low` and `kept_high` bound it
(95 %, paired, resampled by blocks of time), and `counts` is whether the gain is shown and at least 1 % of the frozen loss:
elsewhere the share says nothing. `above_ungated` is the cost of the gates as a share of the frozen loss, with its bounds.
`wrong_shown` is the number of promotions shown to be wrong (one-sided 5 %, Holm's correction over all promotions).

`python -m benchmarks.strangers DIR [--tables bike,kc] [--workers 2] [--home DIR] [--json]`. Files that are not known, and known
ones that are not there, are named and skipped. What is known of a table is written to `TABLE/found.json` of `--home` step by
step, so that a run that was stopped has lost nothing; begun again with the same home it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from benchmarks.gate_measures import holm
from trueup.domain.judging.bootstrap import Blocks, Floats, multiplicities, run_length, sums_interval
from trueup.model import Model

FROZEN, UNGATED, GATED = "frozen", "as written, no gate", "as written"


@dataclass(frozen=True)
class Table:
    """A file, and a stranger's answers about it."""

    file: str
    time: str
    label: str


TABLES = {
    "bike": Table("bike_sharing_hourly.csv.gz", "timestamp", "cnt"),
    "elec2": Table("elec2.csv.gz", "timestamp", "class"),
    "noaa": Table("noaa_weather.csv.gz", "seq", "target"),
    "chicago": Table("chicago_l_ridership.csv.gz", "date", "ridership"),
    "kc": Table("kc_house.csv.gz", "date", "price"),
}


KEYS = ("champion", "batches", "broken", "frozen", "ungated", "gated", "kept", "recommended", "yaml_lines")
_COUNTS = 0.01  # of the loss: where less can be gained, the share kept says nothing
_CONFIDENCE, _RESAMPLES = 0.95, 4000


def measured(name: str, folder: Path, place: Path) -> dict[str, Any]:
    """One table's entry. Errors are recorded in it, so that the other tables are still measured."""
    from trueup.errors import TrueupError

    begun = time.monotonic()
    entry: dict[str, Any] = dict.fromkeys(KEYS)
    place.mkdir(parents=True, exist_ok=True)
    try:
        for facts in _steps(TABLES[name], name, folder, place):
            entry |= facts | {"seconds": round(time.monotonic() - begun)}
            (place / "found.json").write_text(json.dumps(entry))
            sys.stderr.write(f"{name}, {entry['seconds']} s: {json.dumps(facts)}\n")
    except TrueupError as error:
        entry["error"] = f"{type(error).__name__}: {error}"
    except Exception as error:
        entry["error"] = traceback.format_exc()
        sys.stderr.write(f"{name}: {error!r}\n{entry['error']}")
    entry["seconds"] = round(time.monotonic() - begun)
    (place / "found.json").write_text(json.dumps(entry))
    return entry


def _begin() -> None:
    """In each process: end with its parent."""
    from trueup.adapters.background import end_with_parent

    logging.disable(logging.WARNING)
    threading.Thread(target=end_with_parent, daemon=True).start()


def _steps(table: Table, name: str, folder: Path, place: Path) -> Iterator[dict[str, Any]]:
    """The steps of a table's measurement."""
    from trueup.config.policies import Policy, parse
    from trueup.config.settings import Settings
    from trueup.domain.profiling.questions import Ask
    from trueup.errors import NotEnoughData
    from trueup.home import Home
    from trueup.onboarding.new_model import draft, save
    from trueup.onboarding.rehearse import rehearse
    from trueup.replay.replay import prepare, whole_span

    home = Home(Settings(home=place / "home", configs=place / "configs", reports=False))
    home.configs.mkdir(parents=True, exist_ok=True)
    drafted = draft(Ask(name, str((folder / table.file).resolve()), table.time, table.label), home, replace_it=True)
    save(drafted, replace_it=True)
    config = drafted.config
    yield {"yaml_lines": len(drafted.text.splitlines()), "period": config.ingest.period}
    rehearsal = rehearse(Model(config, home))
    first = rehearsal.first.as_of.date().isoformat() if rehearsal.first else None
    yield {"rehearsal": {"first": first, "lacking": rehearsal.lacking, "breaks": rehearsal.breaks}}
    span = whole_span(Model(config, home), None, None)
    policies = (
        parse(FROZEN),
        Policy(UNGATED, {"promote": {"gates": [], "probation": {"batches": 0}}}),
        Policy(GATED, {}),
    )
    prepared = prepare(Model(config, home), span, policies)
    took: dict[str, int] = {}
    for policy in policies[::-1]:  # as written first: it is of most interest
        begun = time.monotonic()
        try:
            prepared.live(policy, Progress(f"{name}, {policy.name}"))
        except NotEnoughData as none:  # never a champion
            yield {"why": str(none), **_batches(config, prepared, policy)}
            return
        took[policy.name] = round(time.monotonic() - begun)
        yield {"took": dict(took), **(_batches(config, prepared, policy) if policy.name == GATED else {})}
    yield _told(config, span, prepared.runs())
    home.close()


class Progress:
    """Prints a policy's progress at each tenth."""

    def __init__(self, what: str) -> None:
        self._what, self._begun, self._said = what, time.monotonic(), 0

    def __call__(self, share: float) -> None:
        """Print the finished share."""
        if int(share * 30) > self._said:
            self._said = int(share * 30)
            sys.stderr.write(
                f"{self._what}: {share:.0%} of all three policies, {time.monotonic() - self._begun:.0f} s\n"
            )


def _told(config: Any, span: Any, runs: Any) -> dict[str, Any]:
    """The results of the three policies."""
    from trueup.replay.compare import common_rows, compare

    facts = compare(config, span, runs).facts
    loss = {p["name"]: p["loss"] for p in facts["policies"]}
    tried = next(run.tried for run in runs if run.policy.name == GATED)
    rows = common_rows(config, runs)
    blocks = Blocks.of(rows["event_time"], config.evaluate.block)
    sums = {name: blocks.sums(rows[name]) for name in (FROZEN, UNGATED, GATED)}
    gated = next(p for p in facts["policies"] if p["name"] == GATED)
    return {
        "champion": next(t.as_of.date().isoformat() for t in tried if t.outcome == "promoted"),
        "frozen": loss[FROZEN],
        "ungated": loss[UNGATED],
        "gated": loss[GATED],
        **kept(sums[FROZEN], sums[UNGATED], sums[GATED], blocks.sums()),
        "recommended": facts["recommended"],
        "loss": facts["loss"],
        "rows": facts["judged"]["rows"],
        **{
            key: gated[key]
            for key in ("promotions", "held", "refusals", "missed_promotions", "missed_promotions_shown")
        },
        "wrong_promotions": gated["wrong_promotions"],
        "wrong_shown": holm(
            [_p_wrong(t, config.evaluate.confidence) for t in tried if t.outcome == "promoted" and t.later]
        ),
        "shifted": sum(bool(look["shifted"]) for look in gated["looks"]),
    }


def _p_wrong(promotion: Any, confidence: float) -> float:
    """One-sided p-value against "the replaced champion would have lost no less", by the normal tail of the interval."""
    if promotion.rival is None or promotion.rival_high is None or promotion.rival_high == promotion.rival:
        return 1.0
    error = (promotion.rival_high - promotion.rival) / norm.ppf((1 + confidence) / 2)
    return float(norm.cdf(promotion.rival / error))


def kept(frozen: Floats, ungated: Floats, gated: Floats, rows: Floats) -> dict[str, Any]:
    """The share of the attainable gain that the gates keep, from loss sums and rows by block: (blocks,) each.

    The bounds are percentiles of the share in resamples of whole blocks, neighbours together. They are None if the gain
    itself is not shown, because the share is unbounded then.
    """
    gain, left, loss = frozen - ungated, frozen - gated, float(frozen.sum() / rows.sum())
    attainable, apart = (sums_interval(of, rows, _CONFIDENCE) for of in (gain, gated - ungated))
    share = float(left.sum() / gain.sum()) if gain.sum() > 0 else None
    bounds: list[float | None] = [None, None]
    if share is not None and attainable.low > 0:
        drawn = multiplicities(len(gain), run_length(left - share * gain), _RESAMPLES, seed=0)
        shares = (drawn @ left) / (drawn @ gain)
        bounds = [float(q) for q in np.quantile(shares, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])]
    return {
        "kept": share,
        "kept_low": bounds[0],
        "kept_high": bounds[1],
        "attainable": [of / loss for of in (attainable.mean, attainable.low, attainable.high)],
        "counts": bool(attainable.low > 0 and attainable.mean >= _COUNTS * loss),
        "above_ungated": [of / loss for of in (apart.mean, apart.low, apart.high)],
    }


def _batches(config: Any, prepared: Any, policy: Any) -> dict[str, Any]:
    """The number of batches, and the broken ones."""
    home, until = prepared.sandbox.opened(prepared.folder_of(policy)), prepared.sandbox.span.end
    landed = Model(config, home).batches(until)
    used = {b.window for b in Model(config, home).usable_batches(until)}
    lost = [f"{b.window.start:%Y-%m-%d}" for b in landed if b.window not in used]
    home.close()
    return {"batches": len(landed), "broken": len(lost), "lost": lost[:5]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the tables lie")
    parser.add_argument("--tables", default=",".join(TABLES), help=f"some of {', '.join(TABLES)}")
    parser.add_argument("--workers", type=int, default=2, help="tables at a time")
    parser.add_argument("--home", type=Path, help="keep configs and homes here, and go on from what is there")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wanted = [name.strip() for name in options.tables.split(",")]
    if unknown := sorted({*wanted} - {*TABLES}):
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(TABLES)}")
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is no folder")
    files = {t.file for t in TABLES.values()}
    strange = sorted(p.name for p in options.folder.iterdir() if p.is_file() and p.name not in files)
    absent = [n for n in wanted if not (options.folder / TABLES[n].file).is_file()]
    for words, names in (("not known", strange), ("not there", [TABLES[n].file for n in absent])):
        if names:
            sys.stderr.write(f"skipped, {words}: {', '.join(names)}\n")
    wanted = [n for n in wanted if n not in absent]
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn"), initializer=_begin) as pool,
    ):
        place = options.home or Path(scratch)
        jobs = {name: pool.submit(measured, name, options.folder, place / name) for name in wanted}
        results = {name: job.result() for name, job in jobs.items()}
    if options.json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    for name, facts in results.items():
        sys.stdout.write(f"{name}: " + ", ".join(f"{k} {_short(v)}" for k, v in facts.items()) + "\n")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
