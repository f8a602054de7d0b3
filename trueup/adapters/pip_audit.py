"""Known vulnerabilities of packages, as pip-audit finds them at an advisory service.

It "skips" a package that the service does not know, and reports no vulnerability even if it skipped all, as behind a mirror
without advisories. So the audited packages are counted here.

A hole that does not matter is accepted in pyproject.toml, until a date and with a reason:

    [[tool.trueup.accepted-holes]]
    package = "name"
    id = "GHSA-..."
    until = 2027-01-31
    reason = "why it does not matter here"
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from trueup.errors import ConfigError, WorkError

_SECONDS: Final = 300.0  # for all packages together
_ANSWER: Final = 5  # seconds for one answer


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
    """What the service knows, and the number of packages that were audited and skipped."""

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
    """Let pip-audit ask about every line of a lock; or say in a line why nothing could be asked. Raises WorkError."""
    if find_spec("pip_audit") is None:
        return "pip-audit is not installed; pip install pip-audit"
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
        said = lines[-1] if lines else "it said nothing"
        raise WorkError(f"pip-audit failed: {said}; run it by hand: python -m pip_audit") from None


def accepted_in(project: Path) -> list[dict[str, Any]]:
    """The holes that a pyproject.toml accepts; none without the file. Raises ConfigError."""
    try:
        content = tomllib.loads(project.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ConfigError(str(project), [f"cannot be read: {error}"]) from None
    holes: list[dict[str, Any]] = content.get("tool", {}).get("trueup", {}).get("accepted-holes", [])
    return holes
