"""What a config's values must be like beyond their types; each mistake with the mend."""

from __future__ import annotations

import difflib
from datetime import timedelta
from zoneinfo import ZoneInfo, available_timezones

MIN_BLOCKS = 10  # an interval from fewer blocks of time is not to be trusted

SHORTEST = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=28)}
_FITTING = {"day": "2 hours", "week": "12 hours", "month": "2 days"}  # with room for labels that come late


class MistakeAt(ValueError):
    """A mistake that another place of the config is to be blamed for than the one that was looked at."""

    def __init__(self, at: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.at = at


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


def enough_blocks(period: str, block: timedelta, block_given: bool) -> None:
    """Refuse blocks of which a batch of this period holds too few. Raises MistakeAt."""
    if block <= timedelta(0):
        raise MistakeAt(("evaluate", "block"), "must be longer than nothing; write `1 day`")
    held = SHORTEST[period] // block
    if held < MIN_BLOCKS:
        # Where the block is the default, the period is what stands in the file.
        at = ("evaluate", "block") if block_given else ("ingest", "period")
        message = (
            f"a {period} holds {held} of evaluate.block, and with fewer than {MIN_BLOCKS} no batch could be diagnosed"
        )
        raise MistakeAt(at, f"{message}: all would be `unknown`; set evaluate.block to `{_FITTING[period]}`")
