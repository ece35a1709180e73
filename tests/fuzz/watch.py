"""What an input does to its reader: a result or a `ConvtoolError` that says something, soon, and in little memory."""

from __future__ import annotations

import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convtool.errors import ConvtoolError

SECONDS, BYTES = 5.0, 1 << 30


class Hang(BaseException):
    """What no reader takes for a codec's error."""


@contextmanager
def alarm() -> Iterator[None]:
    """Inside, `broken` stops what takes too long."""
    before = signal.signal(signal.SIGALRM, _hangs)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def _hangs(*_: object) -> None:
    raise Hang(f"it hangs: more than {SECONDS:.0f} s")


def broken(read: Callable[[object], object], given: object) -> str:
    """What is wrong with what a reader did; '' for nothing. A warning is wrong, too."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(given)
    except ConvtoolError as error:
        if not str(error):
            return "an error without a message"
    except KeyboardInterrupt:
        raise
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    taken = time.perf_counter() - start  # in a codec's own code no alarm is heard
    return f"it took {taken:.1f} s" if taken > SECONDS else ""


def memory() -> int:
    """The most bytes that this process has held at a time."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
