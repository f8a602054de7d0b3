"""MLflow's webhooks: a change of a champion's alias outside of Trueup is noticed at once, and put right from the ledger.

The reports' server of the stack receives them. A server of MLflow signs each with a secret that only both know.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from trueup.adapters.mlflow.models import CHAMPION
from trueup.config.load import load_model, model_names
from trueup.config.settings import Settings
from trueup.errors import TrueupError
from trueup.home import Home
from trueup.ledger.write_once import made_once
from trueup.orchestration.hooks import notify_people
from trueup.orchestration.stack.services import MLFLOW, REPORTS, Layout
from trueup.secrecy import masked

PATH: Final = "/webhooks/mlflow"
_EVENTS: Final = [{"entity": "MODEL_VERSION_ALIAS", "action": action} for action in ("CREATED", "DELETED")]
_WEBHOOKS: Final = "/api/2.0/mlflow/webhooks"
_LATELY: Final = 300.0  # seconds for which a signature is good
_LARGEST: Final = 64 * 1024  # bytes of a request
_REMEMBERED: Final = 1000  # ids of deliveries
_SECONDS: Final = 10.0  # for one answer of MLflow
_REPAIR: Final = 600.0  # seconds for one repair

log = logging.getLogger(__name__)


def webhook_secret(settings: Settings) -> str:
    """The secret with which MLflow signs: the configured one, or that in the home, which the first process makes."""
    return settings.webhook_secret or made_once(
        settings.root / "stack" / "webhook.secret", lambda: secrets.token_hex(32)
    )


def encryption_key(settings: Settings) -> str:
    """The key under which the stack's MLflow keeps the secret. With another at each start it could not read it again."""
    made = made_once(
        settings.root / "stack" / "webhook.key", lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    )
    return os.environ.get("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY") or made


# Registration


def registered(layout: Layout) -> Iterator[str]:
    """Register with MLflow's server, if one can reach the reports' server; what became of it, in words."""
    settings, address = layout.settings, layout.settings.webhook_url
    if REPORTS not in layout.programs:
        return
    server = layout.address(MLFLOW) if MLFLOW in layout.programs else settings.mlflow_uri or ""
    if address is None and MLFLOW in layout.programs and settings.loopback:
        address = layout.address(REPORTS)
    if address is None or not server.startswith(("http://", "https://")):
        return
    name = f"trueup-{hashlib.sha256(str(layout.home).encode()).hexdigest()[:12]}"
    try:
        yield register(server, address.rstrip("/") + PATH, webhook_secret(settings), name)
    except httpx.HTTPError as error:
        detail = error.response.text[:200] if isinstance(error, httpx.HTTPStatusError) else str(error)
        yield f"MLflow at {masked(server)} takes no webhook: {detail}; `trueup reconcile` finds changed aliases"


def register(server: str, address: str, secret: str, name: str) -> str:
    """Register a webhook by its name, or correct the registered one. Returns what was done; raises httpx.HTTPError."""
    body = {"name": name, "url": address, "events": _EVENTS, "secret": secret, "status": "ACTIVE"}
    body["description"] = "Changes of the alias champion, for Trueup"
    url = server.rstrip("/") + _WEBHOOKS
    answer = _ask("GET", url, None)
    if answer.status_code in (404, 405, 501):
        return f"MLflow at {masked(server)} has no webhooks; `trueup reconcile` finds changed aliases"
    known = next((w for w in answer.raise_for_status().json().get("webhooks", []) if w["name"] == name), None)
    if known is None:
        _ask("POST", url, body).raise_for_status()
    else:
        _ask("PATCH", f"{url}/{known['webhook_id']}", body).raise_for_status()
    return "MLflow tells the reports' server about changed aliases"


