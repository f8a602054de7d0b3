"""All errors of the runtime. A message has the problem, the place and the next step; each class has its exit code.

EdgeError
├── UsageError          2  wrong call
│   └── InputError      2  a row that the model does not take
├── NotTrusted          3  signature, key, digest, torn file, flipped bit
├── OlderEpoch          4  older than what was installed before
├── AnotherModel        5  made for another model than the trust anchor names
├── Expired             6  the manifest's time is over
├── SelfTestFailed      7  the model does not run here, or predicts otherwise than where it was made
└── Unavailable         8  could not fetch, or could not write
"""

from __future__ import annotations


class EdgeError(Exception):
    """Base class of all errors of the runtime. `str(error)` is the whole message, in one line."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        # Names of files, answers of servers and onnxruntime's errors may hold anything.
        lines = " ".join(line.strip() for line in message.splitlines())
        super().__init__("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in lines))


class UsageError(EdgeError):
    """The call is wrong; nothing was changed."""

    exit_code = 2


class InputError(UsageError):
    """A row has a field that the model does not take, or a value of the wrong kind."""


class NotTrusted(EdgeError):
    """A file is not what a trusted key signed; nothing of it was used."""

    exit_code = 3


class OlderEpoch(EdgeError):
    """The bundle is older than one that was installed before."""

    exit_code = 4


class AnotherModel(EdgeError):
    """The bundle or the trust anchor is that of another model."""

    exit_code = 5


class Expired(EdgeError):
    """The manifest has expired, or the clock cannot say whether it has."""

    exit_code = 6


class SelfTestFailed(EdgeError):
    """The model does not run on this device, or does not predict what it did where it was made."""

    exit_code = 7


class Unavailable(EdgeError):
    """The source does not answer, or the disk takes no more; trying again may help."""

    exit_code = 8
