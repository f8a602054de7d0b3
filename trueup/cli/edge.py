"""The edge of the command line: every error becomes one line for people; its traceback goes to a file.

`TRUEUP_DEBUG=1` also prints the traceback.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from trueup.cli import output
from trueup.config.settings import Settings
from trueup.errors import TrueupError, WorkError

LOG = Path("logs", "errors.log")  # in the home


@contextmanager
def one_line() -> Iterator[None]:
    """End the process with one line and an exit code for any error in the block; with --json also with a JSON object."""
    for stream in (sys.stdout, sys.stderr):
        if (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a dash is no reason to end
    threading.excepthook = _of_a_thread
    output.begin()
    try:
        yield
    except TrueupError as error:
        if debugging():
            traceback.print_exc()
        _end(error)
    except Exception as error:
        _end(unexpected(error))


def debugging() -> bool:
    """Whether to print tracebacks, from the environment itself, because the settings may be wrong."""
    return os.environ.get("TRUEUP_DEBUG", "").lower() in {"1", "true", "yes", "on"}


def unexpected(error: BaseException) -> WorkError:
    """The message for an unexpected error; its traceback is stored."""
    trace = "".join(traceback.format_exception(error))
    if debugging():
        sys.stderr.write(trace)
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return WorkError(f"{what}; {_kept(trace)}")


def _end(problem: TrueupError) -> None:
    output.error(problem)
    if "--json" in sys.argv and not output.answered():
        output.emit(True, {"error": str(problem), "exit_code": problem.exit_code}, lambda: None)
    raise SystemExit(problem.exit_code) from None


def _of_a_thread(args: threading.ExceptHookArgs) -> None:
    """Report the error of a library's thread; the work may continue without it."""
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread is not None else "one"
        output.error(WorkError(f"the thread {name} ended: {unexpected(args.exc_value)}"))


def _kept(trace: str) -> str:
    """Write a traceback to a file that only its owner can read, and return where."""
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, trueup {' '.join(sys.argv[1:2])}\n"
    for file in _files():
        try:
            file.parent.mkdir(exist_ok=True)
            way = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with os.fdopen(way, "a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"{moment}{trace}\n")
        except OSError:
            continue
        return f"its trace is in {file} (TRUEUP_DEBUG=1 shows it)"
    return "set TRUEUP_DEBUG=1 to see where"


def _files() -> Iterator[Path]:
    """A log in the home if there is one; else, or without write access, in the folder for temporary files."""
    try:
        if (root := Settings().root).is_dir():
            yield root / LOG
    except TrueupError:
        pass
    yield Path(tempfile.gettempdir()) / f"trueup-errors-{os.getuid()}.log"
