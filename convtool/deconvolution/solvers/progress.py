"""How far an iterative solver has come, for whoever watches; numerics never print.

A solver says each step with `tell`; the command line watches, on a terminal, with

    with watched(observer):
        deconvolve(...)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Step(NamedTuple):
    """Iteration `iteration` of at most `limit` on image `image` of `images` (both from 1); `residual` is relative."""

    iteration: int
    limit: int
    residual: float
    image: int
    images: int


Observer = Callable[[Step | str], None]

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def watched(observer: Observer) -> Iterator[None]:
    """Everything told inside the block goes to the observer."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def tell(step: Step | str) -> None:
    """Hand a step, or words on work that has no steps, to the observer, if there is one."""
    observer = _observer.get()
    if observer is not None:
        observer(step)
