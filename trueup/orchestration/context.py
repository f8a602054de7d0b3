"""The context of every flow: its config, its home and its as_of. Only this module reads the clock."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from trueup.config import environments
from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.types import Actor
from trueup.errors import ConfigError, TrueupError
from trueup.orchestration.actor import of_this_run, parent_of_stages
from trueup.orchestration.environment import MISTAKE
from trueup.orchestration.hooks import pass_on

if TYPE_CHECKING:
    from trueup.home import Home
    from trueup.model import Model


@dataclass(frozen=True)
class Opened:
    """A model in its home, and the `as_of` of a flow run."""

    model: Model
    as_of: datetime


@contextmanager
def opened(model: str, as_of: datetime | None, settings: Settings | None = None, by: str = "") -> Iterator[Opened]:
    """Open a home for one flow run, and deliver the outbox at its end; the process still waits for its reports.

    `by` is the person who requested the run, if any.
    """
    from trueup.home import Home

    enter_environment()
    home = Home(settings)
    home.actor = of_this_run(by)
    try:
        with opened_in(home, model, as_of) as o:
            yield o
    finally:
        home.close()


@contextmanager
def opened_in(home: Home, model: str, as_of: datetime | None, config: ModelConfig | None = None) -> Iterator[Opened]:
    """Open a model in an open home, and deliver the outbox at the end of the block. `config` is its config, if read."""
    logging.getLogger("prefect.flow_runs").addFilter(_no_traceback)
    logging.getLogger("prefect.task_runs").addFilter(_no_traceback)
    _put_project_on_path()
    from trueup.audit.dossiers import dossiers_kept_current
    from trueup.model import Model

    try:
        home.parent = parent_of_stages()
        with dossiers_kept_current(home):
            opened_model = Model(config or sound_config(home.configs, model), home)
            yield Opened(opened_model, resolve_as_of(opened_model, as_of))
    finally:
        pass_on(home)


@contextmanager
def opened_home(actor: Actor, settings: Settings | None = None) -> Iterator[Home]:
    """Open a home for a decision that needs no `as_of` and no data, and deliver the outbox at its end."""
    logging.getLogger("prefect.flow_runs").addFilter(_no_traceback)
    _put_project_on_path()
    from trueup.audit.dossiers import dossiers_kept_current
    from trueup.home import Home

    enter_environment()
    home = Home(settings)
    home.actor = actor
    try:
        with dossiers_kept_current(home):
            yield home
    finally:
        pass_on(home)
        home.close()


def enter_environment() -> None:
    """Let a flow run act in the environment of its deployment, which TRUEUP_ENV names; see `config.environments`."""
    if (name := os.environ.get(environments.VARIABLE)) is not None:
        environments.enter_named(name, os.environ)


def _put_project_on_path() -> None:
    """Keep the project's folder on the path for the flow's own imports; Prefect only does while it imports the flow."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)


def _no_traceback(record: logging.LogRecord) -> bool:
    """Log an error for people without its traceback, which Prefect always adds."""
    if record.exc_info and isinstance(record.exc_info[1], TrueupError):
        record.exc_info = record.exc_text = None
        setattr(record, MISTAKE, True)
    return True


def sound_config(configs: Path, model: str) -> ModelConfig:
    """Read a config. Raises UnknownModel, and ConfigError with all mistakes, including those that only libraries know."""
    try:
        return load_model(configs, model)
    except ConfigError:
        from trueup.stages.config_problems import refusal

        raise refusal(configs, model) from None


def resolve_as_of(model: Model, as_of: datetime | None) -> datetime:
    """The loop's moment: the given one, else by the config's clock, in the model's zone, naive."""
    if as_of is not None:
        return in_zone(model.config, as_of)
    if model.config.clock == "wall":
        return in_zone(model.config, datetime.now(UTC))

    return model.newest_complete()


def in_zone(config: ModelConfig, moment: datetime) -> datetime:
    """A moment in the model's time zone, naive; one without offset is taken to be in it."""
    return moment if moment.tzinfo is None else moment.astimezone(ZoneInfo(config.ingest.timezone)).replace(tzinfo=None)
