"""What became of a batch: how many images, why some failed, what there is to say of the others.

Notes of many images that differ in their numbers alone are one note. The lines of the report are in the order of the
images, so that they do not depend on which was ready first.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from typing import Any

from convtool.cli.batches.places import Task
from convtool.errors import ConvtoolError
from convtool.report import SCHEMA, Report, json_text, spelled

DONE, SKIPPED, FAILED, LEFT = "done", "skipped", "failed", "not begun"
_MOST_FAILURES = 20  # that are told one by one
_NUMBER = re.compile(r"-?\d[\d.]*(?:e[+-]?\d+)?")


class Tally:
    """The images of a batch, by what became of them."""

    def __init__(self, total: int, command: str, version: str) -> None:
        self.total, self._head = total, {"schema": SCHEMA, "convtool": version, "command": command}
        self.counts: Counter[str] = Counter()
        self._failures: dict[int, tuple[str, str]] = {}
        self.is_bug = False
        self._notes: dict[str, tuple[str, str, int]] = {}
        self._measured: dict[str, list[float]] = {}
        self._since = time.monotonic()
        self._lines: dict[int, tuple[str, Task, Report | None]] = {}
        self._next = 0

    @property
    def ended(self) -> int:
        """How many images have come to an end."""
        return self.counts.total()

    @property
    def seconds(self) -> float:
        """Since the batch began."""
        return time.monotonic() - self._since

    def add(self, task: Task, report: Report | None, why: str | None) -> None:
        """Take note of an image: its report, None where it was skipped, or why it failed."""
        status = FAILED if why is not None else SKIPPED if report is None else DONE
        self.counts[status] += 1
        content: dict[str, Any] = {**self._head, "status": status, "input": {"name": task.image}}
        if why is not None:
            self._failures[task.number] = task.image, why
            content["error"] = why
        elif report is None:
            content["output"] = {"name": task.output}
        else:
            content = {"status": status, **report.content()}
        self._lines[task.number] = json_text(content), task, report

    def _taken_up(self, number: int) -> str:
        """The line of an image, whose notes and figures are now part of the whole."""
        line, task, report = self._lines.pop(number)
        if report is not None:
            self._take_up(task, report)
        return line

    def _take_up(self, task: Task, report: Report) -> None:
        for note in report.notes:
            kind = _NUMBER.sub("#", note.replace(task.image, "#"))
            first, image, others = self._notes.get(kind, (note, task.image, -1))
            self._notes[kind] = first, image, others + 1
        for lead, section in (("", report.result), ("reference ", report.reference), ("output ", report.output)):
            for name, value in section.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self._measured.setdefault(f"{lead}{name.replace('_', ' ')}", []).append(float(value))

    def ready_lines(self) -> list[str]:
        """The report's lines that are next, once each."""
        found = []
        while self._next in self._lines:
            found.append(self._taken_up(self._next))
            self._next += 1
        return found

    def late_lines(self) -> list[str]:
        """Those that come after one which is missing, when it will not come any more."""
        return [self._taken_up(number) for number in sorted(self._lines)]

    def progress(self, current: str) -> str:
        """'57 of 200, 1 failed, 12 a second, 12 s left, photo57.png'."""
        failed = f", {self.counts[FAILED]} failed" if self.counts[FAILED] else ""
        rate = self.ended / max(self.seconds, 1e-3)
        pace = f", {rate:.3g} a second, {_spoken(round((self.total - self.ended) / rate))} left" if self.ended else ""
        return f"{self.ended} of {self.total}{failed}{pace}{', ' + current if current else ''}"

    def summary(self) -> str:
        """'198 done, 2 failed in 12.3 s (16.1 a second)'."""
        counts = {**self.counts, LEFT: self.total - self.ended}
        told = [f"{counts[name]} {name}" for name in (DONE, SKIPPED, FAILED, LEFT) if counts.get(name)]
        pace = f" ({self.counts[DONE] / self.seconds:.3g} a second)" if self.counts[DONE] else ""
        return f"{', '.join(told) or '0 done'} in {_spoken(round(self.seconds, 1))}{pace}"

    def notes(self) -> list[str]:
        """What the reports say, once each."""
        return [
            (note if image in note else f"{image}: {note}") + _others(count)
            for note, image, count in self._notes.values()
        ]

    def told_failures(self) -> list[str]:
        """The first failures in the order of the images, each with its reason, and how many there are beside."""
        found = [failure for _, failure in sorted(self._failures.items())]
        more = len(found) - _MOST_FAILURES
        told = [why if name in why else f"{name}: {why}" for name, why in found[:_MOST_FAILURES]]
        return told + ([f"and {more} more, which --report FILE lists"] if more > 0 else [])

    def rows(self) -> list[tuple[str, str]]:
        """(label, text) of what was measured on all images: median, least and greatest."""
        found = {name: values for name, values in self._measured.items() if min(values) < max(values)}
        rows = [
            (name, f"{_short(statistics.median(v))} ({_short(min(v))} to {_short(max(v))})")
            for name, v in found.items()
        ]
        return [("of all", "median (least to greatest)"), *rows] if rows else []

    def to_json(self, with_times: bool = True) -> str:
        """The whole in one line."""
        counts = {name.replace(" ", "_"): self.counts[name] for name in (DONE, SKIPPED, FAILED)}
        content = {**self._head, "status": "ended", "images": self.total, **counts}
        content |= {"seconds": round(self.seconds, 3)} if with_times else {}
        return json_text({**content, LEFT.replace(" ", "_"): self.total - self.ended})


def reason(error: BaseException) -> str:
    """Why an image failed, on one line."""
    if isinstance(error, ConvtoolError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "not enough memory: use fewer --jobs, --precision single, or a machine with more"
    elif isinstance(error, OSError):
        text = f"{error.filename or 'input/output'}: {error.strerror or error}"
    else:
        text = f"this is a bug in convtool ({type(error).__name__}: {error}): please report it"
    return " ".join(text.split())


def _others(count: int) -> str:
    return "" if not count else f" (and {count} other{'s' * (count > 1)} alike)"


def _spoken(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _short(value: float) -> str:
    return spelled(float(value))
