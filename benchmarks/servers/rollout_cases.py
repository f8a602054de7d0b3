"""Cases of a rollout on the flights: what is planted, the traffic that meets it, and how it ended; see `benchmarks.rollout_flights`."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.servers.client import run
from benchmarks.servers.flights_home import MODEL, FlightsHome
from benchmarks.servers.process import Ask, Server
from benchmarks.servers.rollout_home import TRAFFIC, branch, opened
from tests.serving import graphs
from tests.stack import until
from trueup.config.load import load_model
from trueup.domain.judging.rollout import ERRORS, LATENCY, LOSS, NON_FINITE, SHIFT
from trueup.governance.rollouts import under_way
from trueup.ledger.entries import Entry
from trueup.model import Model
from trueup.online.rollout import check
from trueup.serving import published
from trueup.serving.rollout.figures import read_figures
from trueup.serving.state import BUNDLES, State

ROUND = 250  # requests between two checks
_CONNECTIONS = 4
_MOST_ROUNDS = 20  # until a fault must be found, and the canary have its rows
_ROWS = 50  # of a request with the rest of the month
_COUNTED = 5.0  # seconds for servers to write their counts
_ENDED = "trueup.rollout.ended"

Plant = Callable[[bytes, State], bytes]


@dataclass(frozen=True)
class Case:
    """What is planted in the challenger's graph, and how the rollout has to end."""

    outcome: str
    rule: str | None = None
    plant: Plant | None = None
    labels: bool = False  # it ends with the labels of the month
    traffic: bool = True


@dataclass
class Played:
    """How a case went. `requests` were answered until the decision; `reasons` are those of the last ledger entry."""

    case: str
    right: bool = False
    outcome: str = "no end"
    rule: str | None = None
    figure: float | None = None
    limit: float | None = None
    reasons: list[str] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)  # kinds of the ledger's entries since the rollout began
    requests: int = 0
    rows: int = 0
    answers: dict[str, int] = field(default_factory=dict)  # rows by the version that answered them
    failed: int = 0  # requests without an answer, or with another status than 200
    not_finite: int = 0  # predictions in answers
    seconds: float = 0.0  # from the first request to the decision, the checks included


def _slow(graph: bytes, _: State) -> bytes:
    session = graphs.open_session(graph)
    row = [[0.5] * session.get_inputs()[0].shape[1]]
    return graphs.slow(graph, 9 * graphs.seconds(session, row))


def _shifted(graph: bytes, state: State) -> bytes:
    assert state.rollout is not None
    return graphs.shifted(graph, 1.5 * state.rollout.limits["scale"], low=0.0, high=1.0)


CASES: dict[str, Case] = {
    "better": Case("promoted", labels=True),
    "raises": Case("rolled_back", ERRORS, lambda graph, _: graphs.raising(graph, 0.03)),
    "nan": Case("rolled_back", NON_FINITE, lambda graph, _: graphs.nan(graph, 0.01)),
    "slow": Case("rolled_back", LATENCY, _slow),
    "shifted": Case("rolled_back", SHIFT, _shifted),
    "worse": Case("rolled_back", LOSS, lambda graph, _: graphs.scattered(graph, 0.95), labels=True),
    "no_traffic": Case("inconclusive", traffic=False),
}


def play_case(flights: FlightsHome, name: str, token: str, folder: Path) -> Played:
    """Play a case in a copy of the home, in this folder."""
    case, played = CASES[name], Played(name)
    copy = branch(flights, folder)
    if case.plant is not None:
        _plant(copy, case.plant)
    with _Play(copy, token, played) as play:
        if not case.traffic:
            play.wait_for_the_deadline()
        else:
            play.requests_until_a_decision(labels=case.labels)
            if case.labels and play.is_under_way():
                play.rest_of_the_month()
                play.land_labels()
        play.look_at_the_end()
    as_wanted = (played.outcome, played.rule) == (case.outcome, case.rule)
    played.right = as_wanted and not played.failed and not played.not_finite
    return played


def _plant(flights: FlightsHome, alter: Plant) -> None:
    """Alter the challenger's graph in its bundle, and publish what is in the bundle then."""
    home = opened(flights)
    try:
        folder = published.folder_of(flights.home, MODEL)
        state = published.read(folder, home.signer)
        assert state.challenger is not None
        graphs.plant(folder / BUNDLES / state.challenger.bundle, home.signer, lambda graph: alter(graph, state))
    finally:
        home.close()
    flights.online()


