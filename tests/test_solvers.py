"""What deconvolution methods share: filters, inverses, the choice of a weight and its safeguards, the power-law fit.

Oracles: dense matrices written entry by entry, numpy's full FFT, Monte Carlo, and photographs whose truth is known.
"""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
import oracles
import pytest
import scipy.ndimage
import skimage.data

import convtool
from convtool import fft
from convtool.deconvolution import tikhonov
from convtool.deconvolution.solvers import crossvalidation, filters, inverses, norms, periodicity, powerlaw
from convtool.errors import DataError, SettingError
from convtool.kernel import Kernel
from convtool.operators import Convolution


def operator(taps: np.ndarray, grid: tuple[int, ...], groups: int | None = None, dtype: str = "float64") -> Convolution:
    """The periodic convolution with taps [g, o, i, *extent], their origin in the middle."""
    kernel = Kernel(taps, tuple(n // 2 for n in taps.shape[3:]))
    return Convolution.build(kernel, grid, len(taps) if groups is None else groups, dtype=np.dtype(dtype))


def dense(built: Convolution) -> np.ndarray:
    taps = np.concatenate([built.kernel.taps[g % len(built.kernel.taps)] for g in range(built.groups)])
    return oracles.matrix(taps, built.in_shape, groups=built.groups)


def random_taps(g: int, o: int, i: int, extent: tuple[int, ...] = (2, 3)) -> np.ndarray:
    return np.random.default_rng(10 * o + i).normal(size=(g, o, i, *extent))


def deficient(o: int, i: int) -> np.ndarray:
    """Singular at every frequency that is 0 along X, and of rank one everywhere."""
    mix = np.outer(np.arange(1.0, o + 1), np.arange(2.0, i + 2))
    return mix[None, :, :, None, None] * np.array([[1.0, -1.0]])


LAYERS: dict[str, tuple[np.ndarray, int | None]] = {
    "scalar": (random_taps(1, 1, 1), None),
    "shared": (random_taps(1, 1, 1), 3),
    "one a channel": (random_taps(3, 1, 1), None),
    "mixing": (random_taps(1, 2, 2), None),
    "tall": (random_taps(1, 3, 2), None),
    "wide": (random_taps(1, 2, 3), None),
    "groups": (random_taps(2, 2, 1), None),
    "deficient": (deficient(1, 1), None),
    "deficient, square": (deficient(2, 2), None),
    "deficient, tall": (deficient(3, 2), None),
    "deficient, wide": (deficient(2, 3), None),
}
FRAMES = [(4, 6), (5, 7)]


@pytest.fixture(params=[(name, grid) for name in LAYERS for grid in FRAMES], ids=str)
def layer(request: pytest.FixtureRequest) -> Convolution:
    name, grid = request.param
    return operator(LAYERS[name][0], grid, LAYERS[name][1])


# Filters --------------------------------------------------------------------------------------------------------------


def test_the_decomposition_is_that_of_the_dense_matrix(layer: Convolution) -> None:
    parts = filters.decompose(layer)
    s = np.linalg.svd(dense(layer), compute_uv=False)
    assert parts.norm == pytest.approx(s[0], rel=1e-12)
    assert parts.s.max() == pytest.approx(1.0)
    H = np.moveaxis(layer.spectrum, (1, 2), (-2, -1))
    np.testing.assert_allclose(parts.norm * (parts.u * parts.s[..., None, :]) @ parts.vh, H, atol=1e-12 * s[0])
    for product in (inverses.adjoint(parts.u) @ parts.u, parts.vh @ inverses.adjoint(parts.vh)):
        assert np.abs(product - np.eye(product.shape[-1])).max() < 1e-12


@pytest.mark.parametrize("weight", [1e-6, 0.01, 3.0])
def test_a_filter_is_the_dense_regularised_solve(layer: Convolution, weight: float) -> None:
    parts, a = filters.decompose(layer), dense(layer)
    y = np.random.default_rng(1).normal(size=(2, *layer.out_shape))
    eye, laplacian = np.eye(layer.in_shape[0]), oracles.laplacian_matrix(layer.geometry.grid)
    spectrum = tikhonov.penalised("laplacian", fft.angular_frequencies(layer.geometry.grid), (1.0, 1.0))[..., None]
    pairs: Any = [(np.kron(eye, laplacian), spectrum), (np.eye(a.shape[1]), 1.0)]
    for penalty, squared in pairs:
        found = filters.filtered(parts.filter(weight * squared), y, layer)
        for x, data in zip(found, y, strict=True):
            expected = oracles.tikhonov_solution(a, penalty, data.ravel(), weight * parts.norm**2)
            np.testing.assert_allclose(x.ravel(), expected, atol=1e-8 * np.abs(expected).max())


def test_a_filter_without_weight_is_the_pseudo_inverse(layer: Convolution) -> None:
    y = np.random.default_rng(1).normal(size=(1, *layer.out_shape))
    found = filters.filtered(filters.decompose(layer).filter(0.0), y, layer)
    expected = oracles.pinv_solution(dense(layer), y.ravel(), 1e-11)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-9 * np.abs(expected).max())


def test_filters_keep_single_precision(layer: Convolution) -> None:
    built = operator(layer.kernel.taps, layer.geometry.grid, layer.groups, "float32")
    y = np.random.default_rng(1).normal(size=(1, *layer.out_shape))
    G = filters.decompose(built).filter(0.01)
    found = filters.filtered(G, y.astype(np.float32), built)
    assert G.dtype == np.complex64
    assert found.dtype == np.float32
    expected = filters.filtered(filters.decompose(layer).filter(0.01), y, layer)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_energies_are_those_of_the_data(layer: Convolution) -> None:
    parts, a = filters.decompose(layer), dense(layer)
    cells = float(np.prod(layer.geometry.grid))
    y = np.random.default_rng(3).normal(0.5, 1.0, layer.out_shape)
    energy, outside = parts.energies(y)
    counts = np.ones(layer.geometry.grid[-1] // 2 + 1) * 2
    counts[0] = 1
    counts[-1] -= layer.geometry.grid[-1] % 2 == 0
    total = float((energy * counts[:, None]).sum()) + outside
    assert total == pytest.approx(cells * (y**2).sum(), rel=1e-12)
    assert energy.dtype == np.float64
    if parts.kept.all():
        beyond = y.ravel() - a @ np.linalg.lstsq(a, y.ravel())[0]
        assert outside == pytest.approx(cells * (beyond**2).sum(), rel=1e-9, abs=1e-9)
    else:  # the range of U is larger than that of A
        assert (outside > 0) == (parts.u.shape[-2] > parts.u.shape[-1])


def test_noise_gain_is_the_norm_of_the_dense_filter(layer: Convolution) -> None:
    G = filters.decompose(layer).filter(0.003)
    units = np.eye(int(np.prod(layer.out_shape))).reshape(-1, *layer.out_shape)
    matrix = filters.filtered(G, units, layer)
    expected = np.linalg.norm(matrix) / np.sqrt(len(units))
    assert filters.noise_gain(G, layer) == pytest.approx(expected, rel=1e-10)


def test_noise_gain_is_what_noise_does() -> None:
    built = operator(random_taps(1, 2, 3), (16, 18))
    G = filters.decompose(built).filter(0.003)
    noise = np.random.default_rng(0).normal(0, 5.0, (300, *built.out_shape))
    amplified = filters.filtered(G, noise, built)
    energies = [float(np.square(e).sum()) for e in (amplified, noise)]
    assert filters.noise_gain(G, built) == pytest.approx(np.sqrt(energies[0] / energies[1]), rel=0.02)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e150])
