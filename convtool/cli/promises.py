"""Promises: what is known of a merge, as a sidecar keeps it, and as a merge of merges inherits it.

A merge does what its chain did on every image, on images from some size on, on images of one size alone, or not at the
border. Merged again, it brings that along: the next merge can promise no more than the kernels it is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convtool.axes import spelled
from convtool.errors import DataError, SettingError
from convtool.geometry import inputs

if TYPE_CHECKING:
    from convtool.cli.sidecar import Sidecar
    from convtool.merging import Merged
    from convtool.merging.layers import Stage

_SHAPES = ("image_shape", "least_image_shape")
Lengths = tuple[int, ...]


@dataclass(frozen=True)
class Promise:
    """Whether a merge does what its chain did (None: unknown), and on images of which lengths; () says nothing."""

    exact: bool | None = True
    image_shape: Lengths = ()
    least_image_shape: Lengths = ()

    def content(self) -> dict[str, Any]:
        """What is said, as it is written."""
        shapes = {name: list(getattr(self, name)) for name in _SHAPES}
        return {"exact": self.exact} | {name: shape for name, shape in shapes.items() if shape}

    def caveat(self, grid: Lengths | None) -> str:
        """What is not promised for an image with these lengths; None: of unknown size."""
        if self.exact is False:
            return "at the border it does not do what its chain did"
        if self.exact is None:
            return "whether it does what its chain did at the border is not known"
        if self.image_shape and grid != self.image_shape:
            return f"it is known to do what its chain did on images of {spelled(self.image_shape)} alone"
        if self.least_image_shape and (grid is None or not _covers(grid, self.least_image_shape)):
            return f"it is known to do what its chain did on images of at least {spelled(self.least_image_shape)}"
        return ""


@dataclass(frozen=True)
class Inheritance:
    """What the kernels of a chain leave a merge to promise: nothing for these reasons, or only on these images."""

    reasons: tuple[str, ...]
    image_shape: Lengths = ()
    least_image_shape: Lengths = ()


def read_promise(content: dict[str, Any], rank: int) -> Promise:
    """The promise in a sidecar of a kernel that acts along so many axes; raises SettingError where it is nonsense."""
    exact = content.get("exact", True)
    if exact not in (True, False, None):
        raise SettingError(f"exact must be true, false or null, got {exact}")
    shapes = {name: content[name] for name in _SHAPES if content.get(name) is not None}
    for name, shape in shapes.items():
        whole = isinstance(shape, list) and all(type(n) is int and n >= 1 for n in shape)
        if not whole or len(shape) != rank:
            raise SettingError(f"{name} must be {rank} whole numbers of at least 1, got {shape}")
    return Promise(exact, **{name: tuple(shape) for name, shape in shapes.items()})


def inherited(merged: Merged, sidecars: Sequence[Sidecar | None], grid: Lengths | None) -> Inheritance:
    """What the merge of kernels with these sidecars, one a kernel, can promise for images of this size, or of any."""
    if grid is not None:
        merged.marks(grid)  # refuses what is no size, or too small
    known = [(number, found) for number, found in enumerate(sidecars) if found is not None]
    reasons = [_said(found, None) for _, found in known if found.promise.exact is not True]
    bound = [(number, found) for number, found in known if found.promise.image_shape]
    least: Lengths = ()
    try:
        if grid is None and bound:
            number, found = bound[0]
            grid = _before(merged, number, found.promise.image_shape, at=1)
        for number, found in known:
            if found.promise.least_image_shape:
                needed = _before(merged, number, found.promise.least_image_shape, at=0)
                least = tuple(map(max, least or needed, needed))
    except DataError as error:  # no image is made into such a size
        reasons.append(str(error))
    if grid is not None:
        arriving = _arriving(merged, grid)
        here = [(found, arriving[number]) for number, found in known if found.promise.exact]
        reasons += [_said(found, size) for found, size in here if found.promise.caveat(size)]
    return Inheritance(tuple(reasons), grid if bound and grid is not None else (), least)


def _said(found: Sidecar, size: Lengths | None) -> str:
    arrives = "" if size is None else f", and {spelled(size)} arrive there"
    return f"of {found.kernel}, {found.name} says that {found.promise.caveat(size)}{arrives}"


def promised(merged: Merged, exact: bool | None, grid: Lengths | None, left: Inheritance) -> Promise:
    """What the merge itself promises, once it is known to be exact, or not, on this grid or on all."""
    if not exact:
        return Promise(exact)
    try:
        scope = merged.scope
    except SettingError:  # too large to try; exact on this grid all the same
        scope = None
    if scope is None or left.image_shape:
        return Promise(True, image_shape=grid or ())
    least = tuple(map(max, scope.least, left.least_image_shape or scope.least))
    if grid is not None and not _covers(grid, least):
        return Promise(True, image_shape=grid)
    return Promise(True, least_image_shape=least if set(least) != {1} else ())


def _covers(grid: Sequence[int], least: Sequence[int]) -> bool:
    return all(n >= m for n, m in zip(grid, least, strict=True))


def _before(merged: Merged, number: int, size: Lengths, at: int) -> Lengths:
    """The image's size for which this arrives at kernel `number`, the least (0) or the greatest (1); DataError."""
    if number == 0:
        return size
    stage = merged.before(number)
    settings: dict[str, Any] = {"padding": stage.padding, "stride": stage.stride, "dilation": stage.dilation}
    return tuple(pair[at] for pair in inputs(size, stage.kernel.extent, stage.kernel.origin, **settings))


def _arriving(merged: Merged, grid: Lengths) -> list[Lengths]:
    """The sizes that arrive at every kernel, for an image of this one."""
    found: list[Lengths] = []
    for stage in merged.chain:
        found.append(grid)
        grid = _outputs(stage, grid)
    return found


def _outputs(stage: Stage, grid: Lengths) -> Lengths:
    return stage.operator(grid, 1).geometry.outputs
