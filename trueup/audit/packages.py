"""Audits the installed packages: known holes, and how they differ from the project's lock."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from importlib.metadata import Distribution, distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from trueup.adapters.pip_audit import accepted_in, ask, judge
from trueup.audit.finding import Finding, Unchecked
from trueup.errors import TrueupError

LOCK: Final = "requirements.lock"
HOLES, DRIFT = "known holes", "lock"
_TOOLS: Final = {"pip", "setuptools", "wheel", "uv"}  # that make an environment, and are in no lock
_SHOWN: Final = 10
_PINNED: Final = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])? ?== ?([^\s;\\]+)")


def holes(project: Path, service: str | None, today: date) -> list[Finding | Unchecked]:
    """Known holes of the installed packages, without those that the project's pyproject.toml accepts.

    `service` is the address of an advisory service that speaks OSV's API, by default that of pip-audit.
    """
    try:
        accepted = accepted_in(project / "pyproject.toml")
        with TemporaryDirectory(prefix="trueup-audit-") as private:
            listed = Path(private) / "installed.txt"
            listed.write_text("".join(f"{name}=={version}\n" for name, version in sorted(installed().items())))
            report = ask(listed, service)
    except TrueupError as error:
        return [Unchecked(HOLES, str(error))]
    if isinstance(report, str):
        return [Unchecked(HOLES, report)]
    if not report.audited:
        return [
            Unchecked(HOLES, f"the service knows none of {report.skipped} packages; is it a mirror without advisories?")
        ]
    wrong, _ = judge(report, accepted, today)
    found: list[Finding | Unchecked] = [Finding(HOLES, *_split(line)) for line in wrong]
    if report.skipped:
        found.append(
            Unchecked(
                HOLES, f"the service does not know {report.skipped} of {report.audited + report.skipped} packages"
            )
        )
    return found


def drift(project: Path) -> list[Finding | Unchecked]:
    """How the installed packages differ from the lock. A locked one that is not installed is not used, and no finding."""
    file = project / LOCK
    if not file.is_file():
        return [Unchecked(DRIFT, f"{file} does not exist; `make lock` writes it")]
    locked, there = _locked(file.read_text(encoding="utf-8")), installed()
    return list(_differences(locked, there))


def _differences(locked: dict[str, set[str]], there: dict[str, str]) -> Iterator[Finding]:
    mend = "run `make setup`, or `make lock` if the change is wanted"
    other = [
        f"{name} {there[name]} (locked {' or '.join(sorted(versions))})"
        for name, versions in locked.items()
        if name in there and there[name] not in versions
    ]
    if other:
        yield Finding(DRIFT, f"another version than in {LOCK} is installed of {_some(other)}", mend)
    if more := sorted(there.keys() - locked.keys() - _TOOLS):
        yield Finding(DRIFT, f"not in {LOCK}, but installed: {_some(more)}", mend)


def installed() -> dict[str, str]:
    """Versions of the installed packages by normalized name, without those that were installed from a folder."""
    return {
        _normalized(found.name): found.version
        for found in distributions()
        if found.name is not None and not _of_a_folder(found)
    }


def _of_a_folder(found: Distribution) -> bool:
    """Whether it is a project's own code, which no service knows and no lock has."""
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    return "dir_info" in origin or str(origin.get("url", "")).startswith("file:")


def _locked(text: str) -> dict[str, set[str]]:
    """The pinned versions in a lock by normalized name: several if they depend on the machine."""
    pinned = dict[str, set[str]]()
    for line in text.splitlines():
        if (found := _PINNED.match(line)) is not None:
            pinned.setdefault(_normalized(found[1]), set()).add(found[2])
    return pinned


def _normalized(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _split(line: str) -> tuple[str, str]:
    """A sentence and its next step."""
    what, _, step = line.partition("; ")
    return what, step
