"""Known vulnerabilities of locked packages: `python -m tools.audit`, a part of `make check`.

pip-audit asks the advisory service about every line of requirements.lock. It "skips" a package that the service does not
know, and reports no vulnerability even if it skipped all, as behind a mirror without advisories. So the audited packages
are counted here and printed. Without a network no package is audited: this is printed, and is no failure.

A hole that does not matter here is accepted in pyproject.toml, until a date and with a reason:

    [[tool.trueup.accepted-holes]]
    package = "name"
    id = "GHSA-..."
    until = 2027-01-31
    reason = "why it does not matter here"
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

_SECONDS = 300.0  # for all packages together
_ANSWER = 5  # seconds for one answer


@dataclass(frozen=True)
class Hole:
    """A known hole in a package that is locked."""

    package: str
    version: str
    id: str
    names: frozenset[str]  # its id and all others by which it is known
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        mend = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no version without it yet"
        return f"{self.package} {self.version}: {self.id}, {mend}"


@dataclass(frozen=True)
class Report:
    """What the service said."""

    holes: tuple[Hole, ...]
    audited: int
    skipped: int


def read(answer: Mapping[str, Any]) -> Report:
    """Read pip-audit's JSON."""
    packages = answer["dependencies"]
    holes = [
        Hole(p["name"], p["version"], v["id"], frozenset([v["id"], *v.get("aliases", [])]), tuple(v["fix_versions"]))
        for p in packages
        for v in p.get("vulns", [])
    ]
    skipped = sum("skip_reason" in p for p in packages)
    return Report(tuple(holes), len(packages) - skipped, skipped)


def judge(report: Report, accepted: Sequence[Mapping[str, Any]], today: date) -> tuple[list[str], list[str]]:
    """What fails, and what is worth saying."""
    wrong, remarks, used = list[str](), list[str](), set[int]()
    for hole in report.holes:
        place = next(
            (n for n, a in enumerate(accepted) if a["package"] == hole.package and a["id"] in hole.names), None
        )
        if place is None:
            wrong.append(
                f"{hole}; raise its floor in pyproject.toml and run `make lock`, or accept it there with a reason"
            )
            continue
        used.add(place)
        if accepted[place]["until"] < today:
            wrong.append(f"{hole}; it was accepted until {accepted[place]['until']} only: {accepted[place]['reason']}")
        else:
            remarks.append(f"{hole}; accepted until {accepted[place]['until']}: {accepted[place]['reason']}")
    left = [a for n, a in enumerate(accepted) if n not in used] if report.audited else []
    remarks += [f"{a['package']}: {a['id']} is not found any more; take it out of pyproject.toml" for a in left]
    return wrong, remarks


def ask(lock: Path, osv_url: str | None = None, seconds: float = _SECONDS) -> Report | str:
    """Let pip-audit ask about every line of a lock; or say in a line why nothing could be asked."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(lock), "--disable-pip", "--no-deps", "-f", "json"]
    command += ["--progress-spinner", "off", "--timeout", str(_ANSWER)]
    command += ["-s", "osv", "--osv-url", osv_url] if osv_url else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"the service did not answer within {seconds:.0f} s"
    try:
        return read(json.loads(done.stdout))
    except ValueError:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        if "onnection" in done.stderr or "timed out" in done.stderr or "resolve" in done.stderr:
            return f"the service cannot be reached: {lines[-1][:200]}"
        raise SystemExit(f"audit: pip-audit failed: {lines[-1] if lines else 'it said nothing'}") from None


def outcome(report: Report | str, accepted: Sequence[Mapping[str, Any]], today: date) -> Iterator[tuple[bool, str]]:
    """Each line to say, and whether it fails."""
    if isinstance(report, str):
        yield False, f"nothing was audited: {report}"
        return
    wrong, remarks = judge(report, accepted, today)
    yield from ((True, line) for line in wrong)
    yield from ((False, line) for line in remarks)
    count = f"{report.audited} of {report.audited + report.skipped} packages"
    if not report.audited:
        yield False, f"nothing was audited: the service knows {count}; is it a mirror without advisories?"
    else:
        unknown = f", {report.skipped} of which the service does not know" if report.skipped else ""
        yield False, f"{count} audited{unknown}, {len(report.holes)} known holes"


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit; 1 when a known hole is not accepted."""
    parser = argparse.ArgumentParser(description="Known holes in what is locked.")
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"))
    parser.add_argument("--project", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--osv-url", help="another service that speaks OSV's language")
    options = parser.parse_args(arguments)
    project = tomllib.loads(options.project.read_text(encoding="utf-8"))
    accepted = project.get("tool", {}).get("trueup", {}).get("accepted-holes", [])
    lines = list(outcome(ask(options.lock, options.osv_url), accepted, datetime.now(UTC).date()))
    for _, line in lines:
        print(f"audit: {line}")
    return int(any(wrong for wrong, _ in lines))


if __name__ == "__main__":
    sys.exit(main())