def _ask(method: str, url: str, body: Mapping[str, Any] | None) -> httpx.Response:
    away, who = url.startswith("https:"), os.environ.get("MLFLOW_TRACKING_USERNAME")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token and not who else {}
    auth = (who, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if who else None
    return httpx.request(
        method, url, json=body, headers=headers, auth=auth, timeout=_SECONDS, trust_env=away, verify=away
    )


# Receipt


class Inbox:
    """Receives webhooks, and has models with a changed alias checked one after another, in a thread."""

    def __init__(
        self,
        settings: Settings,
        repair: Callable[[str], int | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`repair` puts the alias of a model right and returns the version that it set, None if nothing was wrong."""
        self._settings, self._clock = settings, clock
        self._repair = repair or repaired
        self._secret = webhook_secret(settings)
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._waiting: queue.Queue[str] = queue.Queue()
        self._queued: set[str] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def host(self) -> str:
        """The name by which MLflow's server reaches this one, if it is another than that of this machine."""
        return urlsplit(self._settings.webhook_url or "").hostname or ""

    async def receive(self, request: Request) -> Response:
        """Answer one delivery: 401 without a good signature, else what is done about it."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST:
                return JSONResponse({"detail": f"larger than {_LARGEST} bytes"}, 413)
        if (why := refused(self._secret, request.headers, body, self._clock())) is not None:
            return JSONResponse({"detail": why}, 401)
        delivery = request.headers["x-mlflow-delivery-id"]
        if self._again(delivery):
            return JSONResponse({"detail": "delivered before"})
        try:
            content = json.loads(body)
            model = await run_in_threadpool(self._model_of, content)  # it reads files and the database
        except (ValueError, TypeError, AttributeError):
            return JSONResponse({"detail": "not an event of MLflow"}, 400)
        except (TrueupError, SQLAlchemyError, OSError) as error:
            with self._lock:  # MLflow sends it again under the same id
                self._seen.pop(delivery, None)
            return JSONResponse({"detail": f"cannot be read now ({type(error).__name__}); send it again"}, 503)
        if model is None:
            return JSONResponse({"detail": "nothing to do"})
        self._check(model)
        return JSONResponse({"detail": f"{model} is checked"}, 202)

    def _again(self, delivery: str) -> bool:
        with self._lock:
            known = delivery in self._seen
            self._seen[delivery] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return known

    def _model_of(self, content: Mapping[str, Any]) -> str | None:
        """The model whose alias an event changed; None for other events, and for an alias as the ledger has it."""
        data = content.get("data", {})
        if content.get("entity") != "model_version_alias" or data.get("alias") != CHAMPION:
            return None
        for name in model_names(self._settings.configs):
            try:
                config = load_model(self._settings.configs, name)
            except TrueupError:
                continue  # `trueup check` reports it
            if config.registered_name == data.get("name"):
                return None if self._agrees(name, content.get("action"), data.get("version")) else name
        return None

    def _agrees(self, model: str, action: object, version: object) -> bool:
        home = Home(self._settings, looks=True)
        try:
            champion = home.ledger.champion(model)
        finally:
            home.close()
        if champion is None:
            return True  # reconcile has nothing to set it from
        return action == "created" and str(version) == str(champion.version)

    def _check(self, model: str) -> None:
        with self._lock:
            if model in self._queued:
                return
            self._queued.add(model)
            self._waiting.put(model)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            model = self._waiting.get()
            with self._lock:
                self._queued.discard(model)
            try:
                version = self._repair(model)
            except Exception as error:
                log.warning("%s: its alias was changed in MLflow, and could not be checked: %s", model, error)
                continue
            if version is not None:
                log.warning("%s: its alias was changed in MLflow; it is version %s again", model, version)
                notify_people(
                    f"{model}'s alias was changed", f"in MLflow, by somebody else; it is version {version} again"
                )


def refused(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
    """Why a delivery is not from MLflow, or is too old; None for a good one.

    The signature is HMAC-SHA256 over the id, the time and the body, so that none of them can be replaced.
    """
    given = [headers.get(f"x-mlflow-{name}", "") for name in ("delivery-id", "timestamp", "signature")]
    delivery, moment, signature = given
    signed = hmac.new(secret.encode(), f"{delivery}.{moment}.".encode() + body, hashlib.sha256).digest()
    if not hmac.compare_digest(signature.encode(), b"v1," + base64.b64encode(signed)):
        return "the signature is missing or wrong"
    if not moment.isdigit() or abs(now - int(moment)) > _LATELY:
        return f"signed more than {_LATELY:.0f} s ago; compare the clocks of both machines"
    return None


def repaired(model: str) -> int | None:
    """Run `trueup reconcile` for a model in a process of its own. Raises an error if it fails or takes minutes."""
    command = [sys.executable, "-m", "trueup", "reconcile", model, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_REPAIR, check=False)
    lines = done.stdout.strip().splitlines()
    content = json.loads(lines[-1]) if lines else {}
    found = next((m["alias"] for m in content.get("models", []) if m["model"] == model), None)
    if found is None and done.returncode:
        raise RuntimeError("; ".join(content.get("problems", [])) or done.stderr.strip()[-200:])
    return None if found is None else int(found)
