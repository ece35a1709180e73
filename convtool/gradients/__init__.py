"""Gradients of images: magnitude, components and direction.

Along each spatial axis a (Z, Y, X), derivative taps d, times smoothing taps s along every other spatial axis b:

    g_a[n] = sum_m d[m_a] (prod_b s[m_b]) x[n + m]          |g| = sqrt(sum_a g_a^2)

It is a correlation: positive where values grow. Taps are normalised so that a ramp of slope 1 has the gradient 1. The
kernels as they are usually printed, in integers (scipy.ndimage, OpenCV), give this many times as much:

                d                s                          2-D   3-D
    central     [-1, 0, 1] / 2   [1]                          2     2
    sobel       [-1, 0, 1] / 2   [1, 2, 1] / 4                8    32
    scharr      [-1, 0, 1] / 2   [3, 10, 3] / 16             32   512
    prewitt     [-1, 0, 1] / 2   [1, 1, 1] / 3                6    18
    forward     [0, -1, 1]       [1]                          1     1

A root of a sum of squares is right for gradients of any size: pixels whose squares leave the range in which they are
accurate (in float32, gradients below 1e-15 or above 1e19) are computed by `hypot` instead, so the result is infinite
only where the gradient itself is beyond the dtype.

References
----------
I. Sobel, G. Feldman, "A 3x3 isotropic gradient operator for image processing", Stanford AI Project (1968).
J. M. S. Prewitt, "Object enhancement and extraction", in Picture Processing and Psychopictorics, Academic Press (1970).
H. Scharr, "Optimale Operatoren in der Digitalen Bildverarbeitung", thesis, Heidelberg (2000),
doi:10.11588/heidok.00000962.
"""

from __future__ import annotations

import functools

import numpy as np

from convtool import axes as axes_
from convtool import boundary as boundary_
from convtool import model, ranges
from convtool.errors import SettingError, listed
from convtool.gradients.engine import Block, Field, Stencil, compute

_STENCILS = {
    "central": Stencil(),
    "sobel": Stencil((1, 2, 1)),
    "scharr": Stencil((3, 10, 3)),
    "prewitt": Stencil((1, 1, 1)),
    "forward": Stencil(forward=True),
}
OPERATORS = tuple(_STENCILS)


def edges(
    x: np.ndarray,
    *,
    axes: str | None = None,
    operator: str = "central",
    boundary: str = "reflect",
    precision: str = "auto",
) -> np.ndarray:
    """The magnitude of an image's gradient: |g| = sqrt(gx^2 + gy^2 [+ gz^2]).

    Parameters
    ----------
    x: real array; float32 stays float32, float64 stays float64, 8- and 16-bit integers are computed in float32, wider
        ones in float64
    axes: letters of x's axes, by rank YX, CYX, NCYX, NCZYX; the gradient is along all of Z, Y and X, so a stack whose
        pictures are to be taken one by one has N, not Z
    operator: "central", "sobel", "scharr", "prewitt" or "forward" (x[n + 1] - x[n]), normalised so that a ramp of slope
        1 gives 1: scipy.ndimage.sobel and OpenCV's Sobel are 8 times as large (3-D: 32), prewitt 6 (18), Scharr 32
    boundary: what lies outside the frame: "periodic", "zero", "edge", "reflect" or "symmetric"
    precision: "single", "double", or "auto", by x's dtype

    Returns
    -------
    The magnitude in units of x per pixel, of x's shape, in x's order of axes.

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    Example
    -------
    >>> import numpy as np, convtool
    >>> y, x = np.indices((3, 5))
    >>> convtool.edges(4.0 * x + 3.0 * y)[1]
    array([3., 5., 5., 5., 3.])
    """
    field = _field(np.asarray(x), axes, operator, boundary, precision)
    return compute(field, _store_magnitude, 1)[0]


