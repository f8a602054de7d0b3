"""What each page shows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from trueup.errors import TrueupError
from trueup.governance.approval import resolution
from trueup.governance.status import standing_at
from trueup.home import Home
from trueup.ui.charts import figures, summary
from trueup.ui.fleet import Row, expires
from trueup.ui.history import History, history
from trueup.ui.reader import Facts, Reader
from trueup.ui.records import Line

_LISTED: Final = 50


def model(home: Home | None, facts: Facts, row: Row) -> dict[str, Any]:
    """The page of one model."""
    past = history(home, facts.name, facts.lines) if home is not None else History((), (), (), "")
    lines = list(reversed(facts.lines))[:_LISTED]
    return {
        "name": facts.name,
        "row": row,
        "past": past,
        "figures": figures(past) if home is not None else {},
        "summaries": summary(past),
        "lines": lines,
    }


def decision(home: Home | None, seq: int) -> dict[str, Any] | None:
    """The page of one decision; None if there is none with that number."""
    entry = None if home is None or not 0 < seq < 2**31 else home.ledger.entry(seq)
    if home is None or entry is None:
        return None
    version = entry.body.version
    served = home.settings.reports_pages
    dossier = None
    if served is not None and version is not None:
        from trueup.audit.dossiers import dossier_page  # these load what draws the reports
        from trueup.orchestration.links import address

        dossier = address(home, dossier_page(home.root, entry.model, version))
    return {"entry": entry, "body": entry.body, "dossier": dossier, "closing": resolution(home, entry)}


def ledger(reader: Reader, query: dict[str, str]) -> dict[str, Any]:
    """The list of decisions, filtered as asked; with `model` and `at` also what served then."""
    asked = {
        name: query.get(name, "").strip()[:200] for name in ("model", "kind", "text", "from", "until", "at", "before")
    }
    values: dict[str, Any] = {"asked": asked, "models": reader.names(), "kinds": [], "lines": [], "then": None}
    values |= {"mistake": "", "newer": None, "older": None}
    home = reader.home
    if home is None:
        return values
    try:
        first, last = _day(asked["from"]), _day(asked["until"])
        before = int(asked["before"]) if asked["before"].isdecimal() and len(asked["before"]) < 10 else None
        entries = home.ledger.page(
            asked["model"] or None,
            asked["kind"] or None,
            asked["text"] or None,
            (first, None if last is None else last + timedelta(days=1)),
            before,
            _LISTED + 1,
        )
        if asked["at"]:
            values["then"] = _then(reader, asked["model"], asked["at"])
    except TrueupError as error:
        return values | {"mistake": str(error)}
    except (ValueError, OverflowError):
        return values | {"mistake": "A date is written as 2013-04-01, a time as 2013-04-01T06:00."}
    kept = {name: value for name, value in asked.items() if value and name not in {"before", "at"}}
    lines = [Line.of(entry) for entry in entries[:_LISTED]]
    if len(entries) > _LISTED:
        values["older"] = "/ledger?" + urlencode({**kept, "before": lines[-1].seq})
    if before is not None:
        values["newer"] = "/ledger?" + urlencode(kept)
    return values | {"lines": lines, "kinds": home.ledger.kinds()}


def _then(reader: Reader, name: str, at: str) -> Any:
    found = reader.model(name)
    if found is None:
        raise ValueError(name) if not name else TrueupError(f"{name}: no config that can be read has this name")
    return standing_at(found, datetime.fromisoformat(at).replace(tzinfo=None))


def _day(text: str) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=None) if text else None


def approvals(reader: Reader, current: list[Row], server: str | None) -> dict[str, Any]:
    """What waits for a person, the first to expire first."""
    home = reader.home
    lines = sorted((line for row in current for line in row.approvals), key=expires)
    waiting = []
    for line in lines if home is not None else ():
        entry = home.ledger.entry(line.seq) if home is not None else None
        if entry is not None:
            waiting.append((entry, entry.body, expires(line)))
    return {"waiting": waiting, "forms": server is not None, "commands": _commands}


def _commands(seq: int) -> list[tuple[str, str]]:
    return [
        ("Approve", f"trueup approve {seq} --by NAME"),
        ("Reject", f"trueup reject {seq} --by NAME --why TEXT"),
    ]
