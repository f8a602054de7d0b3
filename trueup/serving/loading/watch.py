"""Keeps the models of a server process current: one thread that looks at what is published, and at the ledger.

A new state is loaded off the event loop and made current by one assignment. When the ledger is ahead of what is published,
one worker starts a process that publishes. A ledger that does not answer changes nothing but the age of what is served.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from trueup.errors import LedgerError, TrueupError
from trueup.serving import published
from trueup.serving.loading.bundle import Bundle, Loader
from trueup.serving.loading.ledger_reader import Facts, LedgerReader, open_reader
from trueup.serving.loading.publisher import Publisher
from trueup.serving.loading.served import Served
from trueup.serving.rollout import Routing
from trueup.serving.settings import ServerSettings
from trueup.serving.state import STATE_FILE, State

log = logging.getLogger("trueup.serving")

_PAUSE: Final = 0.05  # seconds between two looks at the files
_RETRY: Final = (1.0, 5.0, 15.0, 60.0)  # seconds after which a state that could not be loaded is tried again
_ROLLOUT: Final = 60.0  # seconds between two checks of a rollout
_TRIPPED: Final = 5.0  # the same after a breaker stopped the canary in this worker
_CHALLENGER_TRIES: Final = 20  # of a challenger that cannot be loaded, in a quarter of an hour

Stamp = tuple[int, int, int]
_Task = Literal["publish", "announce", "deliver", "check"]
_PUBLISH, _ANNOUNCE, _DELIVER, _CHECK = get_args(_Task)


class Watch:
    """The thread, for all models of a server process."""

    def __init__(self, served: Sequence[Served], settings: ServerSettings) -> None:
        self._reader: LedgerReader = open_reader(settings.database)
        self._models = [_Watched(each, settings) for each in served]
        self._next_facts = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Load what is published now, and go on in the thread."""
        for model in self._models:
            model.look()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and the processes that it started."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)
        for model in self._models:
            model.publisher.stop()
        self._reader.close()

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE):
            try:
                self._turn()
            except Exception:  # whatever it is, what is served goes on, and the next turn tries again
                log.exception("the watch over what is published failed; it goes on")
                self._ended.wait(5)

    def _turn(self) -> None:
        for model in self._models:
            model.look()
        if time.monotonic() >= self._next_facts:
            self._ask_ledger()
        for model in self._models:
            model.act()

    def _ask_ledger(self) -> None:
        self._next_facts = time.monotonic() + self._reader.pause
        try:
            changed = self._reader.changed([model.served.name for model in self._models])
            for model in self._models:
                if model.served.name in changed:
                    model.facts = self._reader.facts(model.served.name)
            for model in self._models:
                model.served.unreachable_since = None
        except LedgerError as error:
            self._reader.close()
            self._next_facts = time.monotonic() + max(1.0, self._reader.pause)
            for model in self._models:
                if model.served.unreachable_since is None:
                    model.served.unreachable_since = time.time()
                    log.warning("%s: %s", model.served.name, error)


class _Retry:
    """When something that failed is tried again: later each time, and at most `limit` times."""

    def __init__(self, limit: float = math.inf) -> None:
        self._limit, self._at = limit, 0.0
        self.tries = 0  # that failed

    @property
    def due(self) -> bool:
        """Whether it is time to try again."""
        return 0 < self.tries < self._limit and time.monotonic() >= self._at

    def failed(self) -> None:
        """Note a try that failed."""
        self._at = time.monotonic() + _RETRY[min(self.tries, len(_RETRY) - 1)]
        self.tries += 1

    def forget(self) -> None:
        """Begin anew."""
        self.tries = 0


