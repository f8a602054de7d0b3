"""A client of `trueup serve` that retries well. Copy it into your project; it needs httpx only.

    python serving_client.py http://127.0.0.1:8200 flight_delays < rows.jsonl

reads one row as JSON from each line and prints one prediction as JSON on each line. The token is in TRUEUP_TOKEN.

What it does, and why:
- All attempts of a request have the same idempotency key and the same bytes. If the answer to the first one was lost on its
  way, the server process that made it gives it again and logs no second prediction. Another worker or machine predicts again;
  the first prediction of a row is the one that counts.
- It retries only what may succeed later: no connection, a lost one, a timeout, and the statuses 429, 502, 503 and 504. Any other 4xx is
  the caller's mistake, so it raises `Refused` with everything that the server says is wrong.
- It waits as long as the server asks in Retry-After, otherwise a random time below a limit that doubles. Without the randomness
  all clients of a server that was away would come back at the same moment.
- `deadline` limits the whole request with all waiting, so a caller knows how long it may take.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self

import httpx

RETRIED: Final = frozenset({429, 502, 503, 504})
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0  # seconds, of the limit that doubles


class Refused(Exception):
    """The server says that the request is wrong. `problem` is its explanation (RFC 9457), with a list `errors`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, problem
        mistakes = [f"{e.get('where')}: {e.get('what')}; {e.get('next')}" for e in problem.get("errors", [])]
        super().__init__(" | ".join([f"{status} {problem.get('title', '')}: {problem.get('detail', '')}", *mistakes]))


class Unavailable(Exception):
    """No answer within the deadline; the request may have been answered and logged all the same."""


class ServingClient:
    """Asks one server for the predictions of one model. Threads may share it.

    `deadline` are the seconds for a request with all its attempts, `timeout` those for one attempt.
    """

    def __init__(
        self,
        url: str,
        model: str,
        token: str | None = None,
        *,
        deadline: float = 30.0,
        timeout: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        self._path, self._deadline, self._sleep = f"/v1/models/{model}/predict", deadline, sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def predict(self, rows: Sequence[Mapping[str, Any]], idempotency_key: str | None = None) -> dict[str, Any]:
        """Predict rows of plain values: numbers, texts, None, times as ISO text. Returns the server's answer.

        A caller that may itself be started again gives a key that stays the same then, such as the id of an order.
        Raises Refused and Unavailable.
        """
        body = json.dumps({"rows": list(rows)}, allow_nan=False).encode()
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        until, attempt = time.monotonic() + self._deadline, 0
        while True:
            reason, asked = "", None
            try:
                answer = self._http.post(self._path, content=body, headers=headers)
            except httpx.TransportError as error:  # no connection, a lost one, a timeout
                reason = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code not in RETRIED:
                    return _read(answer)
                reason, asked = f"{answer.status_code}: {answer.text[:300]}", _retry_after(answer)
            wait = asked if asked is not None else _jittered(attempt)
            attempt += 1
            if time.monotonic() + wait > until:
                raise Unavailable(
                    f"no prediction after {attempt} attempts in {self._deadline:g} s; the last one: {reason}"
                )
            self._sleep(wait)


def _read(answer: httpx.Response) -> dict[str, Any]:
    """The answer's content. Raises Refused unless the status is 2xx."""
    try:
        content = answer.json()
    except ValueError:
        content = {"title": "an answer that is no JSON", "detail": answer.text[:300]}
    if answer.is_success:
        return dict(content)
    raise Refused(answer.status_code, content if isinstance(content, dict) else {"detail": str(content)})


def _retry_after(answer: httpx.Response) -> float | None:
    """The seconds that the server asks to wait, plus up to a tenth; None if it does not say.

    The header has seconds or a date. A tenth at random keeps clients with the same answer apart.
    """
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdigit():
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    return seconds * random.uniform(1.0, 1.1)


def _jittered(attempt: int) -> float:
    """A random wait in seconds below a limit that doubles with each attempt."""
    return random.uniform(0, min(_FIRST_WAIT * 2.0**attempt, _LONGEST_WAIT))


def main() -> int:
    """Predict the rows of the standard input, some of them in a request."""
    if len(sys.argv) != 3:
        sys.stderr.write("usage: python serving_client.py URL MODEL < rows.jsonl\n")
        return 2
    rows = [json.loads(line) for line in sys.stdin if line.strip()]
    with ServingClient(sys.argv[1], sys.argv[2], os.environ.get("TRUEUP_TOKEN")) as client:
        for first in range(0, len(rows), 100):
            try:
                answer = client.predict(rows[first : first + 100])
            except (Refused, Unavailable) as error:
                sys.stderr.write(f"rows {first + 1} to {min(first + 100, len(rows))}: {error}\n")
                return 1
            for prediction in answer["predictions"]:
                sys.stdout.write(json.dumps(prediction) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