def gradient(
    x: np.ndarray,
    *,
    axes: str | None = None,
    operator: str = "central",
    boundary: str = "reflect",
    precision: str = "auto",
) -> tuple[np.ndarray, ...]:
    """The components of an image's gradient, one array for each of the axes Z, Y, X that x has, in this order.

    g_a[n] = sum_m d[m_a] (prod_b s[m_b]) x[n + m]; everything else is as in `edges`.

    Example
    -------
    >>> import numpy as np, convtool
    >>> gy, gx = convtool.gradient(np.array([[1.0, 2.0, 4.0], [2.0, 3.0, 5.0]]), boundary="edge")
    >>> gx
    array([[0.5, 1.5, 1. ],
           [0.5, 1.5, 1. ]])
    """
    field = _field(np.asarray(x), axes, operator, boundary, precision)
    return tuple(compute(field, _store_components, len(field.spatial)))


def direction(
    x: np.ndarray,
    *,
    axes: str | None = None,
    operator: str = "central",
    boundary: str = "reflect",
    precision: str = "auto",
) -> np.ndarray:
    """The direction in which an image grows fastest: arctan2(gy, gx), in radians, -pi to pi.

    The angle turns from +X towards +Y, as in OpenCV's phase; since Y points down, that is clockwise as seen on the
    screen. Where the gradient is 0 it is 0. Everything else is as in `edges`; images with Z are refused.

    Example
    -------
    >>> import numpy as np, convtool.gradients
    >>> convtool.gradients.direction(np.array([[0.0, 0.0], [1.0, 1.0]]), boundary="edge")
    array([[1.57079633, 1.57079633],
           [1.57079633, 1.57079633]])
    """
    x = np.asarray(x)
    field = _field(x, axes, operator, boundary, precision)
    letters = axes_.image_axes(x.shape, axes)
    if axes_.spatial_of(letters) != "YX":
        raise SettingError(
            f"the direction is an angle in the plane of Y and X, but the axes are {letters}: name a Z axis N"
            " to take its slices one by one, or take the gradient's components"
        )
    return compute(field, _store_direction, 1)[0]


def _field(x: np.ndarray, axes: str | None, operator: str, boundary: str, precision: str) -> Field:
    if x.dtype.kind != "f" or x.size == 0:
        ranges.check_image(x)  # floats are checked block by block
    letters = axes_.image_axes(x.shape, axes)
    spatial = axes_.spatial_of(letters)
    if not spatial:
        raise SettingError(f"axes {letters} have none of Z, Y and X, along which a gradient is taken: name one")
    if operator not in _STENCILS:
        raise SettingError(f"unknown operator '{operator}': use {listed(OPERATORS)}")
    memory = tuple(sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis])))
    places = tuple(memory.index(letters.index(letter)) for letter in spatial)
    dtype = model.working_dtype(x.dtype, precision)
    return Field(x, memory, places, _STENCILS[operator], boundary_.checked(boundary), dtype)


def _store_magnitude(block: Block, targets: list[np.ndarray]) -> None:
    squares, count = block.squares[block.between], len(block.field.spatial)
    np.square(block.component(0), out=squares)
    for which in range(1, count):
        g = block.component(which)
        squares += np.square(g, out=g)
    inexact = block.inexact()
    np.sqrt(squares, out=squares)
    magnitude = block.pixels(block.squares)
    if inexact is not None:
        magnitude[inexact] = functools.reduce(np.hypot, (block.derivative(which)[inexact] for which in range(count)))
    _divide(magnitude, block.field.divisor, targets[0])


def _store_components(block: Block, targets: list[np.ndarray]) -> None:
    for which, target in enumerate(targets):
        _divide(block.derivative(which), block.field.divisor, target)


def _store_direction(block: Block, targets: list[np.ndarray]) -> None:
    angle = block.squares[block.between]
    # Adding 0 makes -0.0 a 0.0: the angle of no gradient is 0, not pi.
    np.add(block.component(0), 0.0, out=angle)
    gx = block.component(1)
    gx += 0.0
    np.arctan2(angle, gx, out=angle)
    np.copyto(targets[0], block.pixels(block.squares))


def _divide(values: np.ndarray, divisor: float, target: np.ndarray) -> None:
    if divisor == 1:
        np.copyto(target, values)
    else:
        np.divide(values, divisor, out=target)
