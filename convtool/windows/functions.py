"""What a local window operation does at a tap and between taps: by name, NumPy ufunc or callable; with derivatives.

A *combination* c(x, w) is what becomes of pixel x under the tap w; a *reduction* r(v_1, ..., v_K) makes one number of a
window's K combined values, by a step r_k = step(r_{k-1}, v_k) from r_1 = v_1 on.

    combine    c(x, w)      dc/dx          dc/dw             reduce   dr/dv_k
    mul        x w          w              x                 sum      1
    add        x + w        1              1                 mean     1 / K
    sub        x - w        1              -1                prod     the product of all v_l, l != k
    absdiff    |x - w|      sign(x - w)    -sign(x - w)      max      1 for the first of the largest values, else 0
    max        max(x, w)    x >= w         x < w             min      1 for the first of the smallest, else 0
    min        min(x, w)    x <= w         x > w
    tan-add    tan(x + w)   1 + tan^2      1 + tan^2

Where two values tie there is no derivative, and the table's is one subgradient: at x = w the pixel takes all of max and
min and absdiff gives 0, and of equal taps the first takes all. The product of the others is made of products, from both
ends towards k, since y / v_k knows nothing where a factor is zero.

Everything here writes into arrays that it is given, so that a block's values stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtool.errors import SettingError, listed

Function = str | np.ufunc | Callable[[Any, Any], Any]
Writer = Callable[..., Any]  # f(a, b, out=...)
Values = Callable[[int], np.ndarray]  # the combined values of tap k on a block, in an array of their own
Shares = Callable[[Values, int, np.ndarray], Iterator[np.ndarray]]  # (values, taps, gradient): gradient dr/dv_k

_FUNCTIONS = ("a NumPy ufunc", "a function of two arrays")


def combination(function: Function, dtype: np.dtype) -> Combination:
    """The combination of that name, or one that calls a ufunc or callable; raises SettingError for anything else."""
    if isinstance(function, str):
        return _named(COMBINATIONS, function, "combine", _FUNCTIONS)
    return Combination(_writer(function, "combine", dtype))


def reduction(function: Function, dtype: np.dtype) -> Reduction:
    """The reduction of that name, or one that calls a ufunc or callable; raises SettingError for anything else."""
    if isinstance(function, str):
        return _named(REDUCTIONS, function, "reduce", _FUNCTIONS)
    return Reduction(_writer(function, "reduce", dtype))


def differentiable(combine: object, reduce: object) -> tuple[Combination, Reduction]:
    """The named pair; raises SettingError for functions, whose derivatives nobody knows."""
    for function, what, names in ((combine, "combine", COMBINATIONS), (reduce, "reduce", REDUCTIONS)):
        if not isinstance(function, str):
            raise SettingError(
                f"{what} {_spelled(function)} has no known derivative: gradients need one of the names {listed(names)}"
            )
    return _named(COMBINATIONS, str(combine), "combine"), _named(REDUCTIONS, str(reduce), "reduce")


def _named(names: dict[str, Any], name: str, what: str, others: tuple[str, ...] = ()) -> Any:
    if name not in names:
        raise SettingError(f"unknown {what} '{name}': use {listed([*names, *others])}")
    return names[name]


def _spelled(function: object) -> str:
    return str(getattr(function, "__name__", function))


def _writer(function: object, what: str, dtype: np.dtype) -> Writer:
    if isinstance(function, np.ufunc):
        _check_ufunc(function, what, dtype)
        return lambda a, b, out: function(a, b, out=out, casting="unsafe")
    if callable(function):
        return lambda a, b, out: _called(function, what, a, b, out)
    raise SettingError(f"{what} must be a name, a NumPy ufunc or a function of two arrays, got {function!r}")


def _check_ufunc(ufunc: np.ufunc, what: str, dtype: np.dtype) -> None:
    """Raises SettingError unless the ufunc makes one real number of two real numbers."""
    if (ufunc.nin, ufunc.nout, ufunc.signature) != (2, 1, None):
        raise SettingError(f"{what} {ufunc.__name__} does not make one number of two: use a ufunc such as np.maximum")
    try:
        result = ufunc.resolve_dtypes((dtype, dtype, None))[-1]
    except TypeError as error:
        raise SettingError(f"{what} {ufunc.__name__} does not take {dtype}: use one that takes floats") from error
    if result.kind not in "biufO":
        raise SettingError(f"{what} {ufunc.__name__} gives {result} for {dtype}, expected real numbers")


def _called(function: Callable[[Any, Any], Any], what: str, a: np.ndarray, b: Any, out: np.ndarray) -> None:
    """out = function(a, b), whose shape and kind are checked: a user wrote it."""
    taken = "an array and a weight" if what == "combine" else "two arrays"
    try:
        result = np.asarray(function(a, b))
    except MemoryError:
        raise
    except Exception as error:  # a user's function may raise anything
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise SettingError(f"{what} {_spelled(function)} failed on {taken}: {why}") from error
    if result.shape != out.shape or result.dtype.kind not in "biuf":
        raise SettingError(
            f"{what} {_spelled(function)} must make of {taken} real numbers, one per element (shape {out.shape}),"
            f" got {result.dtype} of shape {result.shape}"
        )
    out[...] = result


@dataclass(frozen=True)
class Combination:
    """c(x, w) for a block of pixels and one weight; `slopes` gives (dc/dx, dc/dw), arrays or numbers."""

    write: Writer
    slopes: Callable[[np.ndarray, Any], tuple[Any, Any]] | None = None


@dataclass(frozen=True)
class Reduction:
    """r of a window's values, one step a tap; `shares` gives gradient dr/dv_k for each k in turn.

    A sum may be made of the sums of stretches of taps; a mean is one that is divided at last.
    """

    step: Writer
    shares: Shares | None = None
    is_sum: bool = False
    is_mean: bool = False


def _absdiff(x: np.ndarray, w: Any, out: np.ndarray) -> None:
    np.abs(np.subtract(x, w, out=out), out=out)


def _absdiff_slopes(x: np.ndarray, w: Any) -> tuple[np.ndarray, np.ndarray]:
    sign = np.sign(x - w)
    return sign, -sign


def _tan_add(x: np.ndarray, w: Any, out: np.ndarray) -> None:
    np.tan(np.add(x, w, out=out), out=out)


def _tan_add_slopes(x: np.ndarray, w: Any) -> tuple[np.ndarray, np.ndarray]:
    slope = 1 + np.square(np.tan(x + w))
    return slope, slope


def _sum_shares(values: Values, taps: int, gradient: np.ndarray) -> Iterator[np.ndarray]:
    return (gradient for _ in range(taps))


def _mean_shares(values: Values, taps: int, gradient: np.ndarray) -> Iterator[np.ndarray]:
    return _sum_shares(values, taps, gradient / taps)


def _prod_shares(values: Values, taps: int, gradient: np.ndarray) -> Iterator[np.ndarray]:
    after = np.ones((taps, *gradient.shape), gradient.dtype)  # of the taps behind each one
    for k in reversed(range(taps - 1)):
        np.multiply(after[k + 1], values(k + 1), out=after[k])
    before = gradient
    for k in range(taps):
        yield before * after[k]
        before = before * values(k)


def _extreme_shares(extreme: np.ufunc) -> Shares:
    def shares(values: Values, taps: int, gradient: np.ndarray) -> Iterator[np.ndarray]:
        found = values(0)
        for k in range(1, taps):
            extreme(found, values(k), out=found)
        is_open = np.ones(found.shape, bool)
        for k in range(taps):
            here = is_open & (values(k) == found)
            is_open &= ~here
            yield gradient * here

    return shares


COMBINATIONS = {
    "mul": Combination(np.multiply, lambda x, w: (w, x)),
    "add": Combination(np.add, lambda x, w: (1, 1)),
    "sub": Combination(np.subtract, lambda x, w: (1, -1)),
    "absdiff": Combination(_absdiff, _absdiff_slopes),
    "max": Combination(np.maximum, lambda x, w: (x >= w, x < w)),
    "min": Combination(np.minimum, lambda x, w: (x <= w, x > w)),
    "tan-add": Combination(_tan_add, _tan_add_slopes),
}
REDUCTIONS = {
    "sum": Reduction(np.add, _sum_shares, is_sum=True),
    "prod": Reduction(np.multiply, _prod_shares),
    "max": Reduction(np.maximum, _extreme_shares(np.maximum)),
    "min": Reduction(np.minimum, _extreme_shares(np.minimum)),
    "mean": Reduction(np.add, _mean_shares, is_sum=True, is_mean=True),
}
