# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Release the next batch of old data, as a live source would."""

from __future__ import annotations

import logging

from prefect import flow

from trueup.config.load import load_model
from trueup.domain.events import interval
from trueup.errors import NoData
from trueup.model import Model
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.context import opened_home
from trueup.orchestration.hooks import FLOW_OPTIONS
from trueup.orchestration.parameters import ModelName
from trueup.upkeep.simulate_arrivals import feed_next, original

log = logging.getLogger(__name__)


@flow(name="feed", flow_run_name="feed {model}", **FLOW_OPTIONS)
def feed(model: ModelName, configs: str | None = None) -> str | None:
    """Put the next batch into the home and announce that it arrived; return its window, or None if all were released.

    Args:
        model: Name of a config.
        configs: Folder of the config written by hand; default: TRUEUP_CONFIGS, or `configs` where that names the folder
            that the feed writes for the loop.
    """
    with opened_home(of_this_run(), original(configs)) as home:
        try:
            done = feed_next(Model(load_model(home.configs, model), home))
        except NoData as nothing_left:  # a schedule keeps calling
            log.info("%s", nothing_left)
            return None
        return interval(done.released[-1])
