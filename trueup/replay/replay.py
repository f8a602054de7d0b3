"""Replay policies side by side, as many at once as there are processes; it goes on where it was stopped."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ALL_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime, time
from pathlib import Path

from trueup.adapters.background import end_with_parent
from trueup.config.schema import ModelConfig
from trueup.domain.digest import config_digest, digest_of
from trueup.domain.types import Window
from trueup.errors import UsageError, WorkError
from trueup.replay import lives
from trueup.replay.play import Life, for_replay, play
from trueup.replay.policies import Policy, applied, require_distinct
from trueup.replay.world import World
from trueup.stages.ingest import newest_complete
from trueup.stages.ports import Ports

Tell = Callable[[float], None]  # hears the share that is done
_LOOK = 1.0  # seconds between two looks at how far they are


def replay(
    config: ModelConfig,
    ports: Ports,
    span: Window,
    policies: Sequence[Policy],
    workers: int = 1,
    tell: Tell = lambda _: None,
) -> list[Life]:
    """Let each policy live through the batches of `span`; give their lives, in the order of the policies.

    Nothing of the home is touched but its folder `replays`. What is found does not depend on `workers`. Raises
    UsageError for a policy that is none, NoData, SourceError, and WorkError when a process was killed.
    """
    require_distinct(policies)
    meant = [for_replay(applied(config, policy)) for policy in policies]  # all of them are read before any work
    world = World(ports.settings, folder(config, ports, span), span)
    homes = [world.home(each) for each in meant]  # begun here: they share a history, and the second would only wait
    if workers == 1:
        for number, policy in enumerate(policies):
            live(config, policy, world)
            tell((number + 1) / len(policies))
    else:
        _beside_each_other(config, policies, homes, world, workers, tell)
    return [lives.kept(policy, home) for policy, home in zip(policies, homes, strict=True)]


def folder(config: ModelConfig, ports: Ports, span: Window) -> Path:
    """Where all of a replay lies: another config or span is another replay."""
    named = digest_of([config_digest(config), span.start.isoformat(), span.end.isoformat()])
    return ports.root / "replays" / config.model / named[:16]


def forget(config: ModelConfig, ports: Ports, span: Window) -> None:
    """Throw away what was replayed of a config and a span."""
    shutil.rmtree(folder(config, ports, span), ignore_errors=True)


def live(config: ModelConfig, policy: Policy, world: World) -> None:
    """Play a policy unless it was played to its end."""
    home = world.home(for_replay(applied(config, policy)))
    if not lives.ended(home):
        lives.keep(play(config, policy, world, lambda done, of: lives.note_progress(home, done, of)), home)


def _beside_each_other(
    config: ModelConfig, policies: Sequence[Policy], homes: Sequence[Path], world: World, workers: int, tell: Tell
) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(policies)), context, initializer=_begin) as pool:
        waiting = set(jobs := [pool.submit(live, config, p, world) for p in policies])
        while waiting:
            waiting = wait(waiting, _LOOK, ALL_COMPLETED).not_done
            share = [1.0 if job.done() else lives.progress(home) for job, home in zip(jobs, homes, strict=True)]
            tell(sum(share) / len(share))
            if failed := [job for job in jobs if job.done() and job.exception() is not None]:
                pool.shutdown(cancel_futures=True)
                error = failed[0].exception()
                if isinstance(error, BrokenProcessPool):
                    raise WorkError(
                        "a process of the replay was killed, for want of memory perhaps; run the same again, with fewer "
                        "--workers: what is done is kept"
                    ) from None
                assert error is not None
                raise error


def _begin() -> None:
    logging.disable(logging.WARNING)
    threading.Thread(target=end_with_parent, daemon=True).start()


def whole_span(config: ModelConfig, ports: Ports, start: datetime | None, end: datetime | None) -> Window:
    """The span to replay: what is not said is all that the source holds. Raises UsageError, NoData, SourceError."""
    last = newest_complete(config, ports)
    extent = ports.source(config).extent()
    assert extent is not None  # there is a newest row
    found = Window(start or datetime.combine(extent[0].date(), time()), min(end or last, last))
    if found.end <= found.start:
        raise UsageError(
            f"--from {found.start:%Y-%m-%d} lies not before --to {found.end:%Y-%m-%d}, or before what the source holds"
        )
    return found
