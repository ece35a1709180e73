"""Undo a convolution: one file a method in this folder, found by its name; what methods share is in `solvers`.

A method is a module with

    Options                            frozen dataclass; every field carries its help and is a `--set name=value`
    solve(observation, options)        data y [n, c_out, *outputs] and their operator -> Estimate, x [n, c_in, *grid]

and knows nothing of axes, files or the command line. It states the operators it can invert by what it asks of them (a
`spectrum`, or `forward` and `adjoint` alone). A method for one boundary alone names it as `AUTO_BOUNDARY`: what
boundary "auto" means for it. For the others the data are tested (`solvers.surroundings`). One that solves large dense
systems, which are worth the threads of BLAS, says `IS_DENSE = True`; those of the others get in each other's way.
`HELD` is how many arrays as large as the unknown scene, in the computing dtype, it holds at its peak, a little more
than was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from convtool.errors import DataError, SettingError
from convtool.registry import Registry, check
from convtool.solution import Solution

if TYPE_CHECKING:
    import numpy as np

    from convtool.deconvolution.solvers.surroundings import Surroundings
    from convtool.geometry import Padding
    from convtool.model import Model
    from convtool.observation import Observation, Rounding

methods = Registry(__name__, "method")
DEFAULT_METHOD = "auto"


def deconvolve(
    y: np.ndarray,
    kernel: np.ndarray,
    *,
    method: Any = DEFAULT_METHOD,
    axes: str | None = None,
    kernel_axes: str | None = None,
    origin: str | Sequence[int] = "center",
    boundary: str = "auto",
    keep_extension: bool = False,
    mask: np.ndarray | None = None,
    saturation: float | None = None,
    spacing: Sequence[float] | None = None,
    effort: str = "normal",
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
    boundary: what the scene did outside the frame: "unknown" (it went on, as in every photograph), a boundary of
        `convtool.convolve`, or "auto": the data are tested for "periodic", and taken for "unknown" where they are not
    keep_extension: with boundary "unknown", give all of the scene that had a part in the data, not the frame alone
    mask: nonzero where the data count, in y's shape or that of its spatial axes; the rest may be NaN
    saturation: leave out data at or above this share of the dtype's (for floats: of the data's) maximum, such as 0.99
    spacing: distance of samples along the kernel's spatial axes, in Z, Y, X order, in any unit; all the same without
    effort: "low", "normal" or "high": how much time the result is worth
    padding, stride, dilation: those that made y; "least-squares", "tv" and "rl" take any
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
    from convtool import model
    from convtool.axes import contiguous
    from convtool.observation import observe

    y, mask, rounding = _checked(y, kernel, axes, mask, saturation)
    settings: dict[str, Any] = {
        "axes": axes,
        "kernel_axes": kernel_axes,
        "origin": origin,
        "padding": padding,
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "operation": operation,
        "engine": engine,
        "precision": precision,
        "shape": shape,
        "boundary": boundary,
    }
    mode, told = settled_boundary(y, kernel, method, settings)
    built = model.build(y, kernel, keep_extension=keep_extension, is_data=True, **(settings | {"boundary": mode}))
    solution = solve(built, observe(built, y, mode, mask, rounding, spacing, effort), method)
    return replace(solution, x=contiguous(solution.x), notes=(*told, *solution.notes))


def _checked(
    y: np.ndarray, kernel: np.ndarray, axes: str | None, mask: np.ndarray | None, saturation: float | None
) -> tuple[np.ndarray, np.ndarray | None, Rounding | None]:
    """Data, what of them counts, and how they were rounded."""
    import numpy as np

    from convtool.axes import image_axes
    from convtool.observation import Rounding, counted

    y = np.asarray(y)
    if not np.any(kernel):
        raise DataError("the kernel is all zeros: nothing of the image is left in the data")
    return *counted(y, image_axes(y.shape, axes), mask, saturation), Rounding.to(y.dtype)


def settled_boundary(
    y: np.ndarray, kernel: np.ndarray, method: Any, settings: dict[str, Any], is_heard: bool = True
) -> tuple[str, tuple[str, ...]]:
    """The boundary of settings of `model.build`, "auto" settled for a method and data; and what there is to say of it.

    Without `is_heard` data are not tested only to say something. Raises SettingError where they cannot be tested.
    """
    from convtool import model, observation, ranges

    boundary = settings["boundary"]
    observation.check_boundary(boundary)
    fixed = getattr(methods.load(_resolved(method)[0]), "AUTO_BOUNDARY", None)
    if fixed or boundary not in (observation.AUTO, "periodic"):
        return (fixed if fixed and boundary == observation.AUTO else boundary), ()
    if boundary == observation.AUTO and settings["padding"] == "valid":
        return "zero", ()  # no window reaches outside
    if boundary != observation.AUTO and not is_heard:
        return boundary, ()
    built = model.build(y, kernel, is_data=True, **(settings | {"boundary": "periodic"}))
    ranges.check_scale(y, built.operator.kernel.taps, built.operator.dtype)
    data = built.arrangement.canonical(y)  # as they are stored: only some of their lines are looked at
    if boundary == "periodic" and not _may_jump(data):
        return boundary, ()
    if built.operator.geometry.outputs == built.operator.geometry.grid:
        found = _found(built, data)
        return (found.boundary, (found.sentence,)) if boundary == observation.AUTO else (boundary, _warned(found))
    if boundary == observation.AUTO:
        raise SettingError(
            "boundary auto is for padding same and stride 1: say what lay outside the frame, such as --boundary zero"
        )
    return boundary, ()


def _warned(found: Surroundings) -> tuple[str, ...]:
    """What to say to who takes data for periodic."""
    if found.boundary == "periodic" or not found.is_sure:
        return ()
    return (f"{found.sentence}; taken for periodic as asked, it will ring: leave --boundary out, or say unknown",)


def _may_jump(data: np.ndarray) -> bool:
    """Whether data [n, c, *grid] might jump across their frame, so that it is worth finding out."""
    from convtool.deconvolution.solvers import surroundings

    return any(surroundings.may_jump(image) for image in data)


def _found(built: Model, data: np.ndarray) -> Surroundings:
    """The boundary of data [n, c_out, *grid] as far as they tell: that of the image that decides."""
    from convtool.deconvolution.solvers import surroundings

    spread = built.operator.line_spreads()
    found = [surroundings.found(image, [len(line) for line in spread], spread) for image in data]
    return min(found, key=lambda each: each.sureness)


def solve(built: Model, observation: Observation, method: Any) -> Solution:
    """The solution for an observation with a model, its arrays views in the data's order of axes; see `deconvolve`."""
    from convtool import blas, ranges
    from convtool.deconvolution.solvers.trust import residuals, rounding_told

    name, options = _resolved(method)
    module = methods.load(name)
    ranges.check_scale(observation.y, built.operator.kernel.taps, built.operator.dtype)
    with nullcontext() if getattr(module, "IS_DENSE", False) else blas.single_threaded():
        estimate = module.solve(observation, options)
    measured, told = rounding_told(estimate, observation, name)

    def measure() -> dict[str, Any]:
        residual = residuals(built.operator, estimate.x, observation.y, observation.weights)
        found = estimate.metrics | estimate.measure() | measured
        return {"method": name, "options": asdict(options)} | residual | found

    others = {name: built.framed(x) for name, x in estimate.others.items()}
    snapshots = {count: built.framed(x) for count, x in estimate.snapshots.items()}
    notes = estimate.notes + told
    return Solution(built.framed(estimate.x), estimate.stop.value, notes, measure, others, snapshots)


def _resolved(method: Any) -> tuple[str, Any]:
    """(name, Options) of a method given as either."""
    if isinstance(method, str):
        return method, methods.options(method, {})
    name = type(method).__module__.rpartition(".")[2].replace("_", "-")
    if name not in methods.names() or type(method) is not methods.load(name).Options:
        raise SettingError(f"method must be a name or a method's Options, got {method!r}")
    check(method, f"method {name}")
    return name, method


def settled(options: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """A method's options with what it settled on in place of 'auto'; without those that it did not name."""
    found = {name: metrics.get(name) if value is None else value for name, value in options.items()}
    return {name: value for name, value in found.items() if isinstance(value, int | float | str | bool)}


def __getattr__(name: str) -> Any:
    if name.replace("_", "-") in methods.names():
        return methods.load(name.replace("_", "-"))
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
