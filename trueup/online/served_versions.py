"""The versions in a prediction log, as the ledger and the registry know them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.adapters.onnx.form import Form
from trueup.config.tasks import Task
from trueup.errors import WorkError
from trueup.export.forms import version_form
from trueup.governance.ledger_queries import judging_entry, part_about, trained_on
from trueup.ledger.entries import Entry
from trueup.model import Model
from trueup.serving.log_format import Record

_WIDTH: Final = 8  # bytes of a float64


@dataclass(frozen=True)
class ServedVersion:
    """A version that answered, or predicted in shadow."""

    model: Model
    number: int
    entry: Entry  # in which it was judged

    @cached_property
    def trained_until(self) -> pd.Timestamp:
        """End of its training."""
        return pd.Timestamp(part_about(self.entry, self.number).trained_until)

    @cached_property
    def form(self) -> Form:
        """Its ONNX form, which was served. Raises as `version_form` does."""
        return version_form(self.model, part_about(self.entry, self.number), trained_on(self.entry))

    @property
    def inputs(self) -> list[str]:
        """The names of its inputs, in order."""
        return [column.name for column in self.form.inputs]

    def prediction(self, record: Record) -> float | dict[str, float] | None:
        """A record's prediction as the store has it: by class for a multiclass task. None if it is another task's."""
        value = record.prediction
        if self.model.config.task is not Task.MULTICLASS:
            return value if isinstance(value, float) else None
        if not isinstance(value, list) or len(value) != len(self.form.classes):
            return None
        return dict(zip(self.form.classes, value, strict=True))

    def has_features(self, record: Record) -> bool:
        """Whether a record has a number for each input."""
        return record.features is not None and len(record.features) == _WIDTH * len(self.inputs)

    def features(self, records: Sequence[Record]) -> npt.NDArray[np.float64]:
        """The features (n, inputs) of records that have them."""
        return np.frombuffer(b"".join(r.features or b"" for r in records), dtype="<f8").reshape(-1, len(self.inputs))


class ServedVersions:
    """Looks versions up, each once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._champions = {(c.version, c.epoch) for c in model.succession()}
        self.find = cache(self._find)

    def _find(self, number: int) -> ServedVersion | None:
        if (entry := judging_entry(self._model, number)) is None:
            return None
        version = ServedVersion(self._model, number, entry)
        try:
            _ = version.form  # read now, because without it a record cannot be understood
        except WorkError as error:
            if error.transient or not self._champion_readable:
                raise  # its records stay in the log: where the files are, they can be stored
            return None
        return version

    @cached_property
    def _champion_readable(self) -> bool:
        """Whether this machine has the champion's files; where it has not, a version without files may be a good one."""
        champion = self._model.champion()
        if champion is None or (entry := judging_entry(self._model, champion.version)) is None:
            return True
        try:
            return ServedVersion(self._model, champion.version, entry).form is not None
        except WorkError:
            return False

    def knows(self, record: Record) -> bool:
        """Whether the version is known and has its files; one that answered as champion must have been it in that epoch."""
        if record.role == "champion" and (record.version, record.epoch) not in self._champions:
            return False
        return self.find(record.version) is not None
