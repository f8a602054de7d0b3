"""How a stage function becomes a Prefect task: its name, its retries, no cache, and errors that people can read."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed

from trueup.errors import NotEnoughData, TrueupError

P = ParamSpec("P")
R = TypeVar("R")


def stage(name: str, *, retries: int = 0) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a stage's task. Retries are for what may pass: a source or a registry that does not answer.

    Results are small references and the stages keep their own records, so Prefect caches and stores nothing: its
    default policy would hash every input. Too little data is no error: the task ends as `Held`, and who called it gets
    the exception all the same.
    """
    made = task(
        name=name,
        task_run_name=name + " {config.model}",
        retries=retries,
        retry_delay_seconds=[2.0, 10.0, 30.0][:retries] or None,
        retry_condition_fn=_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )

    def decorate(do: Callable[P, R]) -> Callable[P, R]:
        @wraps(do)
        def held(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                return do(*args, **kwargs)
            except NotEnoughData as few:
                return Completed(name="Held", message=str(few))

        run = made(held)

        @wraps(do)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            found = run(*args, **kwargs)
            if isinstance(found, State):
                raise NotEnoughData(str(found.message))
            return cast("R", found)

        return call

    return decorate


def _transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001  (Prefect's signature)
    """Retry when the error says that it may pass by itself; wrong data stays wrong."""
    try:
        state.result()
    except TrueupError as error:
        return error.transient
    except Exception:
        return False
    return False
