"""Splitting: a kernel as a chain of kernels along one axis each, the way back from merging.

With taps k[o, i, y, x] (per group) as the matrix K[(i, y), (x, o)] and its singular value decomposition K = U S V^T,

    k[o, i, y, x] = sum_r  (u_r[i, y] sqrt(s_r)) (sqrt(s_r) v_r[x, o])

is a layer of kernels along Y with r outputs, then one along X with r inputs; keeping r terms is the best approximation
of that rank, with the relative error sqrt(sum_{j >= r} s_j^2) / ||k|| (Eckart and Young 1936, doi:10.1007/BF02288367;
for layers of networks, Jaderberg, Vedaldi and Zisserman 2014, doi:10.5244/C.28.88). A 3-D kernel is cut twice,
[(i, z), (y, x, o)] and then [(r, y), (x, o)], a tensor train (Oseledets 2011, doi:10.1137/090752286): the errors
of the cuts are orthogonal, and the total is at most sqrt(2) times the best possible.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convtool.errors import SettingError
from convtool.merging import layers
from convtool.merging.layers import Layer, Stage


@dataclass(frozen=True, eq=False)
class Split:
    """A kernel as separable layers.

    Attributes
    ----------
    layers: one `Layer` along each spatial axis, in Z, Y, X order; merging them gives the kernel back
    ranks: terms kept at each cut
    singular_values: of each cut, descending, [groups, values]
    errors: errors[r] = ||k - k_r|| / ||k|| with every cut at rank r (or its full rank), r = 0, 1, ...
    error: the relative error of `layers`, measured
    cost, full_cost: multiply-adds per output position, all channels, of the layers and of the kernel
    """

    layers: tuple[Layer, ...]
    ranks: tuple[int, ...]
    singular_values: tuple[np.ndarray, ...]
    errors: np.ndarray
    error: float
    cost: int
    full_cost: int


def split_kernel(
    kernel: np.ndarray | Layer,
    *,
    kernel_axes: str | None = None,
    groups: int = 1,
    tol: float | None = None,
    rank: int | None = None,
    channels: int = 1,
) -> Split:
    """A kernel as layers along one axis each, k = sum_r u_r v_r^T, with the error made at every rank.

    Parameters
    ----------
    kernel: YX, CYX, OIYX or the same with Z; or a `Layer`, whose stride, padding, dilation, origin and bias the layers
        share out
    kernel_axes, groups: as in `convtool.convolve`; not beside a `Layer`, which has its own
    tol: keep the smallest rank whose relative error (Frobenius norm) is at most this; by default, that of rounding in
        the kernel's dtype
    rank: or keep this many terms at every cut
    channels: of the images that the layers are for, where the kernel is a YX one that needs several terms

    A kernel that keeps its channels apart stays one where one term is enough; otherwise the layers are OIYX. Raises
    SettingError, DataError.

    Example
    -------
    >>> import numpy as np, convtool
    >>> split = convtool.split_kernel(np.outer([1.0, 2.0, 1.0], [1.0, 0.0, -1.0]))
    >>> split.ranks, [layer.kernel.shape for layer in split.layers]
    ((1,), [(3, 1), (1, 3)])
    """
    layer = _layer_of(kernel, kernel_axes, groups)
    (stage,) = layers.stages([layer], "correlate", "periodic")
    _check(stage, tol, rank, channels)
    scale = _scale(stage.kernel.taps, len(stage.spatial))
    tensor = _train_order(stage.kernel.taps) / scale ** len(stage.spatial)
    norm = float(np.linalg.norm(tensor))
    values = tuple(np.linalg.svd(_unfolded(tensor, cut + 1), compute_uv=False) for cut in range(2, tensor.ndim - 2))
    most = max(s.shape[1] for s in values)
    if rank is not None and rank > most:
        raise SettingError(f"rank must be at most {most} for this kernel, got {rank}")
    dropped = _dropped(tensor, values)
    errors = np.array([_error_at(dropped, r) for r in range(most + 1)]) / norm
    given = tuple(min(rank or 0, s.shape[1]) for s in values)
    allowed = _allowed(tensor, tol, layer.kernel)
    ranks = _cheapest(tensor, dropped, errors, allowed) if rank is None else given
    cores = _train(tensor, ranks)
    error = float(np.linalg.norm(tensor - _contracted(cores))) / norm
    copies = channels if max(ranks) > 1 else 1
    kind = stage.kind if max(ranks) == 1 else "OI"
    parts = tuple(
        _layer(scale * np.repeat(core, copies, axis=0), kind, stage, layer, axis) for axis, core in enumerate(cores)
    )
    cost = sum(int(np.count_nonzero(core)) for core in cores)
    values = tuple(s * scale ** len(cores) for s in values)
    return Split(parts, ranks, values, errors, error, cost, int(np.count_nonzero(tensor)))


def _layer_of(kernel: np.ndarray | Layer, kernel_axes: str | None, groups: int) -> Layer:
    if not isinstance(kernel, Layer):
        return Layer(kernel, kernel_axes=kernel_axes, groups=groups)
    if kernel_axes is not None or groups != 1:
        raise SettingError("a Layer has its own kernel_axes and groups: set them there, or give the kernel alone")
    return kernel


def _allowed(tensor: np.ndarray, tol: float | None, kernel: np.ndarray) -> float:
    """The relative error up to which a rank will do: what was asked for, and never less than rounding."""
    dtype = np.asarray(kernel).dtype
    is_narrow = tol is None and dtype in (np.float16, np.float32)
    return max(tol or 0.0, max(tensor.shape) * float(np.finfo(dtype if is_narrow else np.float64).eps))


def _check(stage: Stage, tol: float | None, rank: int | None, channels: int) -> None:
    if len(stage.spatial) < 2:
        raise SettingError(f"a kernel with axes {stage.axes} has one spatial axis: there is nothing to split")
    if not stage.kernel.taps.any():
        raise SettingError("the kernel is all zeros: there is nothing to split")
    if tol is not None and rank is not None:
        raise SettingError("tol and rank both choose the rank: give one of them")
    if tol is not None and not (isinstance(tol, numbers.Real) and 0 <= tol < 1):
        raise SettingError(f"tol must be at least 0 and below 1 (a relative error), got {tol}")
    if rank is not None and not _is_count(rank):
        raise SettingError(f"rank must be a whole number of at least 1, got {rank}")
    if not _is_count(channels):
        raise SettingError(f"channels must be a whole number of at least 1, got {channels}")
    if channels > 1 and not stage.is_shared:
        raise SettingError(f"channels={channels} is for YX kernels, got axes {stage.axes}: leave it out")


def _is_count(value: object) -> bool:
    return isinstance(value, numbers.Integral) and int(value) >= 1


def _scale(taps: np.ndarray, parts: int) -> float:
    """A power of two that, multiplied into every part, brings the taps near 1, where no square over- or underflows."""
    return float(2.0 ** round(math.log2(float(np.abs(taps).max())) / parts))


def _train_order(taps: np.ndarray) -> np.ndarray:
    """Taps [g, o, i, *extent] as [g, i, *extent, o]."""
    return np.moveaxis(taps, 1, -1)


def _dropped(tensor: np.ndarray, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """dropped[r1][r2]: the error of the train with these ranks; of one cut, [0][r].

    What the second cut drops, of the first one's approximation, is orthogonal to what the first has dropped.
    """
    if len(values) == 1:
        return [_tails(values[0])]
    _, s, vh = np.linalg.svd(_unfolded(tensor, 3), full_matrices=False)
    rest = (s[:, :, None] * vh).reshape(*s.shape, *tensor.shape[3:])
    found = [_tails(s)[:1]]
    for r, tail in enumerate(_tails(s)[1:], 1):
        after = np.linalg.svd(_unfolded(rest[:, :r], 3), compute_uv=False)
        found.append(np.hypot(tail, _tails(after)))
    return found


def _error_at(dropped: list[np.ndarray], rank: int) -> float:
    """The error with this rank, or the full one, at every cut."""
    row = dropped[min(rank, len(dropped) - 1)]
    return float(row[min(rank, len(row) - 1)])


def _cheapest(tensor: np.ndarray, dropped: list[np.ndarray], errors: np.ndarray, allowed: float) -> tuple[int, ...]:
    """The ranks with the fewest taps whose relative error is at most what is allowed.

    None is above the smallest that, taken for every cut, is good enough.
    """
    most = max(1, int(np.argmax(errors <= allowed)))
    if len(dropped) == 1:
        return (most,)
    norm = float(np.linalg.norm(tensor))
    _, i, z, y, x, o = tensor.shape
    fitting = [
        (r1 * i * z + r1 * y * r2 + r2 * x * o, (r1, r2))
        for r1, row in enumerate(dropped[1 : most + 1], 1)
        for r2 in range(1, min(most, len(row) - 1) + 1)
        if row[r2] / norm <= allowed
    ]
    return min(fitting)[1]


def _tails(s: np.ndarray) -> np.ndarray:
    """tails[r]: the norm of the singular values [g, k] that rank r drops, r = 0 .. k."""
    squares = np.square(s).sum(axis=0)
    return np.sqrt(np.append(np.cumsum(squares[::-1])[::-1], 0.0))


def _unfolded(tensor: np.ndarray, split: int) -> np.ndarray:
    """[g, a, b, c, ...] as [g, axes before `split`, axes from it on]."""
    return tensor.reshape(len(tensor), math.prod(tensor.shape[1:split]), -1)


def _train(tensor: np.ndarray, ranks: Sequence[int]) -> list[np.ndarray]:
    """Cores [g, r_in, n, r_out], one an axis; the first r_in are the inputs, the last r_out the outputs.

    Every singular value goes in halves to the cores on either side of its cut, once the cuts behind it are made.
    """
    cores, rest, before = [], tensor, np.ones(tensor.shape[:2])
    for rank in ranks:
        u, s, v = (a[..., :rank] for a in _decomposed(_unfolded(rest, 3)))
        sign, root = _sign(u), np.sqrt(s)
        cores.append(_divided((sign * root[:, None] * u).reshape(*rest.shape[:3], -1), before))
        rest = np.swapaxes(sign * s[:, None] * v, 1, 2).reshape(*s.shape, *rest.shape[3:])
        before = root
    return [*cores, _divided(rest, before)]


def _decomposed(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u [g, m, k], s [g, k], v [g, n, k]."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return u, s, np.swapaxes(vh, 1, 2)


def _divided(core: np.ndarray, root: np.ndarray) -> np.ndarray:
    """A core [g, r, n, r_out] over root [g, r]; what is divided by 0 is 0."""
    return core / np.where(root > 0, root, 1.0)[:, :, None, None]


def _sign(u: np.ndarray) -> np.ndarray:
    """[g, 1, r]: what makes the largest entry of every column positive."""
    largest = np.argmax(np.abs(u), axis=1)[:, None]
    return np.where(np.take_along_axis(u, largest, axis=1) < 0, -1.0, 1.0)


def _contracted(cores: Sequence[np.ndarray]) -> np.ndarray:
    """[g, i, *extent, o] of a train."""
    out = cores[0]
    for core in cores[1:]:
        out = np.einsum("g...r,grno->g...no", out, core)
    return out


def _layer(core: np.ndarray, kind: str, stage: Stage, layer: Layer, axis: int) -> Layer:
    """The layer of a core [g, r_in, n, r_out], with the settings of the kernel along its axis."""
    g, inputs, n, outputs = core.shape
    extent = [n if a == axis else 1 for a in range(len(stage.spatial))]
    lead = {"": (), "C": (g,), "OI": (g * outputs, inputs)}[kind]
    along = [a == axis for a in range(len(stage.spatial))]
    padding = [pads if here else (0, 0) for pads, here in zip(stage.padding, along, strict=True)]
    return Layer(
        np.moveaxis(core, 3, 1).reshape(*lead, *extent),
        kernel_axes=kind + stage.spatial,
        stride=tuple(s if here else 1 for s, here in zip(stage.stride, along, strict=True)),
        padding=tuple(padding) if stage.word is None else stage.word,
        dilation=tuple(d if here else 1 for d, here in zip(stage.dilation, along, strict=True)),
        origin=tuple(o if here else 0 for o, here in zip(stage.kernel.origin, along, strict=True)),
        groups=g if kind == "OI" else 1,
        bias=layer.bias if axis == len(stage.spatial) - 1 else None,
    )