class _Watched:
    """One model: the state that was tried last, what the ledger says, and the process that publishes."""

    def __init__(self, served: Served, settings: ServerSettings) -> None:
        self.served = served
        self.facts: Facts | None = None
        self.publisher = Publisher(served.folder)
        self._settings = settings
        self._config = settings.configs / f"{served.name}.yaml"
        self._tried: Stamp | None = None
        self._retry = _Retry()  # of the state, or its champion
        self._again = _Retry(_CHALLENGER_TRIES)  # of the challenger alone
        self._running: _Task = _PUBLISH  # of the last process
        self._asked: tuple[Facts, float] | None = None  # for what the last process that publishes was started
        self._to_announce: list[str] = []  # failures for the ledger's outbox
        self._announced: set[str] = set()
        self._deliver = False
        self._checked_at = time.monotonic()

    def look(self) -> None:
        """Load the published state if it is another one, or if it could not be loaded and it is time to try again."""
        stamp = _stamp(self.served.folder / STATE_FILE)
        if stamp is None or (stamp == self._tried and not (self._retry.due or self._again.due)):
            return
        if stamp != self._tried:
            self._retry.forget()
        self._tried = stamp
        try:
            self._load(published.read(self.served.folder, self._settings.signer()))
            self._retry.forget()
            self._confirm(stamp)
        except TrueupError as error:
            self._fail(str(error))
        except Exception as error:  # whatever it is, the other models of this process are to stay current
            log.exception("%s: loading what was published failed", self.served.name)
            self._fail(f"loading it raised {type(error).__name__}: {error}; the server's log says where")

    def _load(self, state: State) -> None:
        """Load a state, unless it is served already with all that it names."""
        current = self.served.current
        if current is None or state != current.state:
            self._again.forget()
        elif not (self._retry.tries or self._again.due or current.damage):
            self.served.failure = current.problem
            return
        self._swap(state)

    def _swap(self, state: State) -> None:
        before = self.served.current
        loader = Loader(self.served.folder, self._settings.configs, self._settings.signer())
        loaded = loader.load(state, before)
        self.served.failure = loaded.problem or loaded.damage
        if loaded.problem is None or before is None or before.state != state:  # else all is as before
            self._replace(before, loaded)
        if loaded.problem is None:
            self._again.forget()
        else:
            self._again.failed()
        for why in filter(None, (loaded.problem, loaded.damage)):
            self._count("failed", why)

    def _replace(self, before: Bundle | None, loaded: Bundle) -> None:
        self.served.current = loaded
        if before is not None and before.state.rollout != loaded.state.rollout:
            if before.routing is not None:
                self._end_rollout(before.routing, loaded)
            self._deliver = True  # people are notified of what happened to it
        self._count("loaded")
        log.info("%s: %s", loaded.state.model, _in_words(before, loaded))

    def _end_rollout(self, routing: Routing, now: Bundle) -> None:
        """Write the counts of a rollout a last time, unless they go on in the next step."""
        before, after = routing.rollout, now.state.rollout
        if after is None or now.routing is None or after.id != before.id:
            routing.close()

    def _fail(self, why: str) -> None:
        self._retry.failed()
        self._count("failed", why)
        if self.served.current is None:
            self._load_copy()
        self.served.failure = why

    def _load_copy(self) -> None:
        """Answer with the copy of what was published last, if it is sound, until the state can be read."""
        copy = published.copy_of(self.served.folder)
        try:
            signer = self._settings.signer()
            state = published.read_copy(self.served.folder, signer)
            loaded = Loader(self.served.folder, self._settings.configs, signer).load(state)
            self.served.confirmed_at = _modified(copy)
        except Exception as error:  # the first failure is the one that is announced
            log.warning("%s: there is no copy to answer with, either: %s", self.served.name, error)
            return
        self.served.current = loaded
        self._count("loaded")
        log.warning("%s: the copy of what was published last answers: %s", self.served.name, _in_words(None, loaded))

    def _count(self, outcome: str, why: str | None = None) -> None:
        self.served.swaps[outcome] += 1
        if why is not None and why not in self._announced:
            self._announced.add(why)
            self._to_announce.append(why)
            kept = "nothing is served yet" if self.served.current is None else "what was loaded before is served on"
            log.warning("%s: %s; %s", self.served.name, why, kept)

    def _confirm(self, stamp: Stamp) -> None:
        """What is served was the newest when it was published."""
        written = stamp[0] / 1e9
        self.served.confirmed_at = max(written, self.served.confirmed_at or 0.0)

    def act(self) -> None:
        """Confirm what is served, or start a process that publishes, announces a failure, or checks the rollout."""
        if (well := self.publisher.ended()) is not None:
            self._note_end(well)
        if self.facts is None or self.served.unreachable_since is not None:
            return
        if (needed := self._needed()) is not None:
            again = needed == self._asked  # the last one, for the same reason, was no help
            if self._start(_PUBLISH):
                self._asked = needed
                if again:
                    self.publisher.wait_before_next()
        elif self.served.current is not None and not self._retry.tries:
            self.served.confirmed_at = time.time()
            self.publisher.forget_waiting()
            self._announce_or_check()
        else:
            self._announce_or_check()

    def _start(self, task: _Task, *words: str) -> bool:
        started = self.publisher.start(*words, deliver=task == _DELIVER)
        self._running = task if started else self._running
        return started

    def _note_end(self, well: bool) -> None:
        if self._running == _PUBLISH:
            self.served.publishing_failure = self.publisher.failure
        if not well:
            log.warning("%s: %s", self.served.name, self.publisher.failure)

    def _needed(self) -> tuple[Facts, float] | None:
        """What a process would be started for: facts of the ledger, or a config, that are newer than the state."""
        facts, state = self.facts, self.served.current.state if self.served.current is not None else None
        if facts is None or facts.epoch is None:
            return None  # there is no champion to publish
        config, written = _modified(self._config), _modified(self.served.folder / STATE_FILE)
        if state is None:
            return (facts, config) if not written or self._retry.tries else None
        ahead = facts.epoch > state.champion.epoch or facts.seq > state.ledger_seq
        ahead = ahead or (state.landed > 0 and facts.landed > state.landed)
        damaged = self._retry.tries > 1 or (self.served.current is not None and self.served.current.damage is not None)
        return (facts, config) if ahead or config > written or damaged else None

    def _announce_or_check(self) -> None:
        if self._deliver:
            self._deliver = not self._start(_DELIVER)
        elif self._to_announce:
            if self._start(_ANNOUNCE, "--failed", self._to_announce[0]):
                del self._to_announce[0]
                self._deliver = True
        else:
            self._check_rollout()

    def _check_rollout(self) -> None:
        current = self.served.current
        if current is None or current.state.rollout is None:
            return
        tripped = current.routing is not None and current.routing.tripped
        pause = _TRIPPED if tripped else _ROLLOUT
        if time.monotonic() - self._checked_at >= pause and self._start(_CHECK, "--check-rollout"):
            self._checked_at = time.monotonic()


def _in_words(before: Bundle | None, now: Bundle) -> str:
    """What a swap changed."""
    champion = now.champion
    words = f"version {champion.version} answers (epoch {champion.epoch})"
    if before is None:
        return words
    if before.champion.epoch != champion.epoch:
        return f"{words}, after version {before.champion.version}"
    return f"{words} as before; what else was published is loaded"


def _stamp(file: Path) -> Stamp | None:
    try:
        facts = file.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


def _modified(file: Path) -> float:
    """When a file was changed, in seconds since 1970; 0 for none."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
