"""Hand out the next batch of old data, as a live source would."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect import flow

from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.events import interval
from trueup.errors import NoData
from trueup.home import Home
from trueup.orchestration.hooks import TOLD, pass_on
from trueup.orchestration.parameters import ModelName
from trueup.upkeep.simulate_arrivals import feed_next, written

log = logging.getLogger(__name__)


@flow(name="feed", flow_run_name="feed {model}", **TOLD)
def feed(model: ModelName, configs: str | None = None) -> str | None:
    """Put the next batch into the home and announce that it arrived; give its window, or None when all were handed out.

    Args:
        model: Name of a config.
        configs: Folder of the config written by hand; default: TRUEUP_CONFIGS, or `configs` where that names the folder
            that the feed writes for the loop.
    """
    from trueup.model import Model

    settings = Settings()
    by_hand = Path(configs) if configs else settings.configs
    if by_hand.resolve() == written(settings.root):
        by_hand = Path("configs")
    home = Home(settings.model_copy(update={"configs": by_hand}))
    try:
        done = feed_next(Model(load_model(home.configs, model), home))
    except NoData as nothing_left:  # a schedule goes on asking
        log.info("%s", nothing_left)
        return None
    finally:
        pass_on(home)
        home.close()
    return interval(done.given[-1])
