"""What the images of a batch have in common: read or made for one of them, and kept for the others.

One thread makes a thing while the others that need it wait, and only they. What belongs to a shape (operators with
their spectra, factors) is kept for the few shapes that were needed last, so that memory does not grow with the number
of images.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from convtool.errors import ConvtoolError

T = TypeVar("T")
_SHAPES = 4
_UNMADE: Any = object()


class _Thing:
    """Something that is made by the first who needs it; who cannot make it leaves it to the next."""

    def __init__(self) -> None:
        self._lock, self._value = threading.Lock(), _UNMADE

    def made(self, make: Callable[[], Any]) -> Any:
        with self._lock:
            if self._value is _UNMADE:
                self._value = make()
            return self._value


class EndsBatchError(Exception):
    """What is wrong is wrong for every image; `error` says it."""

    def __init__(self, error: ConvtoolError) -> None:
        super().__init__(str(error))
        self.error = error


class Kept:
    """Things by what they are made of; `is_batch` says whether there are other images that an error could spare."""

    def __init__(self, is_batch: bool) -> None:
        self.is_batch = is_batch
        self._common: OrderedDict[Hashable, _Thing] = OrderedDict()
        self._of_shapes: defaultdict[Hashable, OrderedDict[Hashable, _Thing]] = defaultdict(OrderedDict)
        self._lock = threading.Lock()

    def common(self, key: Hashable, make: Callable[[], T]) -> T:
        """What does not depend on the image, made by its first user; what is wrong with it ends the batch."""
        with self._lock:
            thing = self._common.setdefault(key, _Thing())
        with self.for_all():
            return thing.made(make)

    def of_shape(self, key: tuple[Hashable, ...], make: Callable[[], T], most: int = _SHAPES) -> T:
        """What images of one shape share; the key says what it is and the shape. The `most` of its kind are kept."""
        with self._lock:
            alike = self._of_shapes[key[0]]
            thing = alike.setdefault(key, _Thing())
            alike.move_to_end(key)
            while len(alike) > most:
                alike.popitem(last=False)
        return thing.made(make)

    @contextmanager
    def for_all(self) -> Iterator[None]:
        """What goes wrong inside goes wrong for every image."""
        try:
            yield
        except ConvtoolError as error:
            if self.is_batch:
                raise EndsBatchError(error) from error
            raise
