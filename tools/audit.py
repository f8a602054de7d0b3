"""Known vulnerabilities of locked packages: `python -m tools.audit`, a part of `make check`.

Every line of requirements.lock is audited, see `trueup.adapters.pip_audit`, which also describes how a hole is accepted. Without a
network no package is audited: this is printed, and is no failure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from trueup.adapters.pip_audit import Report, accepted_in, ask, judge
from trueup.errors import TrueupError


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
    try:
        report, accepted = ask(options.lock, options.osv_url), accepted_in(options.project)
    except TrueupError as error:
        raise SystemExit(f"audit: {error}") from None
    lines = list(outcome(report, accepted, datetime.now(UTC).date()))
    for _, line in lines:
        print(f"audit: {line}")
    return int(any(wrong for wrong, _ in lines))


if __name__ == "__main__":
    sys.exit(main())
