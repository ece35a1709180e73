"""What others would do: scikit-image's methods, total variation of a periodic image, and tapering before that.

Each takes a plane or a volume in 0..255 units, the kernel and a weight, and has a usual weight for a noise level (the
true one, which no user has). Channels go through one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.fft

Restore = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """restore(y, kernel, weight), and the usual weight for a noise level; None where there is no weight to choose."""

    restore: Restore
    usual: Callable[[float], float] | None = None


def wiener(y: np.ndarray, kernel: np.ndarray, weight: float) -> np.ndarray:
    """skimage.restoration.wiener; the weight is its `balance`."""
    from skimage.restoration import wiener as apply

    return 255 * apply(y / 255, kernel, weight, clip=False)


def unsupervised_wiener(y: np.ndarray, kernel: np.ndarray, weight: float) -> np.ndarray:
    """skimage.restoration.unsupervised_wiener, which samples the noise level and the weight."""
    from skimage.restoration import unsupervised_wiener as apply

    return 255 * apply(y / 255, kernel, clip=False, rng=0)[0]


def richardson_lucy(y: np.ndarray, kernel: np.ndarray, weight: float) -> np.ndarray:
    """skimage.restoration.richardson_lucy, 30 iterations."""
    from skimage.restoration import richardson_lucy as apply

    return 255 * apply(np.maximum(y, 0) / 255, kernel, num_iter=30, clip=False)


def periodic_tv(y: np.ndarray, kernel: np.ndarray, weight: float) -> np.ndarray:
    """min 1/2 |h * x - y|^2 + weight TV(x), everything periodic: 100 ADMM steps.

    References: Wang et al. 2008 (doi:10.1137/080724265); Chan et al. 2011 (doi:10.1109/TIP.2011.2158229).
    """
    rho, H, D = weight / 5, spectrum(kernel, y.shape), differences(y.shape)
    smoothness = sum(np.abs(d) ** 2 for d in D)
    HY, X = H.conj() * scipy.fft.rfftn(y), scipy.fft.rfftn(y)
    dual = np.zeros((y.ndim, *y.shape))
    for _ in range(100):
        v = np.stack([inverse(d * X, y.shape) for d in D]) + dual
        length = np.sqrt((v**2).sum(axis=0))
        split = v * np.maximum(1 - (weight / rho) / np.maximum(length, 1e-12), 0)
        dual = v - split
        pull = sum(d.conj() * scipy.fft.rfftn(s) for d, s in zip(D, split - dual, strict=True))
        X = (HY + rho * pull) / (np.abs(H) ** 2 + rho * smoothness + 1e-12)
    return inverse(X, y.shape)


def tapered(method: Restore) -> Restore:
    """A method after edge tapering: towards each side the data pass into their own periodic blur.

    The weights are products over the axes of 1 - (the autocorrelation of the kernel's projection) / (its maximum), so
    that the frame joins itself across its sides. Reference: Reeves 2005 (doi:10.1109/TIP.2005.854474) on what it costs.
    """

    def apply(y: np.ndarray, kernel: np.ndarray, weight: float) -> np.ndarray:
        share = np.ones(y.shape)
        for axis, n in enumerate(y.shape):
            profile = kernel.sum(axis=tuple(a for a in range(y.ndim) if a != axis))
            echo = np.abs(np.fft.rfft(profile, n - 1)) ** 2  # one pixel less: both sides have weight 0
            line = np.fft.irfft(echo, n - 1)
            line = 1 - np.append(line, line[0]) / line.max()
            share *= line.reshape([-1 if a == axis else 1 for a in range(y.ndim)])
        blurred = inverse(spectrum(kernel, y.shape) * scipy.fft.rfftn(y), y.shape)
        return method(share * y + (1 - share) * blurred, kernel, weight)

    return apply


def spectrum(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The half spectrum of a kernel whose origin n // 2 lies on pixel 0."""
    padded = np.zeros(shape)
    padded[tuple(slice(n) for n in kernel.shape)] = kernel
    return scipy.fft.rfftn(np.roll(padded, [-(n // 2) for n in kernel.shape], range(kernel.ndim)))


def differences(shape: tuple[int, ...]) -> list[np.ndarray]:
    """The half spectra of the periodic forward differences, one an axis."""
    spectra = []
    for axis in range(len(shape)):
        taps = np.zeros(shape)
        taps[(0,) * len(shape)] = -1
        taps[tuple(-1 if a == axis else 0 for a in range(len(shape)))] += 1
        spectra.append(scipy.fft.rfftn(taps))
    return spectra


def inverse(X: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The real signal of a half spectrum."""
    return scipy.fft.irfftn(X, s=shape)


def documented_balance(noise: float) -> float:
    """What the example of scikit-image's documentation takes."""
    return 0.1


def total_variation_weight(noise: float) -> float:
    """What suits total variation, if the noise level is known."""
    return 0.03 * max(noise, 0.3) ** 2


BASELINES: dict[str, Baseline] = {
    "skimage-wiener": Baseline(wiener, documented_balance),
    "skimage-unsupervised": Baseline(unsupervised_wiener),
    "skimage-rl": Baseline(richardson_lucy),
    "periodic-tv": Baseline(periodic_tv, total_variation_weight),
    "taper-wiener": Baseline(tapered(wiener), documented_balance),
    "taper-tv": Baseline(tapered(periodic_tv), total_variation_weight),
}
