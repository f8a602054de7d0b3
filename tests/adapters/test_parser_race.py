"""Reads that end in Python's parser succeed while other threads parse."""

import ast
import gc
import io
import sys
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from trueup.adapters.parser_race import read_again


@contextmanager
def parsing_elsewhere():
    """Other threads parse Python, and hand over in the middle of it, as any finalizer may."""

    def hand_over(*_about):
        time.sleep(0.0002)

    def parse():
        while not done.is_set():
            with suppress(SystemError):
                ast.literal_eval("[1, (2, 3), {'descr': '<i8'}]")

    done, threshold, interval = threading.Event(), gc.get_threshold(), sys.getswitchinterval()
    threads = [threading.Thread(target=parse) for _ in range(2)]
    gc.callbacks.append(hand_over)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        done.set()
        gc.callbacks.remove(hand_over)
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()


def test_a_read_that_the_parser_failed_is_repeated():
    answers = [SystemError("AST constructor recursion depth mismatch")] * 3 + [5]

    def read():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert read_again(read) == 5
    assert answers == []


@pytest.mark.thorough  # waits for a fault that depends on timing
def test_an_array_is_read_while_other_threads_parse_python():
    """The fault depends on the threads' timing: read until NumPy alone has failed three times."""
    file = io.BytesIO()
    np.save(file, np.arange(5))

    def read():
        file.seek(0)
        return np.load(file)

    alone, deadline = 0, time.monotonic() + 30
    with parsing_elsewhere():
        while alone < 3 and time.monotonic() < deadline:
            assert read_again(read).sum() == 10
            try:
                read()
            except SystemError:
                alone += 1
    if not alone:
        pytest.skip("this Python's parser is not disturbed by other threads")


def test_an_error_that_stays_is_raised():
    def read():
        raise SystemError("the file is damaged")

    with pytest.raises(SystemError, match="damaged"):
        read_again(read)
