"""What a row cannot do without: transforms by each library there is, a matrix product, a pass over memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from . import machine
from .row import Call, Contender

PLANES = (-2, -1)


def transforms(shape: tuple[int, ...], pairs: float = 1, axes: tuple[int, ...] = PLANES) -> tuple[Contender, ...]:
    """`pairs` times a real float32 transform there and back, by pocketfft, FFTW and MKL (which torch brings)."""
    return tuple(
        Contender(f"{name} transforms", partial(prepare, shape, axes), (needs,), times=pairs)
        for name, prepare, needs in (("pocketfft", pocketfft, "scipy"), ("FFTW", fftw, "pyfftw"), ("MKL", mkl, "torch"))
    )


def noise(shape: Sequence[int]) -> np.ndarray:
    """Uniform float32."""
    return np.random.default_rng(9).random(tuple(shape), np.float32)


def pocketfft(shape: tuple[int, ...], axes: tuple[int, ...], data: Any) -> Call:
    """scipy.fft."""
    import scipy.fft

    x, sizes, count = noise(shape), [shape[a] for a in axes], machine.threads()

    def pair() -> None:
        spectrum = scipy.fft.rfftn(x, axes=axes, workers=count)
        scipy.fft.irfftn(spectrum, s=sizes, axes=axes, workers=count, overwrite_x=True)

    return pair


def fftw(shape: tuple[int, ...], axes: tuple[int, ...], data: Any) -> Call:
    """FFTW's plans alone, measured where the row is warm; the inverse is left unscaled."""
    import pyfftw

    effort = "FFTW_MEASURE" if os.environ.get(machine.REGIME) == "warm" else "FFTW_ESTIMATE"
    x, back = pyfftw.empty_aligned(shape, np.float32), pyfftw.empty_aligned(shape, np.float32)
    spectrum = pyfftw.empty_aligned((*shape[:-1], shape[-1] // 2 + 1), np.complex64)
    settings = {"axes": axes, "threads": machine.threads()}
    there = pyfftw.FFTW(x, spectrum, flags=(effort,), **settings)
    again = pyfftw.FFTW(spectrum, back, direction="FFTW_BACKWARD", flags=(effort, "FFTW_DESTROY_INPUT"), **settings)
    x[...] = noise(shape)

    def pair() -> None:
        there.execute()
        again.execute()

    return pair


def mkl(shape: tuple[int, ...], axes: tuple[int, ...], data: Any) -> Call:
    """torch.fft into arrays that are there."""
    import torch

    x, sizes = torch.from_numpy(noise(shape)), [shape[a] for a in axes]
    spectrum, back = torch.fft.rfftn(x, dim=axes), torch.empty_like(x)

    def pair() -> None:
        torch.fft.rfftn(x, dim=axes, out=spectrum)
        torch.fft.irfftn(spectrum, s=sizes, dim=axes, out=back)

    return pair


def memory_pass(shape: Sequence[int], dtype: type = np.float32) -> Contender:
    """Reading so many numbers and writing as many."""

    def prepare(data: Any) -> Call:
        x: np.ndarray = np.ones(tuple(shape), dtype)
        y = np.empty_like(x)
        return lambda: np.copyto(y, x)

    return Contender("one pass over memory", prepare)


def matrix_product(m: int, k: int, n: int) -> Contender:
    """[m, k] times [k, n] in float32: m k n multiply-adds as fast as BLAS does them."""

    def prepare(data: Any) -> Call:
        rng = np.random.default_rng(9)
        a, b = rng.random((m, k), np.float32), rng.random((k, n), np.float32)
        return lambda: a @ b

    return Contender("a matrix product", prepare)
