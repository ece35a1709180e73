"""The parts of a batch by themselves: what is kept for several images, and the threads that work on them."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from convtool import files
from convtool.cli.batches.crew import Crew
from convtool.cli.batches.lines import Lines
from convtool.cli.batches.places import Task
from convtool.cli.kept import EndsBatchError, Kept
from convtool.errors import DataError, FileError

PATIENCE = 30.0  # seconds, after which something hangs


def tasks(count: int) -> list[Task]:
    return [Task(number, f"{number}.png", {}) for number in range(count)]


def crew(work: Callable[[Task], None], jobs: int = 2, needs: Callable[[Task], int] = lambda task: 0) -> Crew:
    return Crew(jobs, work, needs, limit=10)


# What is kept ---------------------------------------------------------------------------------------------------------


def test_what_many_need_is_made_once() -> None:
    kept, made, found = Kept(is_batch=True), [], []

    def make() -> object:
        made.append(1)
        return object()

    threads = [threading.Thread(target=lambda: found.append(kept.of_shape(("k",), make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(made) == 1
    assert len(set(map(id, found))) == 1 < len(found)


def test_who_needs_something_else_does_not_wait() -> None:
    kept, begun, free = Kept(is_batch=True), threading.Event(), threading.Event()

    def slowly() -> str:
        begun.set()
        assert free.wait(PATIENCE)
        return "slow"

    thread = threading.Thread(target=kept.of_shape, args=(("slow",), slowly))
    thread.start()
    assert begun.wait(PATIENCE)
    assert kept.of_shape(("quick",), lambda: "quick") == "quick"
    assert kept.common("quick", lambda: "common") == "common"
    free.set()
    thread.join(PATIENCE)
    assert kept.of_shape(("slow",), lambda: "again") == "slow"


def test_the_shapes_that_were_needed_last_are_kept() -> None:
    kept, made = Kept(is_batch=True), []
    for key in (1, 2, 3, 4, 1, 5, 1, 2, 5):
        kept.of_shape(("kind", key), lambda key=key: made.append(key))
        kept.of_shape(("other", "k"), lambda: None)
    assert made == [1, 2, 3, 4, 5, 2]
    for key in range(100):
        kept.common(key, lambda key=key: made.append(key))
    for key in range(100):
        kept.common(key, lambda key=key: made.append(key))
    assert made[6:] == list(range(100))


def test_what_cannot_be_made_is_tried_by_the_next() -> None:
    kept = Kept(is_batch=True)

    def refuse() -> Any:
        raise DataError("no")

    with pytest.raises(DataError):
        kept.of_shape(("k",), refuse)
    assert kept.of_shape(("k",), lambda: "made") == "made"
    with pytest.raises(EndsBatchError, match="no"):
        kept.common("k", refuse)
    with pytest.raises(DataError):
        Kept(is_batch=False).common("k", refuse)


# Threads --------------------------------------------------------------------------------------------------------------


def test_tasks_are_done_within_the_limit() -> None:
    lock, most = threading.Lock(), []
    now = {"bytes": 0, "tasks": 0}
    needs = {task.number: 1 + 3 * task.number % 7 for task in tasks(40)} | {5: 11}

    def work(task: Task) -> None:
        with lock:
            now["bytes"] += needs[task.number]
            now["tasks"] += 1
            most.append(dict(now))
        threading.Event().wait(0.002)
        with lock:
            now["bytes"] -= needs[task.number]
            now["tasks"] -= 1

    told: list[int] = []

    def foretell(task: Task) -> int:
        told.append(task.number)
        return needs[task.number]

    found = list(crew(work, 3, foretell).run(tasks(40), lambda: None))
    assert sorted(done.task.number for done in found) == list(range(40))
    assert [(done.task.number, str(done.error)) for done in found if done.error] == [
        (
            5,
            "it would take about 11 bytes of memory, and the limit is 10: raise --memory-limit, cut the image up, or"
            " use a machine with more",
        )
    ]
    assert max(each["bytes"] for each in most) <= 10
    assert max(each["tasks"] for each in most) == 3
    assert told == list(range(40))  # each once: its file is opened for that


def test_whatever_a_task_raises_is_heard_of() -> None:
    def work(task: Task) -> None:
        raise [ValueError, KeyboardInterrupt, MemoryError][task.number]

    found = {done.task.number: type(done.error) for done in crew(work).run(tasks(3), lambda: None)}
    assert found == {0: ValueError, 1: KeyboardInterrupt, 2: MemoryError}


def test_no_more_threads_than_the_system_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    start, left = threading.Thread.start, [1]

    def meanly(self: threading.Thread) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", meanly)
    assert len(list(crew(lambda task: None, 4).run(tasks(9), lambda: None))) == 9
    with pytest.raises(MemoryError):
        list(crew(lambda task: None, 4).run(tasks(9), lambda: None))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_that_died_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(Crew, "_report", die)
    with pytest.raises(MemoryError):
        list(crew(lambda task: None).run(tasks(4), lambda: None))


def test_a_report_ends_with_a_whole_line_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(stream: IO[bytes], content: memoryview) -> None:
        stream.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lines = Lines(str(tmp_path / "r.jsonl"))
    lines.add('{"first": 1}\n')
    monkeypatch.setattr(files, "write_all", half)
    with pytest.raises(FileError, match=r"r\.jsonl: the disk is full: free some space or write elsewhere$"):
        lines.add('{"second": 2}\n')
    lines.close()
    assert (tmp_path / "r.jsonl").read_text() == '{"first": 1}\n'
