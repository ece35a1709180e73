"""Rows: maxima of windows, and edges of many channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from .floors import memory_pass
from .row import Call, Contender, Row, Target

_IMAGES = (10, 192, 192, 3)
_MAPS = (250, 128, 28, 28)
_TORCH, _OPENCV = "torch max_pool2d", "OpenCV dilate"


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """Uniform float32."""
    return np.random.default_rng(0).random(shape, np.float32)


def ours(x: np.ndarray, size: int) -> Call:
    """convtool.max_pool of every window that lies within."""

    def call() -> np.ndarray:
        import convtool

        return convtool.max_pool(x, size, axes="NYXC")

    return call


def torch_pool(x: np.ndarray, size: int) -> Call:
    """torch max_pool2d on its own order of axes, NCYX."""
    import torch

    planes = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))

    def call() -> np.ndarray:
        with torch.inference_mode():
            return torch.nn.functional.max_pool2d(planes, size, stride=1).numpy().transpose(0, 2, 3, 1)

    return call


def windows(x: np.ndarray, size: int) -> Call:
    """The maximum over numpy's sliding_window_view."""
    return lambda: np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2)).max(axis=(-2, -1))


def dilate(x: np.ndarray, size: int) -> Call:
    """cv2.dilate of picture after picture, cut to the windows that lie within."""
    import cv2

    element = np.ones((size, size), np.uint8)
    before, after = size // 2, size - 1 - size // 2
    height, width = x.shape[1:3]

    def call() -> np.ndarray:
        grown = np.stack([cv2.dilate(picture, element) for picture in x])
        return grown[:, before : height - after, before : width - after]

    return call


def maxpool(size: int) -> Row:
    """A window at every pixel; the targets against torch begin at 5."""
    torch = Target(0.1, "torch", (_TORCH,))
    return Row(
        name=f"maxpool-{size}",
        work=f"maxpool 10×192×192×3, S = {size}, stride 1",
        data=partial(noise, _IMAGES),
        ours=partial(ours, size=size),
        peers=(
            Contender(_TORCH, partial(torch_pool, size=size), ("torch",)),
            Contender("sliding_window_view", partial(windows, size=size)),
            Contender(_OPENCV, partial(dilate, size=size), ("cv2",)),
        ),
        floors=(memory_pass(_IMAGES),),
        targets=(*((torch,) if size >= 5 else ()), Target(3, "OpenCV", (_OPENCV,))),
        tolerance=0.0,
    )


def our_edges(x: np.ndarray) -> Call:
    """convtool.edges with central differences."""

    def call() -> np.ndarray:
        import convtool

        return convtool.edges(x, boundary="edge")

    return call


def torch_edges(x: np.ndarray) -> Call:
    """Pad, subtract slices, square, add, take the root."""
    import torch

    maps = torch.from_numpy(x)

    def call() -> np.ndarray:
        with torch.inference_mode():
            p = torch.nn.functional.pad(maps, (1, 1, 1, 1), mode="replicate")
            dx = (p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2
            dy = (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2
            return torch.sqrt(dx**2 + dy**2).numpy()

    return call


def numpy_edges(x: np.ndarray) -> Call:
    """The same slices in NumPy, with as few arrays as it takes."""

    def call() -> np.ndarray:
        p = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        dx = p[..., 1:-1, 2:] - p[..., 1:-1, :-2]
        dy = p[..., 2:, 1:-1] - p[..., :-2, 1:-1]
        dx *= dx
        dy *= dy
        dx += dy
        np.sqrt(dx, out=dx)
        dx *= 0.5
        return dx

    return call


def edges() -> Row:
    """Many small maps."""
    return Row(
        name="edges",
        work="edges 1000×128×28×28, the first 250",
        data=partial(noise, _MAPS),
        ours=our_edges,
        peers=(Contender("torch slices", torch_edges, ("torch",)), Contender("numpy slices", numpy_edges)),
        floors=(memory_pass(_MAPS),),
        targets=(Target(0.4, "torch", ("torch slices",)),),
        tolerance=1e-6,
    )


ROWS: tuple[Callable[[], Row], ...] = (*(partial(maxpool, size) for size in (3, 5, 9, 15, 31)), edges)