def test_filters_follow_any_scale_of_the_kernel(scale: float) -> None:
    taps = random_taps(1, 1, 1)
    one, other = (filters.decompose(operator(a * taps, (5, 6))).filter(0.01) for a in (1.0, scale))
    np.testing.assert_allclose(other * scale, one, rtol=1e-10)
    built = operator(scale * taps, (5, 6))
    assert filters.noise_gain(other, built) * scale == pytest.approx(filters.noise_gain(one, built), rel=1e-10)


# Inverses -------------------------------------------------------------------------------------------------------------


def stack(k: int, m: int, n: int, dtype: str = "complex128") -> np.ndarray:
    rng = np.random.default_rng(m * 10 + n)
    real, imaginary = rng.normal(size=(2, k, m, n))
    return (real if dtype.startswith("float") else real + 1j * imaginary).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 3), (4, 2), (5, 1)])
def test_inverses_of_full_rank(m: int, n: int, dtype: str) -> None:
    a = stack(7, m, n, dtype)
    np.testing.assert_allclose(inverses.inverses(a), np.linalg.pinv(a), atol=1e-11)


@pytest.mark.parametrize(("m", "n"), [(3, 3), (4, 3)])
def test_inverses_leave_singular_matrices_out(m: int, n: int) -> None:
    a = stack(5, m, n)
    a[1] = 0
    a[3] = 0
    found = inverses.inverses(a)
    assert np.isnan(found[[1, 3]]).all()
    np.testing.assert_allclose(found[[0, 2, 4]], np.linalg.pinv(a[[0, 2, 4]]), atol=1e-12)
    assert np.isnan(inverses.inverses(np.zeros((2, m, n)))).all()


