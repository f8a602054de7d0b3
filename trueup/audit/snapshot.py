"""A recorded snapshot: the revisions that a decision names, laid out in a separate home.

The stages find there only what existed then, so the same code makes a version again, and the home itself does not
change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from trueup.adapters.store.quarantine import EXPECTATION
from trueup.domain.types import ROW_ID, BatchRef, Status
from trueup.errors import WorkError
from trueup.governance.recorded_inputs import lay_out_modules
from trueup.handoffs import Validated
from trueup.home import Home
from trueup.ledger.record import Input
from trueup.model import VALIDATE, Model, rules


@dataclass(frozen=True)
class Revision:
    """A revision that a decision names, as the home has it."""

    ref: BatchRef
    quarantined: np.ndarray[Any, Any] | None  # of rows: the ids that were in quarantine then


def find(inputs: Sequence[Input], home: Home) -> tuple[list[Revision], list[str]]:
    """The revisions that a decision names, if their digests are right, and the problems of the others."""
    revisions, wrong = list[Revision](), list[str]()
    for named in inputs:
        try:
            ref = home.store.revision(named.dataset, named.window, named.revision)
            if ref.sha256 != named.sha256:
                wrong.append(f"{named}: its digest is {ref.sha256[:12]} now, and was {named.sha256[:12]}")
                continue
            home.store.read(ref, verify=True)
            revisions.append(Revision(ref, _quarantined(ref, named, home)))
        except WorkError as error:
            wrong.append(f"{named}: {error}")
    return revisions, wrong


def _quarantined(ref: BatchRef, named: Input, home: Home) -> np.ndarray[Any, Any] | None:
    if (digest := named.quarantined) is None:
        return None
    if (ids := home.store.recorded_quarantine(ref, digest)) is None:
        raise WorkError("the rows that were in quarantine then are not known; only those that are now")
    return ids


@contextmanager
def laid_out(model: Model, inputs: Sequence[Revision], modules: Mapping[str, bytes], as_of: datetime) -> Iterator[Home]:
    """For the block, a home that holds these revisions, their quarantine, and the user's modules as they were."""
    with TemporaryDirectory(prefix="trueup-reproduce-") as scratch:
        configs = Path(scratch) / "configs"
        configs.mkdir()
        lay_out_modules(model.home.configs, configs, modules)
        then = Home(model.home.settings.apart(Path(scratch) / "home", configs=configs))
        try:
            for revision in inputs:
                _land(model, then, revision, as_of)
            yield then
        finally:
            then.close()


def _land(model: Model, then: Home, revision: Revision, as_of: datetime) -> None:
    ref = then.store.land(
        revision.ref.dataset, revision.ref.window, model.home.store.read(revision.ref), revision.ref.facts
    )
    if revision.quarantined is not None:
        then.store.quarantine(ref, pd.DataFrame({ROW_ID: revision.quarantined, EXPECTATION: "recorded"}))
    if ref.dataset == model.config.rows_dataset:  # a decision names only batches that were found usable
        body = Validated(Status.PASS, (), 0, then.store.judgement(ref), ())
        then.store.record(model.config.model, VALIDATE, ref.window, ref.revision, as_of, body, rules(model.config))
