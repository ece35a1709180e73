"""How smooth an estimated kernel is made: the penalty, and its weight chosen by generalised cross-validation.

The penalty is w^T R w = |L w|^2 with L the Laplacian of the taps, which are 0 outside their support. With the
eigenvectors of G v = g R v, the penalised least-squares taps keep g / (g + lambda) of each component, and

    V(lambda) = (mean squared residual) / (1 - sum(g / (g + lambda)) / data)^2

is least near the weight that predicts the data best. Measured on two photographs, seven kernels of 15 x 15 and noise
of 0, 1 and 5 in 255, with 8-bit rounding, the taps that this choice gives (then non-negative) are within some per cent
of the error at the best weight; first differences and the taps themselves as penalties do less well.

References
----------
G. H. Golub, M. Heath, G. Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter",
Technometrics 21 (1979) 215-223, doi:10.1080/00401706.1979.10489751.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from convtool.estimation.evidence import Evidence

_LEAST, _MOST = 1e-13, 10.0  # weights tried, over the largest eigenvalue
_SEARCH = (57, 11, 11)  # in each round, between the neighbours of the last one's best


def penalty(taps: Sequence[int]) -> np.ndarray:
    """R [n, n]: the squared Laplacian of taps that are zero outside their support, scaled to a unit diagonal or so."""
    laplacian = np.zeros((1, 1))
    for n in taps:
        second = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
        laplacian = np.kron(laplacian, np.eye(n)) + np.kron(np.eye(len(laplacian)), second)
    return laplacian @ laplacian / (4 * len(taps) ** 2 + 2 * len(taps))


def chosen_weight(evidence: Evidence, r: np.ndarray) -> float:
    """The weight lambda of w^T R w, beside the mean squared residual, that minimises V."""
    g, vectors = eigh(evidence.gram, r, check_finite=False)
    g = g.clip(0)
    components = (vectors.T @ evidence.rhs) ** 2
    floor = _LEAST * float(g[-1])
    explained = components / np.maximum(g, floor)
    noise = max(evidence.energy - float(explained.sum()), 1e-15 * evidence.energy)
    first, last = np.log(floor), np.log(_MOST * float(g[-1]))
    best = first
    for number in _SEARCH:
        tried = np.linspace(first, last, number)
        left = np.exp(tried)[:, None] / (g + np.exp(tried)[:, None])
        freedom = (evidence.count - (1 - left).sum(axis=1)).clip(1e-9 * evidence.count) / evidence.count
        i = int(np.argmin((noise + left**2 @ explained) / freedom**2))
        best, first, last = tried[i], tried[max(i - 1, 0)], tried[min(i + 1, number - 1)]
    return float(np.exp(best))
