"""`kill -9` at a random moment under load, again and again: nothing that was answered may be missing from the drained log."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.servers.client import run
from benchmarks.servers.flights_home import MODEL, FlightsHome
from benchmarks.servers.process import Server
from trueup.serving.log_format import HEAD, decoded, log_files, read_frames
from trueup.serving.published import folder_of
from trueup.serving.state import LOG

CONNECTIONS = 8
_LATEST = 1.0  # seconds after the first answer
_TORN_EVERY = 5  # rounds, after which a write that was cut off is imitated


@dataclass
class Killed:
    """What the rounds came to. `lost` are acknowledged predictions that are not in the log, or not in the store."""

    rounds: int = 0
    acknowledged: int = 0
    unanswered: int = 0  # requests under way at the moments of the kills
    logged: int = 0
    stored: int = 0
    torn: int = 0  # files with an incomplete record at the end, the imitated ones included
    torn_counted: int = 0  # by the drain
    lost: int = 0


class _Prediction(msgspec.Struct):
    id: str


class _Answer(msgspec.Struct):
    predictions: list[_Prediction]


_decoder = msgspec.json.Decoder(_Answer)


def killed(flights: FlightsHome, start: Callable[[], Server], rounds: int, seed: int = 0) -> dict[str, Any]:
    """Start a server, load it, and kill it, so many times; then drain the log. The log must be empty before.

    Every request is about a row of its own.
    """
    folder = folder_of(flights.home, MODEL) / LOG
    if any(log_files(folder)):
        raise RuntimeError(f"{folder} has records from before; drain it first")
    draw, result, acknowledged = random.Random(seed), Killed(rounds), set[str]()
    bodies = _rows_of_their_own(flights)
    for number in range(1, rounds + 1):
        server = start()

        def look(_: int, status: int, body: bytes) -> None:
            if status == 200:
                acknowledged.update(prediction.id for prediction in _decoder.decode(body).predictions)

        timer = threading.Timer(draw.uniform(0.05, _LATEST), server.kill)
        timer.start()
        seen = run(server, bodies, look, connections=CONNECTIONS, seconds=_LATEST + 20)
        timer.join()
        result.unanswered += seen.lost
        if number % _TORN_EVERY == 0:
            _tear(log_files(folder)[-1], draw)
    logged = _logged(folder, result)
    result.acknowledged, result.logged = len(acknowledged), len(logged)
    drained = _drained(flights)
    result.stored, result.torn_counted = drained["new"] + drained["again"], drained["torn"]
    result.lost = len(acknowledged - logged) + max(len(logged) - result.stored, 0)
    return asdict(result) | {"drained": drained}


def _rows_of_their_own(flights: FlightsHome) -> Iterator[tuple[int, bytes]]:
    """The flights again and again, each time under another flight number, so that no key comes twice."""
    rows = [json.loads(line)["row"] for line in flights.bodies("rows").read_text(encoding="utf-8").splitlines()]
    for number in count():
        row = rows[number % len(rows)]
        yield number, json.dumps({"row": {**row, "flight": 10_000 + number}}).encode()


def _tear(file: Path, draw: random.Random) -> None:
    """Append the beginning of the file's first frame, as a write leaves it that was cut off."""
    with file.open("r+b") as stream:
        head = stream.read(HEAD)
        whole = head + stream.read(int.from_bytes(head[:4], "little"))
        stream.seek(0, 2)
        stream.write(whole[: draw.randrange(1, len(whole))])


def _logged(folder: Path, result: Killed) -> set[str]:
    """The ids of the predictions of record in the files."""
    ids = set[str]()
    for file in log_files(folder):
        frames = read_frames(file)
        result.torn += frames.torn > 0
        records = [record for payload in frames.payloads if (record := decoded(payload)) is not None]
        ids |= {record.id for record in records if record.recorded and record.role != "shadow"}
    return ids


def _drained(flights: FlightsHome) -> dict[str, int]:
    from trueup.config.load import load_model
    from trueup.config.settings import Settings
    from trueup.home import Home
    from trueup.model import Model
    from trueup.online.drain import drain

    home = Home(Settings(home=flights.home, configs=flights.configs, reports=False))
    try:
        return asdict(drain(Model(load_model(flights.configs, MODEL), home)))
    finally:
        home.close()
