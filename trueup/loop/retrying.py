"""Runs the steps of the loop in this process, with retries of transient errors."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import tenacity

from trueup.errors import TrueupError
from trueup.loop import steps

log = logging.getLogger(__name__)


class Retrying:
    """The steps of `trueup.loop.steps`, with the retries that the Prefect tasks have."""

    def __getattr__(self, name: str) -> Any:
        policy = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, TrueupError) and e.transient),
            stop=tenacity.stop_after_attempt(1 + steps.RETRIES.get(name, 0)),
            wait=tenacity.wait_chain(*map(tenacity.wait_fixed, steps.DELAYS)),
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        return partial(policy, getattr(steps, name))
