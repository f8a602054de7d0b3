"""Apply the retention of the configs: remove old reports, snapshots and predictions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from trueup.config.load import load_model, model_names
from trueup.config.schema import ModelConfig
from trueup.errors import WorkError
from trueup.home import Ports
from trueup.orchestration.hooks import TOLD
from trueup.upkeep.retention import Collected, gc_shared
from trueup.upkeep.retention import gc as collect

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cleared:
    """What was removed, or with `dry_run` would be, and what could not be looked at."""

    dry_run: bool
    collected: tuple[Collected, ...]
    problems: tuple[str, ...]


def clear_out(models: Sequence[str] | None = None, dry_run: bool = False) -> Cleared:
    """Remove what is too old in the home: of the models named, or of all that have a config and of what they share.

    One model that cannot be looked at does not stop the others. Raises WorkError when another is at work on the files.
    """
    ports = Ports()
    collected, problems, configs = list[Collected](), list[str](), list[ModelConfig]()
    try:
        with ports.alone_with_files() as alone:
            if not alone:
                raise WorkError("another `trueup gc`, or a backup, is at work on the files; wait for it and run again")
            for name in models if models is not None else model_names(ports.configs):
                try:
                    configs.append(load_model(ports.configs, name))
                    collected.append(collect(configs[-1], ports, dry_run))
                except Exception as error:
                    problems.append(f"{name}: {error}")
            if models is None and not problems:  # else nobody can say what is in use
                collected.append(gc_shared(configs, ports, dry_run))
    finally:
        ports.close()
    return Cleared(dry_run, tuple(collected), tuple(problems))


@flow(name="gc", flow_run_name="gc", **TOLD)
def gc(dry_run: bool = False) -> Cleared:
    """Apply the retention of every config in the home.

    Args:
        dry_run: Only say what would be removed.
    """
    found = clear_out(dry_run=dry_run)
    for problem in found.problems:
        log.warning("%s", problem)
    return found
