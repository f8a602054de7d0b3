"""All errors for users. A message has the problem, the place and the next step.

TrueupError
├── UsageError                wrong call or configuration; exit code 2
│   ├── ConfigError           one or more mistakes in a model's YAML, all listed
│   └── UnknownModel          no configs/<name>.yaml
└── WorkError                 the work failed or the data is wrong; exit code 1
    ├── SourceError           the source cannot be read, or its rows cannot be landed
    │   └── SourceUnavailable the source does not answer; a retry may help
    ├── FilesUnavailable      the object store of the home does not answer; a retry may help
    ├── NoData                nothing to work on at this as_of
    │   ├── NotEnoughData     too few rows yet; more may come
    │   └── NoLabels          labels are overdue; waiting does not help
    ├── RegistryUnavailable   MLflow's store or server does not answer
    ├── Busy                  another run of the model is at work
    ├── UntrustedModel        a model's files do not match the ledger
    ├── LedgerError           the ledger cannot be appended to or read
    │   ├── LedgerUnavailable its database server does not answer, or cut a connection
    │   ├── StaleDecision     somebody else changed the champion meanwhile
    │   └── AlreadyDecided    somebody else decided differently, or under another name
    ├── DatabaseUnavailable   the database server does not answer, or cut a connection
    ├── LockLost              another process took over the work meanwhile
    ├── EventsUnavailable     the event server does not answer; events wait in the outbox
    ├── EventRefused          the event server refuses an event
    ├── ClusterFailed         the Dask cluster cannot do the work; a retry may help
    ├── TrainingFailed        no candidate could be fitted
    ├── NoExporter            a pipeline cannot be written as ONNX
    ├── OnnxFailed            onnxruntime could not run a model's ONNX file
    └── LogFull               a served prediction cannot be logged just now
"""

from __future__ import annotations


class TrueupError(Exception):
    """Base class of all errors for people. `str(error)` is the whole message."""

    exit_code = 1
    transient = False  # True if a retry may help


class UsageError(TrueupError):
    """The call or the configuration is wrong; nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """A model's YAML has mistakes. `problems` has one line each: place, mistake, fix."""

    def __init__(self, where: str, problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n".join([f"{where}: {count}", *(f"  {p}" for p in problems)]))


class UnknownModel(UsageError):
    """No configuration of that name."""


class WorkError(TrueupError):
    """The work failed or the data is wrong."""


class SourceError(WorkError):
    """The source cannot be read, or its rows cannot be landed."""


class SourceUnavailable(SourceError):
    """The source does not answer just now."""

    transient = True


class FilesUnavailable(WorkError):
    """The object store of the home does not answer just now."""

    transient = True


class NoData(WorkError):
    """There is nothing to work on at this as_of."""


class NotEnoughData(NoData):
    """There are too few rows yet: a retrain is held, because more may come."""


class NoLabels(NoData):
    """No row has a label that counts, though some should have; waiting does not help."""


class RegistryUnavailable(WorkError):
    """MLflow's store or server does not answer."""

    transient = True


class EventsUnavailable(WorkError):
    """The event server does not answer, or refuses the login."""

    transient = True


class EventRefused(WorkError):
    """The event server refuses an event; sending it again does not help."""


class Busy(WorkError):
    """Another run of the model is at work, and this one does not wait for it, or no longer."""


class UntrustedModel(WorkError):
    """A model's files do not match the digest in the ledger; it was not loaded."""


class LedgerError(WorkError):
    """The ledger cannot be appended to or read."""


class LedgerUnavailable(LedgerError):
    """The ledger's database server does not answer just now, or cut the connection in the middle of a transaction."""

    transient = True


class StaleDecision(LedgerError):
    """The champion changed between judging and promoting; nothing was promoted."""


class AlreadyDecided(LedgerError):
    """The approval has its decision; nothing was changed."""


class DatabaseUnavailable(WorkError):
    """The database server does not answer just now, or cut the connection in the middle of a transaction."""

    transient = True


class LockLost(WorkError):
    """Another process holds the lock of this work now; nothing was recorded."""


class ClusterFailed(WorkError):
    """The Dask cluster cannot do the work; what was recorded before stays, and no trial, batch or challenger is to blame."""

    transient = True


class TrainingFailed(WorkError):
    """No candidate could be fitted."""


class NoExporter(WorkError):
    """The fitted pipeline has a part that cannot be written as ONNX, or a file is no ONNX form of ours."""


class OnnxFailed(WorkError):
    """A model's ONNX file could not be run by onnxruntime, or not in time."""


class LogFull(WorkError):
    """A served prediction cannot be logged just now: the disk or the log is full."""

    transient = True