class _Play:
    """A server on the home, and clients that send the month in order."""

    def __init__(self, flights: FlightsHome, token: str, played: Played) -> None:
        self.flights, self.played = flights, played
        self.home = opened(flights)
        self.model = Model(load_model(flights.configs, MODEL), self.home)
        self.start = self._entries()[-1]
        started = under_way(self.model)
        assert started is not None
        self.champion, self.challenger = self.model.champion(), started.fitted.version
        path, rows = f"/v1/models/{MODEL}/predict", flights.bodies(TRAFFIC)
        ask = Ask(path, rows, {"Authorization": f"Bearer {token}"}, ready="/health/ready")
        command = [sys.executable, "-m", "trueup", "serve", MODEL, "--port", "{port}"]
        self.server = Server("trueup serve", command, ask, flights.folder / "serve.log", **flights.environment)
        self.bodies = enumerate(flights.bodies(TRAFFIC).read_bytes().splitlines())
        self.begun = time.monotonic()

    def __enter__(self) -> _Play:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self.home.close()

    def is_under_way(self) -> bool:
        """Whether the rollout has not ended."""
        return under_way(self.model) is not None

    def requests_until_a_decision(self, *, labels: bool) -> None:
        """Requests of one row each and a check after each round: to the end, or until only labels are missing."""
        until(lambda: self._served()["phase"] == "shadow")
        for _ in range(_MOST_ROUNDS):
            self._send(self._next(ROUND))
            self._wait_until_counted()
            said = self._check()
            if not self.is_under_way() or (labels and _only_labels(said)):
                break

    def rest_of_the_month(self) -> None:
        """The remaining rows, many a request."""
        rows = [json.loads(body)["row"] for _, body in self.bodies]
        parts = (rows[at : at + _ROWS] for at in range(0, len(rows), _ROWS))
        self._send((number, json.dumps({"rows": part}).encode()) for number, part in enumerate(parts))
        self._wait_until_counted()

    def land_labels(self) -> None:
        """The end of the month: its batch and labels land, and the loop takes its turn; then the check."""
        tried = self.start.as_of
        after = f"{tried.replace(month=tried.month + 1):%Y-%m-%d}"
        self.flights.command("run", MODEL, "--as-of", after, "--retrain", "never")
        if self.is_under_way():
            self._check()

    def wait_for_the_deadline(self) -> None:
        """Check without traffic, at once and when the deadline has passed by the home's clock."""
        for _ in range(3):
            self.played.path.append(self._check().splitlines()[0].removeprefix(f"{MODEL}: "))
        self.home.now = lambda: datetime.now(UTC) + timedelta(days=6.9)
        early = check(self.model)
        assert early is not None
        self.played.path.append(f"after 6.9 days: {early.decided or 'the rollout waits'}")
        self.home.now = lambda: datetime.now(UTC) + timedelta(days=7.1)
        check(self.model)

    def look_at_the_end(self) -> None:
        """What the ledger has, and whether the server answers with the version that it names."""
        played = self.played
        played.seconds = time.monotonic() - self.begun
        entries = [e for e in self._entries() if e.seq >= self.start.seq]
        played.path += [e.kind for e in entries]
        played.reasons = list(entries[-1].body.reasons)
        ended = self.home.ledger.announced(MODEL, _ENDED)
        if not ended:
            return
        event = ended[-1].payload
        played.outcome, played.rule = event["outcome"], event["rule"]
        played.figure, played.limit, played.counts = event["figure"], event["limit"], event["counts"]
        assert self.champion is not None
        version = self.challenger if played.outcome == "promoted" else self.champion.version
        until(lambda: (self._served()["version"], self._served()["phase"]) == (version, "champion"))
        reason = played.rule or played.outcome
        if f'trueup_rollouts_ended{{model="{MODEL}",reason="{reason}"}} 1.0' not in self._get("/metrics"):
            raise RuntimeError(f"the servers' metrics have no rollout that ended by {reason}")

    def _entries(self) -> list[Entry]:
        return list(self.home.ledger.entries(MODEL))

    def _get(self, path: str) -> str:
        status, body = self.server.get(path)
        if status != 200:
            raise RuntimeError(f"{path} gave {status}: {body[:500]!r}")
        return body.decode()

    def _served(self) -> Any:
        return json.loads(self._get(f"/v1/models/{MODEL}"))

    def _next(self, rows: int) -> Iterator[tuple[int, bytes]]:
        for _ in range(rows):
            yield next(self.bodies)

    def _send(self, bodies: Iterator[tuple[int, bytes]]) -> None:
        seen = run(self.server, bodies, self._look, connections=_CONNECTIONS, seconds=300)
        self.played.requests += seen.answered
        self.played.failed += seen.refused + seen.lost

    def _look(self, _: int, status: int, body: bytes) -> None:
        if status != 200:
            return
        answer = json.loads(body)
        for prediction in answer["predictions"]:
            self.played.rows += 1
            by_challenger = prediction.get("role", answer["role"]) == "canary"
            who = "challenger" if by_challenger else "champion"
            self.played.answers[who] = self.played.answers.get(who, 0) + 1
            self.played.not_finite += not math.isfinite(prediction["prediction"])

    def _wait_until_counted(self) -> None:
        """Wait until the servers' counts have all requests; those that found the challenger's queue full are not among them."""
        folder, last = published.folder_of(self.flights.home, MODEL), time.monotonic() + _COUNTED
        with suppress(AssertionError):
            until(
                lambda: (
                    time.monotonic() > last
                    or read_figures(folder, self.start.decision_id).total(lambda _: True).paired.calls
                    >= self.played.requests
                )
            )

    def _check(self) -> str:
        return self.flights.online("--check-rollout")


def _only_labels(said: str) -> bool:
    """Whether the check said that nothing but labels is missing."""
    lines = said.strip().splitlines()
    return len(lines) == 2 and "rows with matured labels" in lines[1]