def spread(k: int, m: int, n: int, least: float) -> np.ndarray:
    """Matrices with singular values 1 and, as the last, `least`; every third one."""
    u, s, vh = np.linalg.svd(stack(k, m, n), full_matrices=False)
    s[...] = 1.0
    s[::3, -1] = least
    return (u * s[:, None]) @ vh


@pytest.mark.parametrize(("m", "n"), [(3, 3), (5, 3), (3, 5)])
@pytest.mark.parametrize("scale", [None, 1.0, 7.0])
def test_only_doubtful_matrices_are_decomposed(
    m: int, n: int, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    by_svd = inverses.by_svd

    def counted(a: np.ndarray, rcond: float, scale: float | None) -> tuple[np.ndarray, np.ndarray]:
        seen.append(len(a))
        return by_svd(a, rcond, scale)

    monkeypatch.setattr(inverses, "by_svd", counted)
    for least in (0.0, 1e-16, 1e-9, 0.99e-4, 1.01e-4, 1e-2):
        seen.clear()
        a = spread(10, m, n, least)
        found = inverses.batched_pinv(a, 1e-4, scale)
        cutoff = 1e-4 * (1.0 if scale is None else scale)
        for one, inverse in zip(a, found, strict=True):
            expected = np.linalg.pinv(one, rcond=cutoff)  # their norm is 1
            assert np.abs(inverse - expected).max() < 1e-11 * np.linalg.norm(expected) ** 2
        assert sum(seen) == (4 if least < 1e-3 else 0)


STACKS = [(7, 2, 4), (7, 4, 2), (5, 3, 3), (4, 1, 1), (2, 3, 1, 5), (3, 5, 1), (2, 6), (0, 2, 4), (3, 0, 2), (3, 2, 0)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("shape", STACKS, ids=str)
def test_batched_pinv_is_numpys(shape: tuple[int, ...], dtype: str) -> None:
    """Of full rank, of rank one, of zeros, and with entries whose squares over- or underflow."""
    rng = np.random.default_rng(sum(shape))
    real, imaginary = rng.normal(size=(2, *shape))
    a = (real + 1j * imaginary if dtype.startswith("c") else real).astype(dtype)
    eps, large = float(np.finfo(dtype).eps), float(np.finfo(dtype).max) ** 0.8
    rank_one = (a[..., :1] * a[..., :1, :]).astype(dtype) if a.size else a
    partly = a.copy()
    partly[1:] = 0
    for stack in (a, rank_one, partly, 0 * a):
        for scale in (1.0, large, 1 / large):
            found = convtool.batched_pinv(stack * a.dtype.type(scale), 100 * eps)
            expected = np.linalg.pinv(stack.astype("c16" if dtype.startswith("c") else "f8"), rcond=100 * eps)
            assert (found.dtype, found.shape) == (a.dtype, expected.shape)
            biggest = np.abs(expected).max(initial=0)
            np.testing.assert_allclose(found * a.dtype.type(scale), expected, atol=500 * eps * biggest**2 + eps)
    np.testing.assert_array_equal(convtool.batched_pinv(a, 100 * eps), convtool.batched_pinv(a, rcond=100 * eps))


def test_batched_pinv_takes_one_scale_for_all() -> None:
    a = np.stack([np.diag([1.0, 0.01]), np.diag([1e-3, 1e-5])])
    own = convtool.batched_pinv(a, 0.005)
    np.testing.assert_allclose(own, np.stack([np.diag([1.0, 100.0]), np.diag([1e3, 1e5])]))
    shared = convtool.batched_pinv(a, 0.005, 1.0)
    np.testing.assert_allclose(shared, np.stack([np.diag([1.0, 100.0]), np.zeros((2, 2))]))
    np.testing.assert_allclose(convtool.batched_pinv(a, 0.005, scale=0.1)[1], np.diag([1e3, 0.0]))


def test_batched_pinv_takes_lists_and_whole_numbers() -> None:
    np.testing.assert_allclose(convtool.batched_pinv([[1, 2], [3, 4]]), [[-2, 1], [1.5, -0.5]])  # type: ignore[arg-type]
    assert convtool.batched_pinv(np.eye(3, 2, dtype=np.int8)).dtype == np.float64


def test_batched_pinv_refuses_what_is_no_stack_of_matrices() -> None:
    for bad in (np.ones(3), np.array([[1.0, np.nan]]), np.array([[np.inf]]), np.array([["a"]]), np.array(1.0)):
        with pytest.raises(DataError, match="expected finite matrices of shape"):
            convtool.batched_pinv(bad)
    for rcond in (-1e-3, 1.0, np.nan):
        with pytest.raises(SettingError, match="rcond must be at least 0 and below 1"):
            convtool.batched_pinv(np.eye(2), rcond)


def test_batched_pinv_makes_few_calls_for_many_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    for name in ("inv", "qr", "svd", "slogdet"):
        original = getattr(np.linalg, name)

        def counted(a: np.ndarray, *rest: Any, _original: Any = original, **more: Any) -> Any:
            calls.append(a.shape)
            return _original(a, *rest, **more)

        monkeypatch.setattr(np.linalg, name, counted)
    a = np.random.default_rng(1).normal(size=(20000, 2, 4))
    a[::7, 1] = 2 * a[::7, 0]
    found = convtool.batched_pinv(a, 1e-10)
    assert len(calls) < 20
    monkeypatch.undo()
    np.testing.assert_allclose(found, np.linalg.pinv(a, rcond=1e-10), atol=1e-6)


def test_the_periodic_method_is_the_batched_inverse() -> None:
    taps, y = random_taps(1, 2, 4)[0], np.random.default_rng(3).random((2, 6, 8))
    x = convtool.deconvolve(y, taps, method="pinv").x
    H = np.moveaxis(operator(taps[None], (6, 8)).spectrum, (1, 2), (-2, -1))[0]
    Y = np.fft.rfft2(y).transpose(1, 2, 0)[..., None]
    X = (convtool.batched_pinv(H) @ Y)[..., 0].transpose(2, 0, 1)
    np.testing.assert_allclose(x, np.fft.irfft2(X, (6, 8)), atol=1e-12)


def test_the_largest_singular_value_is_found_among_many() -> None:
    rng = np.random.default_rng(4)
    flat = rng.normal(size=(500, 4, 4)) * rng.uniform(0.1, 1.0, (500, 1, 1))
    # Orthogonal matrices have a large Frobenius norm and a small singular value: they come first and do not win.
    u, _, vh = np.linalg.svd(rng.normal(size=(200, 4, 4)))
    peak = np.zeros((1, 4, 4))
    peak[0, 1, 2] = 5.5
    for a in (flat, 3 * (u @ vh), np.concatenate([3 * (u @ vh), peak]), peak, stack(100, 2, 5), stack(100, 5, 2)):
        expected = float(np.linalg.svd(a, compute_uv=False).max())
        assert norms.largest_singular_value(a) == pytest.approx(expected, rel=1e-12)
        assert norms.largest_singular_value(a[:, None]) == pytest.approx(expected, rel=1e-12)
    assert norms.largest_singular_value(np.zeros((3, 2, 2))) == 0.0


def test_the_cutoff_follows_the_precision() -> None:
    for dtype, eps in [("f4", 2.0**-23), ("c8", 2.0**-23), ("f8", 2.0**-52), ("c16", 2.0**-52)]:
        assert inverses.default_rcond(np.dtype(dtype)) == 1000 * eps


# Photographs ----------------------------------------------------------------------------------------------------------

GRID, MARGIN = (160, 201), 24


def gaussian(sigma: float) -> np.ndarray:
    line = np.exp(-0.5 * (np.arange(-8, 9) / sigma) ** 2)
    return np.outer(line, line) / line.sum() ** 2


KERNELS = {"gaussian": gaussian(2.0), "box": np.full((5, 9), 1 / 45), "motion": np.eye(11) / 11}
PENALTY = tikhonov.penalised("laplacian", fft.angular_frequencies(GRID), (1.0, 1.0))[..., None]


@functools.cache
def scene(name: str) -> np.ndarray:
    """A photograph with a margin of 24 pixels around the frame, 0 to 255."""
    import skimage.data

    rows, columns = (n + 2 * MARGIN for n in GRID)
    found: np.ndarray = getattr(skimage.data, name)()[20 : 20 + rows, 30 : 30 + columns].astype(np.float64)
    assert found.shape == (rows, columns)
    return found


def truth(name: str) -> np.ndarray:
    return scene(name)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def noise(level: float) -> np.ndarray:
    return np.random.default_rng(1).normal(0, level, GRID)


def periodic(name: str, kernel: str, level: float) -> np.ndarray:
    return scipy.ndimage.convolve(truth(name), KERNELS[kernel], mode="wrap") + noise(level)


def crop(name: str, kernel: str, level: float) -> np.ndarray:
    whole = scipy.ndimage.convolve(scene(name), KERNELS[kernel], mode="wrap")
    return whole[MARGIN:-MARGIN, MARGIN:-MARGIN] + noise(level)


def compressed(name: str, kernel: str, level: float) -> np.ndarray:
    """Periodic data that went through a JPEG file of quality 75."""
    import PIL.Image

    file = io.BytesIO()
    bytes_ = np.clip(np.round(periodic(name, kernel, level)), 0, 255).astype(np.uint8)
    PIL.Image.fromarray(bytes_).save(file, "JPEG", quality=75)
    return np.asarray(PIL.Image.open(file)).astype(np.float64)


@functools.cache
def parts_of(kernel: str) -> filters.Decomposition:
    return filters.decompose(operator(KERNELS[kernel][None, None, None], GRID))


class Trial:
    """One deconvolution of a photograph by one weight after another, in numpy's full spectrum."""

    def __init__(self, name: str, kernel: str, y: np.ndarray) -> None:
        padded = np.zeros(GRID)
        taps = KERNELS[kernel]
        padded[: taps.shape[0], : taps.shape[1]] = taps
        self.H = np.fft.fft2(np.roll(padded, [-(n // 2) for n in taps.shape], (0, 1)))
        waves = [2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(n)) for n in GRID]
        self.penalty = np.add.outer(*waves) ** 2
        self.X, self.Y = np.fft.fft2(truth(name)), np.fft.fft2(y)

    def psnr(self, weight: float) -> float:
        estimate = self.H.conj() * self.Y / (np.abs(self.H) ** 2 + weight * self.penalty)
        return self._psnr(estimate)

    def _psnr(self, estimate: np.ndarray) -> float:
        error = float((np.abs(estimate - self.X) ** 2).sum()) / self.X.size**2
        return float(10 * np.log10(255.0**2 / error))

    def of_input(self) -> float:
        return self._psnr(self.Y)

    def best(self) -> float:
        return max(self.psnr(weight) for weight in np.geomspace(1e-9, 10, 41))

    def plain_gcv(self) -> float:
        """The weight of generalised cross-validation by its formula, from a fine grid."""

        def score(weight: float) -> float:
            kept = weight * self.penalty / (np.abs(self.H) ** 2 + weight * self.penalty)
            return float((np.abs(kept * self.Y) ** 2).sum() / kept.sum() ** 2)

        return float(min(np.geomspace(1e-14, 1e2, 81), key=score))


CASES = [
    (name, kernel, level) for name in ("camera", "moon", "coins") for kernel in KERNELS for level in (0.5, 2.0, 5.0)
]


@pytest.mark.parametrize(("name", "kernel", "level"), CASES)
def test_the_weight_chosen_on_periodic_data_is_near_the_best(name: str, kernel: str, level: float) -> None:
    y = periodic(name, kernel, level)
    trial, choice = Trial(name, kernel, y), crossvalidation.chosen_weight(parts_of(kernel), PENALTY, y[None])
    assert choice.note is None
    assert trial.psnr(choice.weight) > trial.best() - 0.3
    ratio = choice.weight / trial.plain_gcv()
    assert 0.6 < ratio < 1.7  # the grid of the oracle; the method's is finer


def tried(name: str, kernel: str, y: np.ndarray) -> tuple[Trial, crossvalidation.Choice, float]:
    """The trial, the choice, and the PSNR it reaches; as good as plain cross-validation at least."""
    trial, choice = Trial(name, kernel, y), crossvalidation.chosen_weight(parts_of(kernel), PENALTY, y[None])
    reached = trial.psnr(choice.weight)
    assert reached > trial.psnr(trial.plain_gcv()) - 1  # whose grid is coarse, where its curve is steep
    return trial, choice, reached


@pytest.mark.parametrize(("name", "kernel", "level"), CASES)
def test_the_weight_chosen_on_a_crop_does_no_harm(name: str, kernel: str, level: float) -> None:
    trial, choice, reached = tried(name, kernel, crop(name, kernel, level))
    if level < 1:  # here plain cross-validation fails; noise covers the gap at the frame, and is said to
        assert reached > trial.psnr(trial.plain_gcv()) + 1
        assert reached > min(trial.best(), trial.of_input()) - 1
        assert "does not continue periodically" in str(choice.note)


@pytest.mark.parametrize(("name", "kernel", "level"), CASES)
def test_the_weight_chosen_on_jpeg_data_is_no_disaster(name: str, kernel: str, level: float) -> None:
    """A kernel without lone zeros keeps its weight; for the others compression can still cost several dB."""
    trial, choice, reached = tried(name, kernel, compressed(name, kernel, level))
    if kernel == "gaussian":  # here plain cross-validation fails by tens of dB
        assert reached > trial.psnr(trial.plain_gcv()) + 20
        assert reached > trial.of_input() - 1
        assert "not white" in str(choice.note)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", list(KERNELS))
def test_data_without_noise_are_not_smoothed(kernel: str, dtype: str) -> None:
    """Rounding of the computing dtype is all the noise there is; scenes must not be taken for it."""
    y = periodic("camera", kernel, 0.0).astype(dtype)
    built = operator(KERNELS[kernel][None, None, None], GRID, dtype=dtype)
    choice = crossvalidation.chosen_weight(filters.decompose(built), PENALTY, y[None])
    assert "not white" not in str(choice.note)
    trial = Trial("camera", kernel, y.astype(np.float64))
    assert trial.psnr(choice.weight) > trial.best() - 3
    assert trial.psnr(choice.weight) > trial.of_input() + 8


@pytest.mark.parametrize("spec", ["gaussian:sigma=1", "box:size=5", "motion:length=9,angle=20"])
def test_less_noise_is_never_worse(spec: str) -> None:
    """A scene that jumps across its own frame is no crop, and what a blur leaves of it no coloured noise."""
    x, taps = skimage.data.camera().astype(np.float64), convtool.kernels.make(spec)
    y = convtool.convolve(x, taps)
    white = np.random.default_rng(0).standard_normal(x.shape)
    errors = []
    for level in (0.0, 0.01, 0.1, 0.3, 1.0):
        solution = convtool.deconvolve(y + level * white, taps, method="tikhonov", boundary="periodic")
        assert not any("cautiously" in note for note in solution.notes)
        errors.append(float(np.square(solution.x - x).mean()))
    assert errors == sorted(errors)
    assert errors[-1] < np.square(y - x).mean()


def test_the_chosen_weight_says_when_there_is_nothing_to_choose_from() -> None:
    parts = parts_of("gaussian")
    assert crossvalidation.chosen_weight(parts, PENALTY, np.zeros((1, *GRID))) == crossvalidation.Choice(0.0)
    # At frequency 0 the Laplacian is 0: a constant leaves every weight as good as another.
    constant = crossvalidation.chosen_weight(parts, PENALTY, np.full((1, *GRID), 3.0))
    assert np.isfinite(constant.weight)
    weak = operator(np.array([[0.2, 0.6, 0.2]])[None, None, None], GRID)
    clean = scipy.ndimage.convolve(truth("camera"), np.array([[0.2, 0.6, 0.2]]), mode="wrap")
    choice = crossvalidation.chosen_weight(filters.decompose(weak), PENALTY, clean[None])
    assert "no noise" in str(choice.note)
    x = filters.filtered(filters.decompose(weak).filter(choice.weight * PENALTY), clean[None, None], weak)
    assert np.abs(x[0, 0] - truth("camera")).max() < 0.02


def test_the_chosen_weight_does_not_depend_on_the_datas_scale() -> None:
    y = periodic("camera", "box", 2.0)[None]
    weights = [crossvalidation.chosen_weight(parts_of("box"), PENALTY, a * y).weight for a in (1e-8, 1.0, 1e8)]
    assert weights[0] == pytest.approx(weights[1], rel=1e-6) == pytest.approx(weights[2], rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["camera", "moon", "coins"])
def test_the_frame_of_a_crop_stands_out(name: str, kernel: str) -> None:
    found = [periodicity.frame_excess(parts_of(kernel), make(name, kernel, 0.5)[None]) for make in (periodic, crop)]
    assert 0.5 < found[0] < 1.6 < periodicity.LIMIT < found[1]
    shifted = np.roll(periodic(name, kernel, 0.5), (70, 55), (0, 1))  # where the frame lies makes no difference
    assert periodicity.frame_excess(parts_of(kernel), shifted[None]) < 1.6


def test_the_frame_excess_is_its_formula() -> None:
    y = crop("camera", "box", 0.5) + 30 * np.eye(*GRID)  # nothing alike at opposite borders
    H = Trial("camera", "box", y).H
    damped = np.fft.ifft2(np.fft.fft2(y) * (np.abs(H) < 0.1 * np.abs(H).max())).real
    quotients = []
    for axis in (0, 1):
        lines = np.square(damped).mean(axis=1 - axis)
        outermost = (lines[0] + lines[1] + lines[-2] + lines[-1]) / 4
        quotients.append(float(np.sqrt(outermost / np.median(lines))))
    assert periodicity.frame_excess(parts_of("box"), y[None]) == pytest.approx(max(quotients), rel=1e-9)


def test_the_frame_excess_says_nothing_where_it_cannot() -> None:
    y = crop("camera", "box", 0.5)
    for taps in (np.ones((1, 1)), np.array([[0.2, 0.6, 0.2]]), np.array([[0.0, -0.3, 1.6, -0.3]])):
        parts = filters.decompose(operator(taps[None, None, None], GRID))
        assert periodicity.frame_excess(parts, y[None]) == 0.0
    small = filters.decompose(operator(KERNELS["box"][None, None, None], (7, 7)))
    assert periodicity.frame_excess(small, y[None, :7, :7]) == 0.0
    assert periodicity.frame_excess(parts_of("box"), np.zeros((1, *GRID))) == 0.0


def test_the_frame_excess_looks_at_each_axis_and_at_all_channels() -> None:
    parts = filters.decompose(operator(KERNELS["box"][None, None, None], GRID, 2))
    whole = periodic("camera", "box", 0.5)
    # The right border repeats the left one, the lower does not fit the upper one: a crop along Y alone.
    ramp = 60 * np.linspace(-1, 1, GRID[0])[:, None]
    for tilted in (np.stack([whole + ramp, whole]), np.stack([whole, whole + ramp])):
        assert periodicity.frame_excess(parts, tilted) > periodicity.LIMIT
    assert periodicity.frame_excess(parts, np.stack([whole, whole])) < periodicity.LIMIT


# Power laws -----------------------------------------------------------------------------------------------------------


def power_law(grid: tuple[int, ...], exponent: float, seed: int) -> np.ndarray:
    """A scene whose power falls as r^-exponent, r = 1 at the Nyquist frequency, of unit power there."""
    r = np.sqrt(sum(np.square(2 * f) for f in np.meshgrid(*map(np.fft.fftfreq, grid), indexing="ij")))
    r.flat[0] = 2 / max(grid)
    white = np.fft.fftn(np.random.default_rng(seed).normal(size=grid))
    return np.fft.ifftn(white * r ** (-exponent / 2)).real


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("exponent", "level"), [(1.4, 0.5), (2.0, 0.2), (2.0, 5.0), (3.0, 1.0)])
def test_the_fit_recovers_noise_and_exponent(exponent: float, level: float, kernel: str, dtype: str) -> None:
    grid = (180, 143)
    x = power_law(grid, exponent, 7)
    y = 100 + scipy.ndimage.convolve(x, KERNELS[kernel], mode="wrap")
    y += np.random.default_rng(8).normal(0, level, grid)
    built = operator(3 * KERNELS[kernel][None, None, None], grid, dtype=dtype)
    found = powerlaw.fit(filters.decompose(built), y[None].astype(dtype))
    assert found.noise_level == pytest.approx(level, rel=0.05)
    assert found.exponent == pytest.approx(exponent, abs=0.3)
    signal = float(x.var()) / 9  # the operator is three times the kernel that made the data
    norm = 3.0
    assert found.noise_to_signal * norm**2 == pytest.approx(level**2 / signal, rel=0.35)
    radius = powerlaw.radii(fft.angular_frequencies(grid))
    ratio = found.ratio[..., 0]
    np.testing.assert_allclose(ratio / ratio[0, -1], (radius / radius[0, -1]) ** found.exponent, rtol=1e-6)


def test_the_fit_scales_with_the_data() -> None:
    y = periodic("camera", "gaussian", 2.0)[None]
    fits = [powerlaw.fit(parts_of("gaussian"), a * y) for a in (1e-6, 1.0, 1e6)]
    for fit, a in zip(fits, (1e-6, 1.0, 1e6), strict=True):
        assert fit.noise_level == pytest.approx(a * fits[1].noise_level, rel=1e-3)
        assert fit.exponent == pytest.approx(fits[1].exponent, rel=1e-3)
    assert fits[1].noise_level == pytest.approx(2.0, rel=0.05)


def test_the_fit_takes_channels_together() -> None:
    y = np.stack([periodic("camera", "box", 2.0), periodic("coins", "box", 2.0)])
    parts = filters.decompose(operator(KERNELS["box"][None, None, None], GRID, 2))
    assert powerlaw.fit(parts, y).noise_level == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("grid", [(24, 31), (1, 1), (2, 3)])
def test_the_fit_of_zeros_and_of_constants(grid: tuple[int, ...], dtype: str) -> None:
    parts = filters.decompose(operator(np.full((1, 1, 1, 2, 2), 0.25), grid, dtype=dtype))
    zero = powerlaw.fit(parts, np.zeros((1, *grid), dtype))
    assert (zero.noise_to_signal, zero.noise_level, zero.exponent) == (0.0, 0.0, 0.0)
    assert zero.ratio.shape == (*grid[:-1], grid[-1] // 2 + 1, 1)
    assert not zero.ratio.any()
    for value in (3.0, 0.1):
        constant = powerlaw.fit(parts, np.full((1, *grid), value, dtype))
        assert constant.noise_level <= 1e2 * np.finfo(dtype).eps * value
        assert np.isfinite(constant.noise_to_signal)
        assert np.isfinite(constant.ratio).all()


@pytest.mark.parametrize("grid", [(8, 9), (9, 8), (4, 5, 6), (7,)])
def test_radial_frequencies_are_those_of_the_grid(grid: tuple[int, ...]) -> None:
    axes = np.meshgrid(*map(np.fft.fftfreq, grid), indexing="ij")
    expected = np.sqrt(sum(np.square(2 * f) for f in axes))[..., : grid[-1] // 2 + 1]
    expected.flat[0] = 2 / max(grid)  # the nearest other frequency
    np.testing.assert_allclose(powerlaw.radii(fft.angular_frequencies(grid)), expected, rtol=1e-12)
    assert powerlaw.radii(fft.angular_frequencies((1, 1))).tolist() == [[1.0]]
