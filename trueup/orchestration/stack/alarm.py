"""Notifies people of a program that does not stay up; supervisord starts it.

It listens to supervisord itself, because Prefect's server and its worker may be the failing programs. Run as `python -m
trueup.orchestration.stack.alarm`.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from supervisor import childutils

from trueup.adapters.apprise import addresses
from trueup.config.settings import Settings

EVENTS = ("PROCESS_STATE_BACKOFF", "PROCESS_STATE_EXITED", "PROCESS_STATE_FATAL")
OFTEN = 5  # ends within `WITHIN` that raise an alarm
WITHIN = timedelta(minutes=10)
SILENCE = timedelta(hours=6)  # between two notifications about one program

log = logging.getLogger(__name__)


@dataclass
class Alarm:
    """The recorded ends of the programs."""

    ends: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    notified_at: dict[str, datetime] = field(default_factory=dict)

    def due(self, program: str, now: datetime) -> bool:
        """Record that a program ended; return whether to notify people."""
        self.ends[program] = [end for end in self.ends[program] if end > now - WITHIN] + [now]
        if len(self.ends[program]) < OFTEN or self.notified_at.get(program, now - SILENCE) > now - SILENCE:
            return False
        self.notified_at[program] = now
        return True


def notify(program: str, settings: Settings) -> None:
    """Notify people of the program and its log."""
    text = (
        f"{program} of the stack in {settings.root} ended {OFTEN} times within {WITHIN.seconds // 60} minutes; it is "
        f"started again and again, ever more slowly. Its log: {settings.root / 'stack' / 'logs' / program}.log"
    )
    log.error("%s", text)
    for person in addresses(settings.notify):
        if (problem := person.send(f"Trueup: {program} does not stay up", text)) is not None:
            log.warning("%s", problem)


def main() -> None:
    """Listen until supervisord ends this process, or is gone."""
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)  # stdout is the channel to supervisord
    alarm, settings = Alarm(), Settings()
    while True:
        try:
            _, payload = childutils.listener.wait(sys.stdin, sys.stdout)
        except KeyError:  # the end of its input has no headers
            return
        program = childutils.get_headers(payload)["processname"]
        if alarm.due(program, datetime.now(UTC)):
            notify(program, settings)
        childutils.listener.ok(sys.stdout)


if __name__ == "__main__":
    main()
