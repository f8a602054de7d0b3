"""A model is swapped ten times a second under load: every answer must be one that one of the two versions gives."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.servers.client import Seen, run
from benchmarks.servers.flights_home import MODEL, FlightsHome
from benchmarks.servers.process import Server
from tests.serving.graphs import plant, shifted
from tests.stack import until
from trueup.ledger.signing import Signer, open_signer
from trueup.serving import published
from trueup.serving.state import BUNDLES, State

EVERY = 0.1  # seconds between two swaps
CONNECTIONS = 8
_ROWS = 200  # different requests, whose two predictions are known


@dataclass(frozen=True)
class Swapped:
    """What the swaps did. `wrong` are answers that neither version gives, `p99_ratio` is that with swaps over that without."""

    requests: int
    failed: int
    wrong: int
    swaps: int  # that the server made
    p99_ms: float
    p99_without_ms: float
    p99_ratio: float


class _Prediction(msgspec.Struct):
    prediction: float


class _Answer(msgspec.Struct):
    version: int
    epoch: int
    predictions: list[_Prediction]


_decoder = msgspec.json.Decoder(_Answer)
Pair = tuple[int, float]  # version and prediction


def swapped(flights: FlightsHome, server: Server, seconds: float) -> dict[str, Any]:
    """Load the server without swaps, then with them, each for some seconds. The published state stays as it was."""
    folder, signer = published.folder_of(flights.home, MODEL), open_signer(flights.home)
    states = _two_states(folder, signer)
    bodies = server.ask.bodies.read_bytes().splitlines()[:_ROWS]
    allowed: list[set[Pair]] = [set() for _ in bodies]
    try:
        for state in reversed(states):
            published.write(folder, state, signer)
            _wait_for(server, state.champion.version)
            for number, body in enumerate(bodies):
                allowed[number].add(_pair(server.post(body)[1]))
        if any(len(pairs) != 2 for pairs in allowed):
            raise RuntimeError("the two versions predict the same for a row, so answers could not be distinguished")
        calm, wrong_before = _load(server, bodies, allowed, seconds)
        before = _swaps(server)
        with _Swapping(folder, states, signer):
            stormy, wrong = _load(server, bodies, allowed, seconds)
        swaps = _swaps(server) - before
    finally:
        published.write(folder, states[0], signer)
        shutil.rmtree(folder / BUNDLES / states[1].champion.bundle)
    failed = sum(seen.refused + seen.lost for seen in (calm, stormy))
    p99, without = stormy.p99_ms(), calm.p99_ms()
    return asdict(Swapped(stormy.answered, failed, wrong + wrong_before, swaps, p99, without, p99 / without))


def _two_states(folder: Path, signer: Signer) -> tuple[State, State]:
    """The published state, and one with another version: the same model, whose predictions are moved a little."""
    state = published.read(folder, signer)
    right = state.champion
    other = msgspec.structs.replace(right, version=right.version + 1000, epoch=right.epoch + 1, bundle="swapped")
    shutil.copytree(folder / BUNDLES / right.bundle, folder / BUNDLES / other.bundle, dirs_exist_ok=True)
    digest = plant(
        folder / BUNDLES / other.bundle,
        signer,
        lambda graph: shifted(graph, 1e-3),
        version=other.version,
        epoch=other.epoch,
    )
    other = msgspec.structs.replace(other, manifest_sha256=digest)
    return state, msgspec.structs.replace(state, champion=other)


def _pair(body: bytes) -> Pair:
    answer = _decoder.decode(body)
    return answer.version, answer.predictions[0].prediction


def _wait_for(server: Server, version: int) -> None:
    until(lambda: _decoder.decode(server.post()[1]).version == version, 60)


def _load(server: Server, bodies: list[bytes], allowed: list[set[Pair]], seconds: float) -> tuple[Seen, int]:
    """Send the rows in turn; returns what was seen, and how many answers are no pair that is allowed."""
    wrong = 0

    def look(number: int, status: int, body: bytes) -> None:
        nonlocal wrong
        if status == 200 and _pair(body) not in allowed[number]:
            wrong += 1

    def in_turn() -> Iterator[tuple[int, bytes]]:
        for sent in count():
            yield sent % len(bodies), bodies[sent % len(bodies)]

    return run(server, in_turn(), look, connections=CONNECTIONS, seconds=seconds), wrong


class _Swapping:
    """Publishes one state after the other for the duration of the block."""

    def __init__(self, folder: Path, states: tuple[State, State], signer: Signer) -> None:
        self._folder, self._signer = folder, signer
        self._states = states
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        for turn in count(1):
            if self._over.wait(EVERY):
                return
            published.write(self._folder, self._states[turn % 2], self._signer)


def _swaps(server: Server) -> int:
    """How many swaps the server has made, by its metrics."""
    lines = server.get("/metrics")[1].decode().splitlines()
    found = [line for line in lines if line.startswith("trueup_swaps_total{") and 'outcome="loaded"' in line]
    return round(sum(float(line.rpartition(" ")[2]) for line in found))
