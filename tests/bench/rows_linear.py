"""Rows: convolution of an image, with small, medium, separable and channel-mixing kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from . import machine
from .floors import matrix_product, memory_pass, transforms
from .row import FLOOR, Call, Contender, Row, Target, inside
from .vips_and_magick import imagemagick, vips

SIDE = 2048
_PAIR = (
    "The bare transforms take 0.5 to 0.7 of OpenCV's time, the more the busier the machine is, and convtool 1.1 to 1.3"
    " of theirs: the product and the kernel's own transform are the rest. Tried: whole transforms in place of passes."
)
_THROUGH_OPENCV = (
    "OpenCV does the work, in its own time; 0.75 ms more are one pass over the image, which must not hold a NaN, and"
    " 0.1 ms is Python. Tried: unrolled loops compiled by numba (3.7, 3.3, 5.7 and 13 ms for k = 3, 5, 7 and 11), which"
    " take half a second to compile for each kernel."
)
_WITHOUT_OPENCV = (
    "With NumPy alone: a matrix product a row of taps, and sums over 16 MB. Tried: blocks of 2^16 to 2^20 samples, one"
    " axpy a tap, ufuncs, correlate by rows: all slower."
)
_LAYER = (
    "822 million multiply-adds: the matrix products of OpenBLAS take 11 ms here, torch's kernels 8.5 to 16 for all."
    " Tried: tiles transformed by FFT with the frequency outermost (this), without blocks. Winograd's would break the"
    " bound on rounding in float32."
)
_OPENCV, _SEPARABLE = "OpenCV filter2D", "OpenCV sepFilter2D"


@dataclass(frozen=True, eq=False)
class Image:
    """An image and a kernel, float32; the kernel is positive, of sum 1 and not symmetric."""

    x: np.ndarray
    kernel: np.ndarray

    @property
    def flipped(self) -> np.ndarray:
        """For those who correlate."""
        return np.ascontiguousarray(self.kernel[..., ::-1, ::-1])


def image(shape: tuple[int, ...], size: int) -> Image:
    """Noise in [0, 1) and a random kernel of that size."""
    rng = np.random.default_rng(size)
    kernel = rng.random((size, size), np.float32)
    return Image(rng.random(shape, np.float32), kernel / kernel.sum())


def gaussian(shape: tuple[int, ...], size: int, sigma: float) -> Image:
    """Noise and a Gaussian, its taps sampled."""
    line = np.exp(-0.5 * (np.arange(size) - size // 2) ** 2 / sigma**2)
    kernel = np.outer(line, line) / line.sum() ** 2
    return Image(np.random.default_rng(size).random(shape, np.float32), kernel.astype(np.float32))


def channels(size: int) -> Image:
    """32 channels of 128 x 128, and weights OIYX of mean 0, as layers of a network have."""
    rng = np.random.default_rng(size)
    x = rng.random((32, 128, 128), np.float32)
    return Image(x, rng.standard_normal((32, 32, size, size), np.float32) / (size * 32**0.5))


def ours(data: Image, boundary: str, operation: str = "convolve") -> Call:
    """convtool by its Python function."""

    def call() -> np.ndarray:
        import convtool

        return getattr(convtool, operation)(data.x, data.kernel, boundary=boundary)

    return call


def filter2d(data: Image) -> Call:
    """cv2.filter2D, which correlates, and mirrors at the border."""
    import cv2

    kernel = data.flipped
    return lambda: cv2.filter2D(data.x, -1, kernel)


def sep_filter2d(data: Image) -> Call:
    """cv2.sepFilter2D with the lines of a separable kernel."""
    import cv2

    rows, columns = data.kernel.sum(axis=1), data.kernel.sum(axis=0)
    return lambda: cv2.sepFilter2D(data.x, -1, columns, rows)


def fftconvolve(data: Image, name: str = "fftconvolve") -> Call:
    """scipy.signal.fftconvolve, or oaconvolve."""
    import scipy.fft
    import scipy.signal

    function = getattr(scipy.signal, name)

    def call() -> np.ndarray:
        with scipy.fft.set_workers(machine.threads()):
            return function(data.x, data.kernel, mode="same")

    return call


def ndimage(data: Image) -> Call:
    """scipy.ndimage.convolve, mirroring as OpenCV does."""
    from scipy.ndimage import convolve

    return lambda: convolve(data.x, data.kernel, mode="mirror")


def gaussian_filter(data: Image, sigma: float) -> Call:
    """scipy.ndimage.gaussian_filter with as many taps."""
    from scipy import ndimage

    radius = data.kernel.shape[0] // 2
    return lambda: ndimage.gaussian_filter(data.x, sigma, mode="mirror", radius=radius)


def conv2d(data: Image) -> Call:
    """torch conv2d, which correlates, with zeros around."""
    import torch

    is_image = data.x.ndim == 2
    kernel = torch.from_numpy(data.flipped[None, None] if is_image else data.kernel)
    x = torch.from_numpy(data.x.reshape(1, -1, *data.x.shape[-2:]))
    padding = data.kernel.shape[-1] // 2

    def call() -> np.ndarray:
        with torch.inference_mode():
            y = torch.nn.functional.conv2d(x, kernel, padding=padding)[0]
        return (y[0] if is_image else y).numpy()

    return call


def skimage_gaussian(data: Image, sigma: float) -> Call:
    """skimage.filters.gaussian with as many taps."""
    from skimage.filters import gaussian as apply

    return lambda: apply(data.x, sigma, mode="mirror", truncate=(data.kernel.shape[0] // 2) / sigma)


def periodic(size: int) -> Row:
    """A large kernel on a torus: two transforms and a product."""
    grid = f"{SIDE}x{SIDE}"
    return Row(
        name=f"periodic-{size}",
        work=f"periodic convolve {SIDE}², k = {size}",
        data=partial(image, (SIDE, SIDE), size),
        ours=partial(ours, boundary="periodic"),
        peers=(
            Contender("scipy fftconvolve", fftconvolve, ("scipy",)),
            Contender("scipy oaconvolve", partial(fftconvolve, name="oaconvolve"), ("scipy",)),
            Contender(_OPENCV, filter2d, ("cv2",)),
        ),
        floors=transforms((SIDE, SIDE)),
        targets=(Target(0.8, "OpenCV", (_OPENCV,), limit=_PAIR), Target(2.5, "bare transforms", (FLOOR,))),
        difference=inside(size // 2),
        tolerance=2e-5,
        plan=(grid, "--precision", "single"),
    )


def small(size: int) -> Row:
    """A small kernel, mirrored at the border as OpenCV does it."""
    return Row(
        name=f"small-{size}",
        work=f"convolve {SIDE}², k = {size}",
        data=partial(image, (SIDE, SIDE), size),
        ours=partial(ours, boundary="reflect"),
        peers=(
            Contender(_OPENCV, filter2d, ("cv2",)),
            Contender("scipy.ndimage", ndimage, ("scipy",)),
            Contender("scipy fftconvolve", fftconvolve, ("scipy",)),
            Contender("torch conv2d", conv2d, ("torch",)),
            Contender("libvips (command)", vips, ("command:vips",)),
            Contender("ImageMagick (command)", imagemagick, ("command:ImageMagick",), tolerance=1e-3),  # 16 bits
        ),
        floors=(memory_pass((SIDE, SIDE)),),
        targets=(
            Target(3, "OpenCV", (_OPENCV,), limit=_WITHOUT_OPENCV),
            Target(1.2, "OpenCV, compiled", (_OPENCV,), needs=("cv2",), limit=_THROUGH_OPENCV),
            Target(0.5, "all others", but=(_OPENCV,)),
        ),
        difference=inside(size // 2),
        tolerance=2e-5,
        plan=(f"{SIDE}x{SIDE}", "--kernel-shape", f"{size}x{size}", "--precision", "single") if size > 7 else (),
    )


def separable(size: int = 31, sigma: float = 5.0) -> Row:
    """A kernel of rank 1 that is given as a whole: convtool is to find out."""
    return Row(
        name=f"separable-{size}",
        work=f"separable (Gaussian) k = {size}, given whole, {SIDE}²",
        data=partial(gaussian, (SIDE, SIDE), size, sigma),
        ours=partial(ours, boundary="reflect"),
        peers=(
            Contender(_SEPARABLE, sep_filter2d, ("cv2",)),
            Contender("scipy gaussian_filter", partial(gaussian_filter, sigma=sigma), ("scipy",)),
            Contender("scikit-image gaussian", partial(skimage_gaussian, sigma=sigma), ("skimage",)),
        ),
        floors=(memory_pass((SIDE, SIDE)),),
        targets=(Target(1, "scipy", ("scipy gaussian_filter",)), Target(3, "OpenCV", (_SEPARABLE,))),
        tolerance=2e-5,
        plan=(f"{SIDE}x{SIDE}", "--kernel-shape", f"{size}x{size}", "--precision", "single"),
    )


def mixing(size: int, at_most: float) -> Row:
    """A layer of a network, as torch computes it."""
    return Row(
        name=f"channels-{size}",
        work=f"channels 32→32, {size}×{size}, 128²",
        data=partial(channels, size),
        ours=partial(ours, boundary="zero", operation="correlate"),
        peers=(Contender("torch conv2d", conv2d, ("torch",)),),
        floors=(matrix_product(32, 32 * size * size, 128 * 128),),
        targets=(Target(at_most, "torch", ("torch conv2d",), limit=_LAYER),),
        tolerance=2e-5,
        plan=("128x128", "--kernel-shape", f"{size}x{size}", "--precision", "single"),
    )


ROWS: tuple[Callable[[], Row], ...] = (
    *(partial(periodic, size) for size in (31, 63)),
    *(partial(small, size) for size in (3, 5, 7, 11)),
    separable,
    partial(mixing, 3, 2.0),
    partial(mixing, 7, 0.6),
)
