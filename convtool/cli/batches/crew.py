"""Many tasks, several of them in hand at a time, each on a thread of its own, within a limit of memory.

The codecs, NumPy and the FFT let go of the interpreter's lock, so that one image is read or written while another is
computed. The tasks in hand share the threads of the process (`convtool.process.workers`). A task begins when what it
may take fits beside what the others may take; one that is larger than the limit by itself is refused.

One Ctrl-C lets the tasks in hand finish and begins no other; what ends the process otherwise ends it at once.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from convtool import process
from convtool.cli.batches.places import Task
from convtool.cli.batches.room import too_large

_TICK = 0.5  # seconds after which who watches is told, if nothing else happens


@dataclass(frozen=True, eq=False)
class Done:
    """A task that has ended, by itself or by an error."""

    task: Task
    error: BaseException | None


class Crew:
    """Threads that work on tasks.

    work: what is done for a task; needs: the bytes that it may take; limit: the bytes that all in hand may take
    """

    def __init__(self, jobs: int, work: Callable[[Task], None], needs: Callable[[Task], int], limit: int) -> None:
        self._jobs, self._work, self._needs, self._limit = jobs, work, needs, limit
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._hands: dict[int, int] = {}  # the bytes of each task in hand
        self._foretold: dict[int, int] = {}  # those of the task that waits for room
        self.is_stopping = False

    @property
    def in_hand(self) -> int:
        """How many tasks have begun and not ended."""
        return len(self._hands)

    def run(self, tasks: list[Task], tick: Callable[[], None]) -> Iterator[Done]:
        """Each task once it has ended; `tick` is called every now and then. Those not begun are left when it stops."""
        waiting = deque(tasks)
        try:
            while waiting or self._hands:
                yield from self._begin(waiting)
                if not self._hands:
                    break
                done = self._next(tick)
                del self._hands[done.task.number]
                self._share()
                yield done
        finally:
            for _ in self._threads:
                self._tasks.put(None)
            process.policy.sharing = 1

    def drain(self) -> Iterator[Done]:
        """The tasks in hand, once they have ended; no other begins."""
        while self._hands:
            done = self._next(lambda: None)
            del self._hands[done.task.number]
            yield done

    def _begin(self, waiting: deque[Task]) -> Iterator[Done]:
        """Put tasks in hand while there is room; those that never will have it are done with."""
        while waiting and not self.is_stopping and len(self._hands) < self._jobs:
            needed = self._bytes_of(waiting[0])
            if needed > self._limit:
                yield Done(waiting.popleft(), too_large(needed, self._limit))
            elif needed + sum(self._hands.values()) > self._limit:
                return
            else:
                if len(self._threads) <= len(self._hands):
                    self._recruit()
                task = waiting.popleft()
                self._hands[task.number] = needed
                self._share()
                self._tasks.put(task)

    def _bytes_of(self, task: Task) -> int:
        """What a task takes, told once: its file is opened for that."""
        if task.number not in self._foretold:
            self._foretold = {task.number: self._needs(task)}
        return self._foretold[task.number]

    def _share(self) -> None:
        process.policy.sharing = max(1, len(self._hands))

    def _recruit(self) -> None:
        thread = threading.Thread(target=self._run, name=f"convtool-job-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more of them
            if not self._threads:
                raise MemoryError from error
            return
        self._threads.append(thread)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            error: BaseException | None = None
            try:
                self._work(task)
            except BaseException as raised:  # whatever it is, who waits for the task must hear of it
                error = raised
            self._report(task, error)

    def _report(self, task: Task, error: BaseException | None) -> None:
        while True:
            try:
                self._done.put(Done(task, error))
                return
            except MemoryError:  # others will give some back; who waits must hear of it
                time.sleep(_TICK)

    def _next(self, tick: Callable[[], None]) -> Done:
        while True:
            try:
                return self._done.get(timeout=_TICK)
            except queue.Empty:
                if not any(thread.is_alive() for thread in self._threads):
                    raise MemoryError from None  # there was none left even to say so
                tick()


@contextmanager
def first_interrupt(heard: Callable[[], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C calls `heard`; from then on Ctrl-C does what it did before."""
    before = signal.getsignal(signal.SIGINT)

    def hear(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        heard()

    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
