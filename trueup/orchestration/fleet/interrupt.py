"""Ctrl-C in a fleet: the current models end, and no further one begins."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping(on_stop: Callable[[], None]) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C of the block sets, after which it calls `on_stop`; the second one interrupts.

    Only the main thread can watch for it. In others the event is never set.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def first(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        on_stop()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
