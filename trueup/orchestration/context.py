"""What every flow does first: read the config, open the home, resolve as_of. Nothing below it reads the clock to find out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.data.types import Actor
from trueup.errors import ConfigError, TrueupError
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.environment import MISTAKE
from trueup.orchestration.hooks import pass_on

if TYPE_CHECKING:
    from trueup.home import Home
    from trueup.model import Model


@dataclass(frozen=True)
class Opened:
    """A model in its home, and the moment for which a flow runs."""

    model: Model
    as_of: datetime


@contextmanager
def opened(model: str, as_of: datetime | None, settings: Settings | None = None, by: str = "") -> Iterator[Opened]:
    """Open a home for one flow run; at its end the outbox is passed on. Reports may still be rendered when it ends; the process waits for them.

    `by` is the person who asked for the run, where one said so.
    """
    logging.getLogger("prefect.flow_runs").addFilter(_no_traceback)
    logging.getLogger("prefect.task_runs").addFilter(_no_traceback)
    _put_project_on_path()
    from trueup.audit.dossiers import dossiers_kept_current
    from trueup.home import Home
    from trueup.model import Model

    home = Home(settings)
    home.actor = of_this_run(by)
    config = sound_config(home.configs, model)
    try:
        with dossiers_kept_current(home):
            held = Model(config, home)
            yield Opened(held, resolve_as_of(held, as_of))
    finally:
        pass_on(home)
        home.close()


@contextmanager
def opened_home(actor: Actor, settings: Settings | None = None) -> Iterator[Home]:
    """Open a home for a decision that needs no moment and no data; at its end the outbox is passed on."""
    logging.getLogger("prefect.flow_runs").addFilter(_no_traceback)
    _put_project_on_path()
    from trueup.audit.dossiers import dossiers_kept_current
    from trueup.home import Home

    home = Home(settings)
    home.actor = actor
    try:
        with dossiers_kept_current(home):
            yield home
    finally:
        pass_on(home)
        home.close()


def _put_project_on_path() -> None:
    """Prefect has the project's folder on the path only while it imports a flow, and its body imports the project's tasks."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)


def _no_traceback(record: logging.LogRecord) -> bool:
    """Prefect logs every error with its traceback; one that is meant for people says all in its message."""
    if record.exc_info and isinstance(record.exc_info[1], TrueupError):
        record.exc_info = record.exc_text = None
        setattr(record, MISTAKE, True)
    return True


def sound_config(configs: Path, model: str) -> ModelConfig:
    """Read a config. Raises UnknownModel, and ConfigError with all of its mistakes, also those that only libraries know."""
    try:
        return load_model(configs, model)
    except ConfigError:
        from trueup.stages.config_problems import refusal

        raise refusal(configs, model) from None


def resolve_as_of(model: Model, given: datetime | None) -> datetime:
    """Give the moment the loop stands at: the one given, else by the config's clock, in the model's zone, naive."""
    if given is not None:
        return in_zone(model.config, given)
    if model.config.clock == "wall":
        return in_zone(model.config, datetime.now(UTC))

    return model.newest_complete()


def in_zone(config: ModelConfig, given: datetime) -> datetime:
    """A moment in the model's time zone, naive; one without offset is taken to be so already."""
    return given if given.tzinfo is None else given.astimezone(ZoneInfo(config.ingest.timezone)).replace(tzinfo=None)
