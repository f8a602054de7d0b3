"""Makes a stage function a Prefect task, with its name, retries, no cache, and readable errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import State, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed

from trueup.errors import NotEnoughData, TrueupError
from trueup.loop.steps import DELAYS, RETRIES

P = ParamSpec("P")
R = TypeVar("R")


def stage_task(do: Callable[P, R], show: Callable[..., None] | None = None) -> Callable[P, R]:
    """Make the task of a stage function. Retries are for transient errors, such as a source that does not answer.

    `show` publishes an artifact: it is called with the arguments of the stage except the last, `as_of`, and with the
    result.

    Results are small references and the stages store their own records, so Prefect caches and stores nothing: its
    default policy would hash every input. Too little data is not an error: the task ends as `Held`, and the caller
    still gets the exception.
    """
    name, retries = do.__name__, RETRIES.get(do.__name__, 0)

    @wraps(do)
    def run_stage(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            result = do(*args, **kwargs)
        except NotEnoughData as few:
            return Completed(name="Held", message=str(few))
        if show is not None:
            show(*args[:-1], result)
        return result

    run = task(
        name=name,
        task_run_name=name + " {model.config.model}",
        retries=retries,
        retry_delay_seconds=list(DELAYS[:retries]) or None,
        retry_condition_fn=_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(run_stage)

    @wraps(do)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        result = run(*args, **kwargs)
        if isinstance(result, State):
            raise NotEnoughData(str(result.message))
        return cast("R", result)

    return call


def _transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001  (Prefect's signature)
    """Retry transient errors only."""
    try:
        state.result()
    except TrueupError as error:
        return error.transient
    except Exception:
        return False
    return False
