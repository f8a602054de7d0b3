"""How a stage function becomes a Prefect task: its name, its retries, no cache, and errors that people can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun

from trueup.errors import TrueupError

P = ParamSpec("P")
R = TypeVar("R")


def stage(name: str, *, retries: int = 0) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a stage's task. Retries are for what may pass: a source or a registry that does not answer.

    Results are small references and the stages keep their own records, so Prefect caches and stores nothing: its
    default policy would hash every input.
    """
    return task(
        name=name,
        task_run_name=name + " {config.model}",
        retries=retries,
        retry_delay_seconds=[2.0, 10.0, 30.0][:retries] or None,
        retry_condition_fn=_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001  (Prefect's signature)
    """Retry when the error says that it may pass by itself; wrong data stays wrong."""
    try:
        state.result()
    except TrueupError as error:
        return error.transient
    except Exception:
        return False
    return False
