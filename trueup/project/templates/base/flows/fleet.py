# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""One turn of the loop for many models: each is a flow run of its own within this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from prefect import State, flow
from pydantic import Field

from trueup.domain.types import Retrain
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.context import opened_home
from trueup.orchestration.hooks import FLOW_OPTIONS, title
from trueup.orchestration.parameters import AsOf, ModelName, Text

if TYPE_CHECKING:
    from trueup.orchestration.fleet.one_model import Orders


@flow(name="turn", flow_run_name=title, **FLOW_OPTIONS)
def turn(model: ModelName, as_of: AsOf = None, retrain: Retrain = "inline") -> Any:
    """Turn the loop of one model of a fleet once. It does not wait for another run of the model.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment for which to run, in the chosen time zone; default: by the config's clock.
        retrain: What to do when the diagnosis asks for a retrain.
    """
    from trueup.orchestration.fleet.flow_runs import turn_in_flow
    from trueup.orchestration.fleet.one_model import Orders

    def stages() -> Any:
        import tasks
        from trueup.orchestration.artifacts import show_decision

        return tasks, show_decision

    return turn_in_flow(model, Orders(as_of, retrain), stages)


def turn_of(model: str, orders: Orders) -> State[Any]:
    """Run the flow of one model, and return its last state."""
    state: Any = turn(model, as_of=orders.as_of, retrain=orders.retrain, return_state=True)
    return cast("State[Any]", state)


@flow(name="fleet", flow_run_name="fleet", **FLOW_OPTIONS)
def fleet(
    tags: list[Text] | None = None,
    workers: Annotated[int, Field(ge=1, le=64)] = 1,
    as_of: AsOf = None,
    retrain: Retrain = "inline",
) -> Any:
    """Turn the loop of every model once, the most urgent first. One failing model stops no other.

    Args:
        tags: Only models with any of these tags in their config; default: all.
        workers: Number of models at the same time, each in its own process.
        as_of: The moment for which to run, in each model's time zone; default: by each config's clock.
        retrain: What to do when a diagnosis asks for a retrain.
    """
    with opened_home(of_this_run()) as home:
        from trueup.orchestration.fleet.flow_runs import fleet_of_flows
        from trueup.orchestration.fleet.one_model import Orders

        return fleet_of_flows(home, Orders(as_of, retrain), tags or [], workers, turn_of)
