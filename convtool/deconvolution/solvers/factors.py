"""What is made of an operator alone, whatever the data, kept where other images of the same batch will need it.

`process.policy.keep` says who keeps it; nobody does by default. Of decompositions and inverses only those of kernels
that mix channels are worth the memory: one matrix a frequency takes longer than all that is left to do for an image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from convtool import process
from convtool.operators import Convolution

if TYPE_CHECKING:
    from convtool.deconvolution.solvers import periodic
    from convtool.deconvolution.solvers.filters import Decomposition

T = TypeVar("T")
_MOST = 2  # of a kind, which may be large: for upright and for lying images


def of(operator: Convolution, what: tuple[str, object], make: Callable[[], T]) -> T:
    """What `make` gives, or gave for another image; `what` names it and its settings."""
    keep = process.policy.keep
    if keep is None:
        return make()
    # With the operator, so that no other has its id as long as this is kept.
    found: tuple[Convolution, T] = keep((*what, id(operator)), lambda: (operator, make()), _MOST)
    return found[1]


def has_inverse(operator: Convolution) -> bool:
    """Whether an inverse is made for many images; it differs from a solution for one by rounding."""
    return process.policy.keep is not None and not process.policy.reproducible and _mixes(operator)


def inverse(operator: Convolution, rcond: float | None = None) -> periodic.Inverse:
    """The pseudo-inverse of a circulant operator."""
    from convtool.deconvolution.solvers import periodic

    return _of_mixing(operator, ("inverse", rcond), lambda: periodic.inverse(operator, rcond))


def decomposition(operator: Convolution, torus: Convolution) -> Decomposition:
    """The decomposition of the circulant operator that belongs to an operator."""
    from convtool.deconvolution.solvers.filters import decompose

    return _of_mixing(operator, ("decomposition", torus.geometry), lambda: decompose(torus))


def _of_mixing(operator: Convolution, what: tuple[str, object], make: Callable[[], T]) -> T:
    return of(operator, what, make) if _mixes(operator) else make()


def _mixes(operator: Convolution) -> bool:
    return operator.kernel.taps.shape[1:3] != (1, 1)
