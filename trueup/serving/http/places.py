"""The addresses of the server: what each takes and answers, and who may ask."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from trueup.errors import WorkError
from trueup.hints import did_you_mean
from trueup.serving import metrics
from trueup.serving.http import mlflow_protocol, openapi, page
from trueup.serving.http.body import JSON
from trueup.serving.http.found import Found
from trueup.serving.http.predict import Answered, Asked, Predictor
from trueup.serving.http.problems import Problem
from trueup.serving.http.schema import DIALECT, row_schema
from trueup.serving.rollout import read_figures
from trueup.serving.tokens import Scope

_JSON: Final = (b"content-type", b"application/json")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


Predict = Callable[[bytes, Asked, Mapping[bytes, bytes]], Awaitable[Answered]]


def _nothing() -> Found:
    raise AssertionError("this address takes rows")


class Place(NamedTuple):
    """An address, which takes rows or has something to get. `scope` is None if anybody may ask."""

    scope: Scope | None
    get: Callable[[], Found] = _nothing
    model: str = ""
    predict: Predict | None = None
    types: tuple[str, ...] = JSON  # of bodies

    @property
    def method(self) -> str:
        return "GET" if self.predict is None else "POST"


class Places:
    """The addresses of a server with some models. `is_open` says whether no token is needed."""

    def __init__(
        self, predictors: Mapping[str, Predictor], figures: metrics.Metrics, is_open: Callable[[], bool]
    ) -> None:
        self._predictors, self._figures, self._open = predictors, figures, is_open
        self._places = self._general()
        for name, predictor in predictors.items():
            self._places |= self._of_model(name, predictor)
        if len(predictors) == 1:  # MLflow's servers have one model
            self._places["/invocations"] = self._places[f"/v1/models/{next(iter(predictors))}/invocations"]

    def at(self, path: str) -> Place | None:
        """The place at a path."""
        return self._places.get(path)

    def unknown(self, path: str) -> Problem:
        """The problem of a path that leads nowhere."""
        start = "/v1/models/"
        name = path.removeprefix(start).split("/")[0] if path.startswith(start) else ""
        if name and name not in self._predictors:
            step = did_you_mean(name, self._predictors, "GET /v1/models lists them")
            return Problem(404, "no-model", f"there is no model {name[:100]}; {step}")
        if path == "/invocations":
            names = ", ".join(f"/v1/models/{name}/invocations" for name in self._predictors)
            return Problem(404, "no-place", f"there are several models here; ask one of {names}")
        near = did_you_mean(path, self._places, "GET /openapi.json lists the addresses")
        return Problem(404, "no-place", f"there is nothing at {path[:200]}; {near}")

    def _general(self) -> dict[str, Place]:
        return {
            "/health/live": Place(None, lambda: _json({"status": "live"})),
            "/health/ready": Place(None, self._ready),
            "/metrics": Place("predict", self._metrics),
            "/v1/models": Place("predict", self._list),
            "/openapi.json": Place("predict", self._openapi),
            "/": Place(None, page.page),
            "/ping": Place(None, lambda: Found(b"\n", (_TEXT,))),
            "/version": Place(None, _version),
        }

    def _of_model(self, name: str, predictor: Predictor) -> dict[str, Place]:
        start = f"/v1/models/{name}"

        async def predict(body: bytes, asked: Asked, _: Mapping[bytes, bytes]) -> Answered:
            return await predictor.predict(body, asked)

        return {
            start: Place("predict", partial(_facts, predictor), name),
            f"{start}/rollout": Place("admin", partial(_figures, predictor), name),
            f"{start}/schema": Place("predict", partial(_schema, predictor), name),
            f"/models/{name}": Place(None, page.page),
            f"{start}/predict": Place("predict", model=name, predict=predict),
            f"{start}/invocations": Place(
                "predict", model=name, predict=partial(mlflow_protocol.invoke, predictor), types=mlflow_protocol.TYPES
            ),
        }

    def _ready(self) -> Found:
        lacking = {
            name: one.served.failure or "nothing is published yet"
            for name, one in self._predictors.items()
            if one.served.current is None
        }
        if lacking:
            detail = "; ".join(f"{name}: {why}" for name, why in lacking.items())
            raise Problem(503, "not-ready", detail, headers=((b"retry-after", b"1"),))
        return _json({"status": "ready", "models": list(self._predictors)})

    def refresh(self) -> None:
        """Set the figures that are not counted."""
        for one in self._predictors.values():
            self._figures.refresh(one.served, one.log.log, one.log.lag())

    def _metrics(self) -> Found:
        self.refresh()
        return Found(self._figures.text(), ((b"content-type", metrics.CONTENT_TYPE),))

    def _openapi(self) -> Found:
        bundles = {name: one.served.current for name, one in self._predictors.items()}
        return _json(openapi.document(bundles, tokens=not self._open()))

    def _list(self) -> Found:
        return _json({"models": [facts(one) for one in self._predictors.values()]})


def facts(predictor: Predictor) -> dict[str, Any]:
    """What is known about a model of this process: what answers, how current it is, and what is wrong."""
    served, bundle = predictor.served, predictor.served.current
    since = served.unreachable_since
    said: dict[str, Any] = {
        "model": served.name,
        "ready": bundle is not None,
        "problem": served.failure,
        "age_seconds": served.age,
        "ledger": "reachable" if since is None else f"unreachable since {_moment(since)}",
        "held_requests": predictor.held,
    }
    if bundle is None:
        return said
    state = bundle.state
    return said | {
        "about": state.about,
        "task": state.task,
        "timezone": state.timezone,
        "version": bundle.champion.version,
        "epoch": bundle.champion.epoch,
        "phase": "champion" if state.rollout is None else state.rollout.phase,
        "rollout": None if state.rollout is None else _rollout(predictor),
        "history_known_until": None if state.history is None else state.history.known_until,
        "published_at": state.published_at,
        "loaded_at": _moment(bundle.loaded_at),
        "loaded_seconds": round(time.time() - bundle.loaded_at, 3),
        "durability": state.serve.durability,
    }


def _rollout(predictor: Predictor) -> dict[str, Any]:
    bundle = predictor.bundle()
    rollout, challenger = bundle.state.rollout, bundle.challenger
    assert rollout is not None
    return {
        "challenger": None if bundle.state.challenger is None else bundle.state.challenger.version,
        "loaded": challenger is not None,
        "step": rollout.step,
        "share": rollout.share if rollout.phase == "canary" else 0.0,
        "paused": rollout.paused,
        "stopped_here": bundle.routing is not None and bundle.routing.tripped,
    }


def _figures(predictor: Predictor) -> Found:
    """The rollout under way, with what all workers of this home counted. Raises Problem without one."""
    bundle = predictor.bundle()
    rollout = bundle.state.rollout
    if rollout is None:
        detail = f"no rollout of {predictor.served.name} is under way; GET /v1/models/{predictor.served.name} says what answers"
        raise Problem(404, "no-rollout", detail)
    if bundle.routing is not None:
        with suppress(WorkError):  # the disk is full: the file keeps its older counts
            bundle.routing.flush()
    figures = read_figures(predictor.served.folder, rollout.id)
    return _json({"model": predictor.served.name, "rollout": rollout, "here": _rollout(predictor), "figures": figures})


def _facts(predictor: Predictor) -> Found:
    return _json(facts(predictor))


def _version() -> Found:
    """The program's version: slow to find, and seldom asked."""
    from importlib.metadata import version

    return Found(version("trueup").encode(), (_TEXT,))


def _schema(predictor: Predictor) -> Found:
    encoder = predictor.bundle().champion.encoder
    described = {"$schema": DIALECT, "title": f"A row of {predictor.served.name}", **row_schema(encoder)}
    return Found(msgspec.json.encode(described), ((b"content-type", b"application/schema+json"),))


def _json(content: Any) -> Found:
    return Found(msgspec.json.encode(content), (_JSON,))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
