"""Tell people of a program of the stack that does not stay up: `python -m trueup.orchestration.stack.alarm`, which supervisord starts.

It listens to supervisord itself, for the programs that could tell, Prefect's server and its worker, may be those that fail.
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
OFTEN = 5  # ends within `WITHIN` that are no accident any more
WITHIN = timedelta(minutes=10)
SILENCE = timedelta(hours=6)  # between two messages about one program

log = logging.getLogger(__name__)


@dataclass
class Alarm:
    """What is known of the ends of the programs."""

    ends: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    told: dict[str, datetime] = field(default_factory=dict)

    def due(self, program: str, now: datetime) -> bool:
        """Take note that a program ended; say whether people have to hear of it."""
        self.ends[program] = [end for end in self.ends[program] if end > now - WITHIN] + [now]
        if len(self.ends[program]) < OFTEN or self.told.get(program, now - SILENCE) > now - SILENCE:
            return False
        self.told[program] = now
        return True


def tell(program: str, settings: Settings) -> None:
    """Say what does not stay up and where to look."""
    text = (
        f"{program} of the stack in {settings.root} ended {OFTEN} times within {WITHIN.seconds // 60} minutes; it is "
        f"started again and again, ever more slowly. Its log: {settings.root / 'stack' / 'logs' / program}.log"
    )
    log.error("%s", text)
    for person in addresses(settings.notify):
        if (problem := person.tell(f"Trueup: {program} does not stay up", text)) is not None:
            log.warning("%s", problem)


def main() -> None:
    """Listen until supervisord ends us, or is gone."""
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr)  # stdout is for talking to supervisord
    alarm, settings = Alarm(), Settings()
    while True:
        try:
            _, payload = childutils.listener.wait(sys.stdin, sys.stdout)
        except KeyError:  # the end of its input has no headers
            return
        program = childutils.get_headers(payload)["processname"]
        if alarm.due(program, datetime.now(UTC)):
            tell(program, settings)
        childutils.listener.ok(sys.stdout)


if __name__ == "__main__":
    main()
