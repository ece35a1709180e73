"""Undo a convolution: one file a method in this folder, found by its name; what methods share is in `solvers`.

A method is a module with

    Options                            frozen dataclass; every field carries its help and is a `--set name=value`
    solve(y, operator, options)        y [n, c_out, *grid] in the computing dtype -> Estimate, x [n, c_in, *grid]

and knows nothing of axes, files or the command line. It states the operators it can invert by what it asks of them (a
`spectrum`, or `forward` and `adjoint` alone).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from convtool.errors import DataError, SettingError
from convtool.registry import Registry, check

if TYPE_CHECKING:
    import numpy as np

    from convtool.geometry import Padding
    from convtool.model import Model
    from convtool.operators import Convolution

methods = Registry(__name__, "method")
DEFAULT_METHOD = "tikhonov"

_NOTEWORTHY_ROUNDING = 0.05  # relative error that rounding explains, from which on it is said


class Stop(enum.Enum):
    """Why a method ended; the value is the user's sentence. A method may bring an enum of its own."""

    DIRECT = "solved in one step, frequency by frequency"


@dataclass(frozen=True)
class Stopped:
    """Why a method ended, with its numbers: the enum's value is the user's sentence, with places for them."""

    reason: enum.Enum
    numbers: dict[str, Any]

    @property
    def value(self) -> str:
        """The user's sentence."""
        return self.reason.value.format(**self.numbers)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method returns: x [n, c_in, *grid], why it stopped, what it measured, and sentences a user may act on.

    others: answers of other methods to compare with, in the shape of x, by the metrics' name for them
    """

    x: np.ndarray
    stop: enum.Enum | Stopped
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    others: dict[str, np.ndarray] = field(default_factory=dict)


class Rounding(NamedTuple):
    """Rounding that data went through: the standard deviation it left in them, and to how many bits it was."""

    level: float
    bits: int


@dataclass(frozen=True, eq=False)
class Solution:
    """A deconvolved image.

    Attributes
    ----------
    x: the estimate, in the data's order of axes and the computing dtype (the data's own for floats)
    stop: why the method ended, in words
    metrics: method, its resolved options, relative_residual = ||A x - y|| / ||y||, max_residual = max |A x - y|,
        noise_gain (by how much white noise of the data is amplified, root mean square), and what the method adds
    notes: sentences on what to trust and what to do
    others: answers of other methods to compare x with, by the metrics' name for them
    """

    x: np.ndarray = field(repr=False)
    stop: str
    metrics: dict[str, Any]
    notes: tuple[str, ...]
    others: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def deconvolve(
    y: np.ndarray,
    kernel: np.ndarray,
    *,
    method: Any = DEFAULT_METHOD,
    axes: str | None = None,
    kernel_axes: str | None = None,
    origin: str | Sequence[int] = "center",
    boundary: str = "periodic",
    padding: Padding = "same",
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    shape: Sequence[int] | None = None,
    operation: str = "convolve",
    engine: str = "auto",
    precision: str = "auto",
) -> Solution:
    """Undo a convolution (or correlation): find x with A x = y as well as the data allow.

    Parameters
    ----------
    y: the data, a real array; dtypes and axes as in `convtool.convolve`
    kernel: the kernel that made y; an OIYX kernel takes the data's C axis as its O and gives x with I channels a group
    method: a name out of `convtool.deconvolution.methods.names()`, or that method's Options, such as
        `convtool.deconvolution.wiener.Options(noise_to_signal=0.01)`
    boundary, padding, stride, dilation: those that made y; "least-squares" takes any, the other methods work frequency
        by frequency and take boundary "periodic" with stride 1 and as many outputs as inputs
    shape: lengths of x along the kernel's spatial axes, in Z, Y, X order; needed where a stride leaves several possible
    operation: which of "convolve" and "correlate" made y
    axes, kernel_axes, origin, groups, engine, precision: as in `convtool.convolve`

    Raises
    ------
    convtool.errors.SettingError, convtool.errors.DataError

    Example
    -------
    >>> import numpy as np, convtool
    >>> x = np.random.default_rng(0).random((8, 9))
    >>> kernel = np.array([[0.1, 0.2], [0.1, 0.6]])
    >>> y = convtool.convolve(x, kernel)
    >>> bool(np.allclose(convtool.deconvolve(y, kernel, method="pinv").x, x))
    True
    >>> y = convtool.convolve(x, kernel, boundary="zero", padding="full")
    >>> bool(np.allclose(convtool.deconvolve(y, kernel, method="least-squares", boundary="zero", padding="full").x, x))
    True
    """
    import numpy as np

    from convtool import model

    y = np.asarray(y)
    if not np.any(kernel):
        raise DataError("the kernel is all zeros: nothing of the image is left in the data")
    built = model.build(
        y,
        kernel,
        axes=axes,
        kernel_axes=kernel_axes,
        origin=origin,
        boundary=boundary,
        padding=padding,
        stride=stride,
        dilation=dilation,
        groups=groups,
        operation=operation,
        engine=engine,
        precision=precision,
        is_data=True,
        shape=shape,
    )
    return solve(built, y, method, Rounding(12**-0.5, 8 * y.dtype.itemsize) if y.dtype.kind in "iu" else None)


def solve(built: Model, y: np.ndarray, method: Any, rounding: Rounding | None) -> Solution:
    """The solution for data y of a model that was built for them; see `deconvolve`.

    `rounding` is what rounding to integers left in y, None for floats.
    """
    name, options = _resolved(method)
    data = built.canonical(y)
    estimate = methods.load(name).solve(data, built.operator, options)
    metrics = {
        "method": name,
        "options": asdict(options),
        **residuals(built.operator, estimate.x, data),
        **estimate.metrics,
    }
    measured, told = _rounding_told(estimate, data, rounding, name)
    others = {name: built.restore(x) for name, x in estimate.others.items()}
    return Solution(built.restore(estimate.x), estimate.stop.value, metrics | measured, estimate.notes + told, others)


def _resolved(method: Any) -> tuple[str, Any]:
    """(name, Options) of a method given as either."""
    if isinstance(method, str):
        return method, methods.options(method, {})
    name = type(method).__module__.rpartition(".")[2].replace("_", "-")
    if name not in methods.names() or type(method) is not methods.load(name).Options:
        raise SettingError(f"method must be a name or a method's Options, got {method!r}")
    check(method, f"method {name}")
    return name, method


def residuals(operator: Convolution, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """relative_residual and max_residual of x [n, c_in, *grid] for data y [n, c_out, *outputs]."""
    import numpy as np

    squares = total = largest = 0.0
    for image, data in zip(x, y, strict=True):
        difference = operator.forward(image) - data
        squares += float(np.square(difference, dtype=np.float64).sum())
        total += float(np.square(data, dtype=np.float64).sum())
        largest = max(largest, float(np.abs(difference).max()))
    return {"relative_residual": (squares / total) ** 0.5 if total else 0.0, "max_residual": largest}


def _rounding_told(
    estimate: Estimate, y: np.ndarray, rounding: Rounding | None, name: str
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The relative error of x that rounding of the data explains, for the metrics, and what to say of it.

    Rounding is white noise of its level (of floats in proportion to them), which x has amplified by `noise_gain`; where
    that is unknown, by about the condition number at most. The size of x is taken as ||y|| over the operator's norm,
    which it has at least (and about, for a blur).
    """
    import numpy as np

    data, found = float(np.linalg.norm(y.ravel().astype(np.float64))), estimate.metrics
    share, what = float(np.finfo(y.dtype).eps) / 12**0.5, str(y.dtype)
    if rounding is not None:
        share, what = rounding.level * float(np.sqrt(y.size)) / (data or np.inf), f"{rounding.bits} bits"
    if share and "noise_gain" in found:
        error = found["noise_gain"] * found["operator_norm"] * share
        advice = "; try --method tikhonov" if name == "pinv" else ""
        said = f"rounding to {what} alone explains an error of {100 * error:.3g} %{advice}"
        return {"rounding_error": error}, (said,) if error > _NOTEWORTHY_ROUNDING else ()
    if share and (found.get("condition") or 0.0) * share > _NOTEWORTHY_ROUNDING:
        return {}, (
            f"rounding to {what} is {100 * share:.2g} % of the data, and the inverse may amplify it"
            f" {found['condition']:.2g} times",
        )
    return {}, ()


def __getattr__(name: str) -> Any:
    if name.replace("_", "-") in methods.names():
        return methods.load(name.replace("_", "-"))
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
