"""What this process may use, and how work is spread over it: threads, whether it lives for one command only, and
what was learned of the machine.

A command sets `policy` once, before any work. Blocks of work go through `each`: they run on as many threads as
`workers` says, in NumPy, BLAS and FFT calls that release the interpreter's lock, and their results come in order, so
that what is summed from them does not depend on the threads.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from convtool.errors import SettingError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

MEMORY = 4 << 30  # bytes that a solution in one step may take
MAX_PIXELS = 500_000_000  # that a compressed image may unpack to, unless the user says otherwise

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass
class Policy:
    """Settings of the process.

    threads: None for as many as the machine has; one_shot: whether it ends after one command; load_wisdom: gives what
    was learned on this machine, by a name that says what it is, or None; memory: the bytes that a solution in one step
    may take, unless the user says otherwise; max_pixels: that a compressed image may unpack to; put_off: what `waits`
    begins; sharing: pieces of work that go on side by side, and share the threads;
    most_threads: that there is room for, None for any number; is_sparing: whether there is no room for a library that
    others can stand in for; reproducible: whether results may
    depend on nothing but what is computed, so on no number of threads and nothing that was learned; keep: gives what
    has this key, made if need be, and keeps as many of its kind; None where there are no other images
    """

    threads: int | None = None
    one_shot: bool = False
    load_wisdom: Callable[[str], bytes | None] | None = None
    memory: int = MEMORY
    max_pixels: int = MAX_PIXELS
    put_off: Callable[[], object] | None = None
    sharing: int = 1
    most_threads: int | None = None
    is_sparing: bool = False
    reproducible: bool = False
    keep: Callable[[tuple[Hashable, ...], Callable[[], Any], int], Any] | None = None


policy = Policy()


def threads() -> int:
    """Threads that choices are made for: those of the process, or one where results are to be reproducible.

    Raises SettingError when CONVTOOL_THREADS is no number.
    """
    return 1 if policy.reproducible else _all_threads()


def workers() -> int:
    """Threads to start now: the process's, shared among what goes on side by side. Results do not depend on it."""
    return max(1, _all_threads() // policy.sharing)


def _all_threads() -> int:
    """As set, else CONVTOOL_THREADS, else the CPUs that this process may use."""
    text = os.environ.get("CONVTOOL_THREADS") or "0"
    if not text.isdecimal():
        raise SettingError(f"CONVTOOL_THREADS must be a whole number of threads (0: all CPUs), got '{text}'")
    found = policy.threads or int(text) or usable_cpus()
    return min(found, policy.most_threads or found)


def usable_cpus() -> int:
    """CPUs in the process's affinity mask, or its control group's quota (rounded up) where that is less."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return count if quota is None else min(count, quota) or 1


@functools.cache
def _quota() -> int | None:
    """CPUs that the control group may use at a time; read once, since it would cost as much as a small convolution."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return None


def each(work: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """work of every item, in their order, on `workers()` threads, this one among them; may be nested.

    What work raises is raised here, once all threads have stopped.
    """
    items = list(items)
    count = min(workers(), len(items))
    if count < 2:
        return list(map(work, items))
    from concurrent.futures import wait

    found: dict[int, Found] = {}
    left = iter(range(len(items)))

    def run() -> None:
        try:
            for i in left:  # shared: each number goes to one thread
                found[i] = work(items[i])
        except BaseException:
            for _ in left:  # the others are to stop
                pass
            raise

    helpers = [_pool(_all_threads(), os.getpid()).submit(run) for _ in range(count - 1)]
    try:
        run()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
    for helper in started:
        helper.result()
    return [found[i] for i in range(len(items))]


class Change:
    """A change to the whole process that lasts while any thread is within; may be nested.

    make: makes it, and returns what takes it back
    """

    def __init__(self, make: Callable[[], Callable[[], None]]) -> None:
        self._make, self._lock, self._inside = make, threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._undo = self._make()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._undo()


@contextmanager
def waits() -> Iterator[None]:
    """Do what was put off, such as an import, on a thread, beside a long call outside the interpreter.

    Elsewhere it would gain nothing, since it takes the interpreter's lock from the caller for milliseconds at a time.
    It has ended afterwards: of modules that need each other, threads that import them at the same time may get some
    that are half made.
    """
    work, policy.put_off = policy.put_off, None
    if work is None or policy.most_threads == 1:
        yield
        return
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join()


@functools.lru_cache(1)
def _pool(count: int, pid: int) -> ThreadPoolExecutor:
    """A pool of threads that stays; a forked process needs one of its own."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(count, thread_name_prefix="convtool")
