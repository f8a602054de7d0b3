"""Replays policies in parallel, in processes or on workers; an interrupted replay continues."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, time
from pathlib import Path

from filelock import FileLock, Timeout

from trueup.adapters.background import end_with_parent
from trueup.adapters.dask.cluster import executor, gone
from trueup.adapters.dask.worker import alone, versions
from trueup.config.plugins import root_of
from trueup.config.policies import Policy, applied
from trueup.config.rules import contradictions
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.data.digest import config_digest, digest_of
from trueup.domain.types import Window
from trueup.errors import NotEnoughData, UsageError, WorkError
from trueup.home import Home
from trueup.loop.elsewhere import Elsewhere
from trueup.model import Model
from trueup.replay import policy_results
from trueup.replay.policy_run import PolicyRun, for_replay, play
from trueup.replay.sandbox import Sandbox
from trueup.replay.shipping import fetch_history, put_result, shipped

OnProgress = Callable[[float], None]  # called with the finished share
_PLAYING = ".playing"
_LOOK = 1.0  # seconds between updates of the progress


@dataclass(frozen=True)
class Replay:
    """A prepared history, and the policies to play on it, each in a home of its own."""

    config: ModelConfig
    sandbox: Sandbox
    policies: tuple[Policy, ...]
    homes: tuple[Path, ...]  # their homes
    versions: Mapping[str, str | None] = field(default_factory=versions)  # of packages; a worker must have the same
    there: Elsewhere | None = None  # how a worker of a cluster finds a home in an object store
    root: Path = Path()  # of the home on the machine that prepared the replay

    def folder_of(self, policy: Policy) -> Path:
        return self.homes[self.policies.index(policy)]

    def live(self, policy: Policy, on_progress: OnProgress = lambda _: None) -> None:
        """Play a policy unless it was played to its end; `on_progress` gets the progress of all.

        On a cluster with the home in an object store it is played in the worker's part of the home, see `shipping`.
        Raises what the loop raises, and NotEnoughData if it never had a champion: the others have the same bar for
        their first one, so they would have none either.
        """
        with alone(self.versions):
            if self.there is None:
                self._live(policy, on_progress)
            else:
                self._live_there(self.there, policy)

    def _live(self, policy: Policy, on_progress: OnProgress) -> None:
        folder = self.folder_of(policy)

        def note(done: int, of: int) -> None:
            policy_results.note_progress(folder, done, of)
            on_progress(self.progress())

        with FileLock(folder.with_suffix(_PLAYING)):  # two policies may be equal
            if not policy_results.ended(folder):
                policy_results.keep(play(self.config, policy, self.sandbox, note), folder)
        run = policy_results.kept(policy, folder)
        if not run.champions:
            raise NotEnoughData(
                f"{self.config.model}: no policy would have a champion in {self.sandbox.span}, for `{policy.name}` had none "
                f"and all have the same bar for the first: {run.why_none}; replay a longer span (--from, --to), or see "
                f"`trueup check {self.config.model} --rehearse`"
            )

    def _live_there(self, there: Elsewhere, policy: Policy) -> None:
        with there.opened() as home:
            folder = self._moved(self.sandbox.folder, home)
            settings = self.sandbox.settings.model_copy(update={"configs": home.configs})
            sandbox = replace(self.sandbox, folder=folder, settings=settings)
            meant = for_replay(applied(self.config, policy))
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                fetch_history(home, folder, sandbox.place(meant))
            here = replace(
                self, sandbox=sandbox, homes=tuple(self._moved(each, home) for each in self.homes), there=None
            )
            if not policy_results.ended(here.folder_of(policy)):
                sandbox.folder_of(meant)
            try:
                here._live(policy, lambda _: None)
            finally:
                if policy_results.ended(here.folder_of(policy)):
                    put_result(home, here.folder_of(policy))

    def _moved(self, path: Path, home: Home) -> Path:
        return home.root / path.relative_to(self.root)

    @contextmanager
    def shared(self, home: Home) -> Iterator[None]:
        """For the block, let the workers of a cluster find what they need, and fetch the results."""
        if self.there is None:
            yield
            return
        histories = [self.sandbox.place(for_replay(applied(self.config, policy))) for policy in self.policies]
        with shipped(home, self.sandbox.folder, histories, self.homes):
            yield

    def progress(self) -> float:
        return sum(map(policy_results.progress, self.homes)) / len(self.homes)

    def runs(self) -> list[PolicyRun]:
        """The stored results of all policies, in their order, once they have ended."""
        return [policy_results.kept(policy, home) for policy, home in zip(self.policies, self.homes, strict=True)]


def prepare(model: Model, span: Window, policies: Sequence[Policy], known_then: bool = False) -> Replay:
    """Lay out the history for all policies, in the home's folder `replays`.

    With `known_then` it is what the home had landed by each moment, else what the source has today. Raises UsageError
    for a policy that makes no valid config, NoData, SourceError.
    """
    meant = [_sound(model.config, policy) for policy in policies]  # parse all before any work
    if known_then and (
        other := [p.name for p, m in zip(policies, meant, strict=True) if m.ingest != model.config.ingest]
    ):
        raise UsageError(
            f"policy {other[0]!r} assumes other batches or another label delay, and --known-then uses the recorded ones; "
            "leave one of the two out"
        )
    place = folder(model, span, known_then)
    sandbox = Sandbox(_without_secrets(model.home.settings, place), place, span, known_then)
    # Started here: they share a history, and the second would only wait.
    homes = tuple(sandbox.folder_of(each, model.home) for each in meant)
    settings = model.home.settings
    there = Elsewhere.of(model.home) if settings.dask and settings.address else None
    return Replay(model.config, sandbox, tuple(policies), homes, there=there, root=model.home.root)


def _without_secrets(settings: Settings, home: Path) -> Settings:
    """The settings for another process, without keys and passwords, and without the cluster that it may be part of."""
    keys = ("ledger_key", "ledger_key_file", "ledger_earlier_keys", "ledger_public_keys")
    secret = (*keys, "notify", "reports_token", "prefect_database_url", "dask")
    return settings.apart(home, configs=settings.configs.resolve(), **dict.fromkeys(secret))


def _sound(config: ModelConfig, policy: Policy) -> ModelConfig:
    """The config of a policy. Raises UsageError for one that contradicts itself."""
    meant = applied(config, policy)
    if wrong := list(contradictions(meant.model_dump(mode="json", by_alias=True), root_of(*meant.named))):
        raise UsageError(f"policy {policy.name!r} contradicts itself: {'; '.join(map(str, wrong))}")
    return for_replay(meant)


def replay(
    model: Model,
    span: Window,
    policies: Sequence[Policy],
    workers: int = 1,
    on_progress: OnProgress = lambda _: None,
    known_then: bool = False,
) -> list[PolicyRun]:
    """Play each policy through the batches of `span`; return their results, in the order of the policies.

    The result does not depend on `workers`, nor on where they are: processes here or, with `TRUEUP_DASK`, a cluster.
    Raises like `prepare`, and WorkError if a process was killed or the cluster does not answer.
    """
    prepared = prepare(model, span, policies, known_then)
    if workers == 1 and model.home.settings.dask is None:
        for policy in policies:
            prepared.live(policy, on_progress)
    else:
        with (
            _executor(model.home.settings.dask, min(workers, len(policies))) as pool,
            prepared.shared(model.home),
        ):
            beside_each_other(prepared, pool, on_progress)
    return prepared.runs()


def folder(model: Model, span: Window, known_then: bool = False) -> Path:
    """The folder of a replay, which depends on config and span."""
    digest = digest_of([config_digest(model.config), span.start.isoformat(), span.end.isoformat(), known_then])
    return model.home.root / "replays" / model.config.model / digest[:16]


def forget(model: Model, span: Window, known_then: bool = False) -> None:
    """Delete the replay of a config and a span. Raises WorkError while it is played."""
    place = folder(model, span, known_then)
    for played in place.glob(f"homes/*{_PLAYING}"):
        try:
            with FileLock(played, timeout=0):
                pass
        except Timeout:
            raise WorkError(
                f"another process plays policies of {model.config.model} in {place}; wait for it, or end it"
            ) from None
    shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _executor(address: str | None, workers: int) -> Iterator[Executor]:
    if address is not None:
        with executor(address) as pool:
            yield pool
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin) as pool:
        yield pool


def beside_each_other(prepared: Replay, pool: Executor, on_progress: OnProgress) -> None:
    """Play all policies in an executor's processes. Raises the first error, or that of a lost process."""
    waiting = set(jobs := [pool.submit(prepared.live, p) for p in prepared.policies])
    while waiting:
        waiting = wait(waiting, _LOOK, ALL_COMPLETED).not_done
        on_progress(prepared.progress())
        failed = [error for job in jobs if job.done() and (error := _error(job)) is not None]
        if failed:
            for job in jobs:
                job.cancel()
            raise failed[0] from None


def _error(job: Future[None]) -> BaseException | None:
    """The error of a job, if any; for a lost worker with a next step."""
    if job.cancelled():  # cancelled by a cluster without its scheduler
        error: BaseException | None = CancelledError()
    else:
        error = job.exception()
    if isinstance(error, BrokenProcessPool | CancelledError | gone()):
        return WorkError(
            "a process of the replay was killed, perhaps because memory ran out; repeat the command with fewer workers: finished "
            "work is kept"
        )
    return error


def _begin() -> None:
    logging.disable(logging.WARNING)
    threading.Thread(target=end_with_parent, daemon=True).start()


def whole_span(model: Model, start: datetime | None, end: datetime | None) -> Window:
    """The span to replay, by default all of the source. Raises UsageError, NoData, SourceError."""
    last = model.newest_complete()
    extent = model.home.source(model.config).extent()
    assert extent is not None  # there is a newest row
    span = Window(start or datetime.combine(extent[0].date(), time()), min(end or last, last))
    if span.end <= span.start:
        raise UsageError(
            f"--from {span.start:%Y-%m-%d} is not before --to {span.end:%Y-%m-%d}, or before what the source holds"
        )
    return span
