"""Every contender on every case: gain, SSIM, seconds, the weight and what a better one would have gained.

The oracle weight is found by climbing: from the weight chosen, in steps of sqrt(2), uphill in PSNR until it falls. What
the chosen weight loses against it is the regret of the choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context

import numpy as np

from convtool import metrics

from . import contenders
from .case import Case
from .scenarios import GROUPS

_STEP = 2**0.5
_STEPS = 24  # at most, each way: a factor of 4096


@dataclass(frozen=True)
class Task:
    """One contender on one case; with the oracle weight, or with the surroundings, where asked."""

    group: str
    index: int
    name: str
    oracle: bool = False
    surroundings: bool = False


@dataclass(frozen=True)
class Result:
    """What a task found; numbers are None where there is nothing to say, all of them where it failed.

    regret: dB lost against the oracle weight. border: dB lost against the same contender on the larger exposure;
    seen_border: that over the pixels whose light mostly reached the frame
    """

    task: Task
    case: str
    kind: str
    error: str | None = None
    psnr: float | None = None
    gain: float | None = None
    ssim: float | None = None
    seconds: float | None = None
    weight: float | None = None
    oracle_weight: float | None = None
    regret: float | None = None
    border: float | None = None
    seen_border: float | None = None
    notes: tuple[str, ...] = ()


@cache
def group(name: str) -> tuple[Case, ...]:
    """The cases of a group, made once a process."""
    return tuple(GROUPS[name]())


def measured(task: Task) -> Result:
    """A task done; an error of the contender becomes the result's."""
    case = group(task.group)[task.index]
    try:
        _warm(task.name, task.group)
        start = time.perf_counter()
        answer = contenders.answer(task.name, case)
        seconds = time.perf_counter() - start
        result = _scored(task, case, answer, seconds)
        if task.oracle and answer.weight and contenders.has_weight(task.name):
            weight, best = climbed(lambda w: case.psnr(contenders.answer(task.name, case, w).x), answer.weight)
            result = replace(result, oracle_weight=weight, regret=best - case.psnr(answer.x))
        if task.surroundings and case.surroundings:
            result = replace(result, **borders(task.name, case, answer.x))
        return result
    except Exception as error:  # a contender under construction must not take the others' figures away
        return Result(task, case.name, case.kind, error=f"{type(error).__name__}: {error}")


@cache
def _warm(name: str, of: str) -> None:
    """A contender's first call, on a corner of a case: loading its modules is not its speed."""
    case = group(of)[0]
    corner = tuple(slice(48) for _ in case.data.shape)
    with suppress(Exception):  # what fails here fails again where it is reported
        contenders.answer(name, replace(case, data=case.data[corner], truth=case.truth[corner]))


def _scored(task: Task, case: Case, answer: contenders.Answer, seconds: float) -> Result:
    if answer.x.shape != case.data.shape or not np.isfinite(answer.x).all():
        raise ValueError(f"the estimate has shape {answer.x.shape} for data {case.data.shape}, or is not finite")
    psnr, scored = case.psnr(answer.x), case.scored(answer.x)
    return Result(
        task,
        case.name,
        case.kind,
        psnr=psnr,
        gain=psnr - case.psnr(case.data),
        ssim=metrics.ssim(*scored, case.peak, case.axes),
        seconds=seconds,
        weight=answer.weight,
        notes=answer.notes,
    )


def borders(name: str, case: Case, x: np.ndarray) -> dict[str, float]:
    """By how much x falls behind, within the frame, what its contender makes of the larger exposure: the border losses.

    Over the whole frame, and over the pixels whose light mostly reached it: what was hardly seen, nobody can restore.
    """
    around, seen = case.surroundings, case.mostly_seen()
    assert around is not None
    best = contenders.answer(name, replace(case, data=around.data, truth=around.truth)).x[around.inside]
    return {
        "border": case.psnr(best) - case.psnr(x),
        "seen_border": case.psnr(best, seen) - case.psnr(x, seen),
    }


def climbed(quality: Callable[[float], float], start: float) -> tuple[float, float]:
    """(weight, quality) at the top of the hill on which `start` lies."""
    best, top = start, quality(start)
    for factor in (_STEP, 1 / _STEP):
        for n in range(1, _STEPS):
            value = quality(start * factor**n)
            if value <= top:
                break
            best, top = start * factor**n, value
        if best != start:
            break
    return best, top


def measure(tasks: list[Task], jobs: int) -> Iterator[Result]:
    """Results as they come, by so many processes; each is started afresh, since FFT libraries do not survive a fork."""
    if jobs == 1:
        yield from map(measured, tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measured, task) for task in tasks]):
            yield future.result()
