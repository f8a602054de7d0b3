"""What a config's values must be like beyond their types; each mistake with the mend."""

from __future__ import annotations

import difflib
from datetime import timedelta
from zoneinfo import ZoneInfo, available_timezones

MIN_BLOCKS = 10  # an interval from fewer blocks of time is not to be trusted

SHORTEST = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=28)}


def zone(name: str) -> str:
    """Give the name back if there is such a time zone. Raises ValueError.

    >>> zone("America/New York")
    Traceback (most recent call last):
    ValueError: there is no time zone 'America/New York'; did you mean America/New_York?
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no such name could be, a folder of zones
        zones = sorted(available_timezones())
        known = {zone.split("/")[-1].lower(): zone for zone in zones} | {zone.lower(): zone for zone in zones}
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.8)
        mend = f"did you mean {known[close[0]]}?" if close else "write one like UTC or America/New_York"
        raise ValueError(f"there is no time zone {name!r}; {mend}") from None
    return name
