"""Rows: convolutions undone in one step, and the inverses of many small matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .floors import memory_pass, transforms
from .row import Call, Contender, MissingError, Row, Target

_CHANNELS, _SIDE, _PHOTO = 32, 128, 1024
_RECIPE = "torch rfftn + pinv + einsum"
_WEIGHT = 0.01


@dataclass(frozen=True, eq=False)
class Blurred:
    """Data and the kernel that made them, float32."""

    y: np.ndarray
    kernel: np.ndarray


def layer() -> Blurred:
    """Data of 32 channels; a 3 x 3 kernel that mixes them, of condition 10 or so at each frequency."""
    rng = np.random.default_rng(1)
    kernel = 0.4 * rng.standard_normal((_CHANNELS, _CHANNELS, 3, 3)) / (9 * _CHANNELS) ** 0.5
    kernel[:, :, 1, 1] += np.eye(_CHANNELS)
    return Blurred(rng.random((_CHANNELS, _SIDE, _SIDE), np.float32), kernel.astype(np.float32))


def photograph() -> Blurred:
    """Noise, for times do not depend on the picture, and a random 15 x 15 blur."""
    rng = np.random.default_rng(2)
    kernel = rng.random((15, 15)) ** 3
    return Blurred(rng.random((_PHOTO, _PHOTO), np.float32), (kernel / kernel.sum()).astype(np.float32))


def embedded(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The kernel on a grid, its origin n // 2 on pixel 0."""
    grid = np.zeros((*kernel.shape[:-2], *shape), kernel.dtype)
    grid[..., : kernel.shape[-2], : kernel.shape[-1]] = kernel
    return np.roll(grid, [-(n // 2) for n in kernel.shape[-2:]], axis=(-2, -1))


def deconvolved(data: Blurred, method: str, **options: Any) -> Call:
    """convtool.deconvolve of periodic data."""

    def call() -> np.ndarray:
        import convtool

        chosen = getattr(convtool.deconvolution, method).Options(**options)
        return convtool.deconvolve(data.y, data.kernel, method=chosen, boundary="periodic").x

    return call


def kept_inverse(data: Blurred) -> Call:
    """`convtool.inverse(kernel, shape)`, factorised before, applied to data."""
    import convtool

    inverse = getattr(convtool, "inverse", None)
    if inverse is None:
        raise MissingError("no API yet: convtool.inverse")
    kept = inverse(data.kernel, data.y.shape)
    return lambda: kept.apply(data.y)


def torch_pinv(data: Blurred) -> Call:
    """The recipe: the kernel's transform, a pseudo-inverse of each frequency's matrix, a product."""
    import torch

    y, grid = torch.from_numpy(data.y), torch.from_numpy(embedded(data.kernel, data.y.shape[-2:]))

    def call() -> np.ndarray:
        H = torch.fft.rfftn(grid, dim=(-2, -1)).permute(2, 3, 0, 1)
        Y = torch.fft.rfftn(y, dim=(-2, -1))
        X = torch.einsum("hwio,ohw->ihw", torch.linalg.pinv(H), Y)
        return torch.fft.irfftn(X, s=y.shape[-2:], dim=(-2, -1)).numpy()

    return call


def numpy_solved(data: Blurred, with_pinv: bool) -> Call:
    """The same in NumPy, by pinv or by an LU solve of each frequency."""
    grid = embedded(data.kernel, data.y.shape[-2:])

    def call() -> np.ndarray:
        H = np.fft.rfft2(grid).transpose(2, 3, 0, 1)
        Y = np.fft.rfft2(data.y).transpose(1, 2, 0)[..., None]
        X = np.linalg.pinv(H) @ Y if with_pinv else np.linalg.solve(H, Y)
        return np.fft.irfft2(X[..., 0].transpose(2, 0, 1), s=data.y.shape[-2:])

    return call


def torch_solved(data: Blurred) -> Call:
    """torch.linalg.solve of each frequency."""
    import torch

    y, grid = torch.from_numpy(data.y), torch.from_numpy(embedded(data.kernel, data.y.shape[-2:]))

    def call() -> np.ndarray:
        H = torch.fft.rfftn(grid, dim=(-2, -1)).permute(2, 3, 0, 1)
        Y = torch.fft.rfftn(y, dim=(-2, -1)).permute(1, 2, 0)
        X = torch.linalg.solve(H, Y[..., None])[..., 0].permute(2, 0, 1)
        return torch.fft.irfftn(X, s=y.shape[-2:], dim=(-2, -1)).numpy()

    return call


_SOLVERS = (
    Contender(_RECIPE, torch_pinv, ("torch",)),
    Contender("numpy pinv of all", partial(numpy_solved, with_pinv=True)),
    Contender("numpy LU solve of all", partial(numpy_solved, with_pinv=False)),
    Contender("torch LU solve of all", torch_solved, ("torch",)),
)


def pinv() -> Row:
    """From the kernel to the image."""
    return Row(
        name="pinv",
        work="pinv c = 32, 3×3, 128²",
        data=layer,
        ours=partial(deconvolved, method="pinv"),
        peers=_SOLVERS,
        floors=transforms((_CHANNELS, _SIDE, _SIDE)),
        targets=(Target(0.1, "the recipe", (_RECIPE,)),),
        tolerance=1e-4,
        plan=(f"{_SIDE}x{_SIDE}", "--precision", "single"),
    )


def kept_pinv() -> Row:
    """The second image of the same kernel; the others begin again."""
    return Row(
        name="pinv-kept",
        work="pinv c = 32, 3×3, 128², factors kept",
        data=layer,
        ours=kept_inverse,
        peers=_SOLVERS,
        floors=transforms((_CHANNELS, _SIDE, _SIDE)),
        targets=(Target(0.01, "the recipe", (_RECIPE,)),),
        tolerance=1e-4,
        plan=(f"{_SIDE}x{_SIDE}", "--precision", "single"),
        is_fresh=False,
    )


def matrices(shape: tuple[int, ...]) -> np.ndarray:
    """A stack of random matrices, float64."""
    return np.random.default_rng(3).standard_normal(shape)


def our_pinv(a: np.ndarray) -> Call:
    """convtool.batched_pinv."""

    def call() -> np.ndarray:
        import convtool

        return convtool.batched_pinv(a)

    return call


def torch_pinv_of(a: np.ndarray) -> Call:
    """torch.linalg.pinv."""
    import torch

    stack = torch.from_numpy(a)
    return lambda: torch.linalg.pinv(stack).numpy()


def batched_pinv(count: int, m: int, n: int) -> Row:
    """Matrices of full rank, as random ones are."""
    return Row(
        name=f"batched-pinv-{m}x{n}",
        work=f"batched pinv {count:,} × ({m}×{n}), float64",
        data=partial(matrices, (count, m, n)),
        ours=our_pinv,
        peers=(
            Contender("numpy.linalg.pinv", lambda a: lambda: np.linalg.pinv(a)),
            Contender("torch.linalg.pinv", torch_pinv_of, ("torch",)),
        ),
        floors=(memory_pass((count, m, n), np.float64),),
        targets=(Target(0.2, "numpy", ("numpy.linalg.pinv",)),),
        tolerance=1e-8,
    )


def skimage_wiener(data: Blurred, is_identity: bool) -> Call:
    """skimage.restoration.wiener, whose default penalty is the Laplacian."""
    from skimage.restoration import wiener

    penalty = np.ones((1, 1)) if is_identity else None
    return lambda: wiener(data.y, data.kernel, _WEIGHT, reg=penalty, clip=False)


def regularised(method: str, **options: Any) -> Row:
    """A filter of a photograph with its weight given."""
    return Row(
        name=method,
        work=f"{method.capitalize()} {_PHOTO}², weight given",
        data=photograph,
        ours=partial(deconvolved, method=method, **options),
        peers=(
            Contender("scikit-image wiener", partial(skimage_wiener, is_identity=method == "wiener"), ("skimage",)),
        ),
        floors=transforms((_PHOTO, _PHOTO)),
        targets=(Target(0.6, "scikit-image", ("scikit-image wiener",)),),
        tolerance=2e-3 if method == "wiener" else 1e-5,  # convtool's Wiener filter restores the mean in full
        plan=(f"{_PHOTO}x{_PHOTO}", "--precision", "single"),
    )


ROWS: tuple[Callable[[], Row], ...] = (
    pinv,
    kept_pinv,
    partial(batched_pinv, 100_000, 2, 4),
    partial(batched_pinv, 10_000, 32, 32),
    partial(regularised, "tikhonov", weight=_WEIGHT),
    partial(regularised, "wiener", noise_to_signal=_WEIGHT),
)
