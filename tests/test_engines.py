"""The engines: each is the operator, whatever its blocks, phases and terms; and the choice between them.

The oracle is the sparse matrix of the operator, itself tested against loops in test_operators.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convtool
from convtool import blas, blocks, boundary, choice, costs, direct, fft, opencv, process, products, separable
from convtool.errors import ConvtoolError, SettingError
from convtool.geometry import Geometry
from convtool.kernel import Kernel
from convtool.operators import Convolution

MODES = st.sampled_from(boundary.MODES)


def noise(shape: tuple[int, ...], seed: int = 0, dtype: Any = float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, shape).astype(dtype)


def operator(taps: np.ndarray, grid: tuple[int, ...], engine: str, **how: Any) -> Convolution:
    kernel = Kernel(taps, tuple(n // 2 for n in taps.shape[3:]))
    return Convolution.build(kernel, grid, len(taps), engine=engine, **how)


def check(A: Convolution, tolerance: float = 1e-12) -> None:
    """Forward and adjoint against the sparse matrix."""
    x, y = noise((2, *A.in_shape), 1, A.dtype), noise((2, *A.out_shape), 2, A.dtype)
    S = A.to_sparse()
    size = abs(S) @ abs(x.reshape(2, -1).T)
    assert np.all(abs(A.forward(x).reshape(2, -1).T - S @ x.reshape(2, -1).T) <= tolerance * (size + 1))
    size = abs(S.T) @ abs(y.reshape(2, -1).T)
    assert np.all(abs(A.adjoint(y).reshape(2, -1).T - S.T @ y.reshape(2, -1).T) <= tolerance * (size + 1))


def product_of_vectors(extent: tuple[int, ...], groups: int, seed: int) -> np.ndarray:
    """Taps [g, 1, 1, *extent] of rank one."""
    rng = np.random.default_rng(seed)
    taps = np.ones((groups, 1, 1, *extent))
    for axis, n in enumerate(extent):
        taps *= rng.normal(size=(groups, 1, 1, *(n if a == axis else 1 for a in range(len(extent)))))
    return taps


@st.composite
def cases(draw: Any, is_separable: bool = False) -> tuple[np.ndarray, tuple[int, ...], dict[str, Any]]:
    """Taps, grid and settings of one to three axes."""
    ndim = draw(st.integers(2 if is_separable else 1, 3))
    sizes = st.integers(1, {1: 40, 2: 14, 3: 7}[ndim])
    grid = tuple(draw(sizes) for _ in range(ndim))
    extent = tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    groups, seed = draw(st.integers(1, 2)), draw(st.integers(0, 99))
    o, i = draw(st.sampled_from([(1, 1), (1, 1), (2, 3), (7, 6)]))
    taps = product_of_vectors(extent, groups, seed) if is_separable else noise((groups, o, i, *extent), seed)
    numbers = st.tuples(*[st.tuples(st.integers(0, 6), st.integers(0, 6))] * ndim)
    how = {
        "boundary": draw(MODES),
        "operation": draw(st.sampled_from(["convolve", "correlate"])),
        "padding": draw(st.one_of(st.sampled_from(["same", "valid", "full"]), numbers)),
        "stride": tuple(draw(st.integers(1, 3)) for _ in range(ndim)),
        "dilation": tuple(draw(st.integers(1, 3)) for _ in range(ndim)),
    }
    return taps, grid, how


def checked(case: tuple[np.ndarray, tuple[int, ...], dict[str, Any]], engine: str) -> None:
    taps, grid, how = case
    try:
        A = operator(taps, grid, engine, **how)
    except ConvtoolError:
        return  # no window fits
    check(A, 1e-11)


@contextmanager
def small(**settings: Any) -> Iterator[None]:
    """Three threads, and blocks so small that a small image has many; `settings` are of the module direct."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process.policy, "threads", 3)
        for name, value in ({"_BLOCK": 12, "_THREADED": 0, "_PLANE": 1, "_PARTED": 1} | settings).items():
            patch.setattr(direct, name, value)
        yield


# Each is the operator -------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_direct_engine_in_many_blocks(case: Any) -> None:
    with small():
        checked(case, "direct")


@settings(max_examples=80, deadline=None)
@given(cases(), st.sampled_from([1, 1000]))
def test_the_direct_engine_with_few_columns_or_gathered_rows(case: Any, reach: int) -> None:
    with small(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_UNPACKED", 1)
        patch.setattr(products, "_FEWEST", 3)
        patch.setattr(products, "_PASS", 10 * reach)  # the more a pass costs, the more is gathered
        checked(case, "direct")


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 64))
def test_the_blocks_engine_in_many_blocks(case: Any, most: int) -> None:
    with small(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_CACHED", most)
        patch.setattr(blocks, "_MIXED", most)
        patch.setattr(blocks, "_TOGETHER", 40 * most)
        patch.setattr(blocks, "_TASK", 9 * most)
        blocks.block_grid.cache_clear()
        checked(case, "blocks")
    blocks.block_grid.cache_clear()


@settings(max_examples=100, deadline=None)
@given(cases(is_separable=True))
def test_the_separable_engine(case: Any) -> None:
    with small():
        checked(case, "separable")


@pytest.mark.parametrize("engine", ["direct", "separable", "blocks", "fft"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_images_are_as_exact_as_small_ones(engine: str, dtype: str) -> None:
    """Blocks as they are, one image of several of them, on its border and inside, against the definition in float64."""
    taps = product_of_vectors((6, 5), 1, 3)
    A = operator(taps, (700, 731), engine, boundary="reflect", dtype=dtype)
    assert A.engine_name == engine
    x = noise((1, 700, 731), 4, dtype)
    y = A.forward(x)
    assert y.dtype == dtype
    wide = np.pad(x[0].astype(float), [(2, 3), (2, 2)], mode="reflect")  # of the flipped window: origin (2, 2)
    for at in [(0, 0), (699, 730), (0, 730), (350, 365), (511, 13), (90, 89), (89, 90), (640, 639)]:
        exact = (taps[0, 0, 0, ::-1, ::-1] * wide[at[0] : at[0] + 6, at[1] : at[1] + 5]).sum()
        assert abs(y[0][at] - exact) <= 40 * np.finfo(dtype).eps * abs(taps).sum() * abs(x).max()


def test_the_direct_engine_keeps_its_bound() -> None:
    """The bound of the module, on data that round much, against exact arithmetic."""
    taps, u = noise((1, 1, 1, 7, 5), 5, np.float32).astype(float), np.finfo(np.float32).eps / 2
    A = operator(taps, (60, 50), "direct", dtype=np.float32, operation="correlate")
    x = (noise((1, 60, 50), 6) * np.logspace(-6, 6, 50)).astype(np.float32)
    S = A.to_sparse()
    exact, size = S @ x.ravel().astype(float), abs(S) @ abs(x.ravel().astype(float))
    n = 35 + 1
    assert np.all(abs(A.forward(x).ravel() - exact) <= n * u / (1 - n * u) * size)


def test_the_blocks_engine_keeps_its_bound_where_channels_mix() -> None:
    """The bound of the module, summed up over blocks: in these a sample lies in 4 at most."""
    taps = noise((1, 6, 5, 5, 7), 5, np.float32).astype(float)
    A = operator(taps, (70, 90), "blocks", dtype=np.float32, boundary="zero")
    x = (noise((5, 70, 90), 6) * np.logspace(-3, 3, 90)).astype(np.float32)
    error = np.linalg.norm(A.forward(x).ravel() - A.to_sparse() @ x.ravel().astype(float))
    n, u = math.prod(A._runner.block), np.finfo(np.float32).eps / 2
    size = np.sqrt((abs(taps).sum(axis=(3, 4)) ** 2).sum())
    bound = (12 * math.log2(n) + 4 * 5 + 4 * 35) * u * size * 2 * np.linalg.norm(x)
    assert bound / 1e4 < error <= bound


@pytest.mark.parametrize("mode", ["periodic", "zero", "reflect"])
@pytest.mark.parametrize(("o", "i"), [(1, 1), (6, 5)])
def test_the_fft_engine_keeps_its_bound(o: int, i: int, mode: str) -> None:
    taps, u = noise((1, o, i, 5, 7), 5, np.float32).astype(float), np.finfo(np.float32).eps / 2
    A = operator(taps, (70, 90), "fft", dtype=np.float32, boundary=mode)
    x = (noise((i, 70, 90), 6) * np.logspace(-3, 3, 90)).astype(np.float32)
    error = np.linalg.norm(A.forward(x).ravel() - A.to_sparse() @ x.ravel().astype(float))
    extended = boundary.extend(x, A.geometry.padding, mode)
    size = np.sqrt((abs(taps).sum(axis=(3, 4)) ** 2).sum()) * np.linalg.norm(extended)
    bound = (12 * math.log2(math.prod(A._runner.grid)) + 4 * i) * u * size
    assert bound / 1e4 < error <= bound


@pytest.mark.parametrize("count", [1, 3])
def test_the_separable_engine_keeps_its_bound(count: int) -> None:
    kernel = sum(np.outer(noise((6,), n), noise((5,), n + 10)) for n in range(count))
    A = operator(kernel[None, None, None], (60, 50), "separable", dtype=np.float32, boundary="reflect")
    x, u = noise((1, 60, 50), 6, np.float32), np.finfo(np.float32).eps / 2
    found = separable.terms(A.window.taps[0, 0, 0], np.dtype(np.float32))
    assert len(found) == count
    size = sum(math.prod(abs(w).sum() for w in term) for term in found)
    dropped = count * math.sqrt(kernel.size) * 6 * np.linalg.norm(kernel, 2)
    error = abs(A.forward(x).ravel() - A.to_sparse() @ x.ravel().astype(float)).max()
    bound = ((6 + 5 + count + 2) * size + dropped) * u * abs(x).max()
    assert bound / 1e3 < error <= bound


@pytest.mark.parametrize("engine", ["direct", "separable", "blocks", "fft"])
def test_threads_change_no_bit(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, taps = noise((900, 800), 7, np.float32), np.outer(noise((9,), 8), noise((8,), 9))
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(process.policy, "threads", count)
        found += [convtool.convolve(x, taps, engine=engine, boundary="edge") for _ in range(2)]
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


@pytest.mark.parametrize("engine", ["direct", "blocks"])
def test_threads_change_no_bit_where_channels_mix(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, taps = noise((7, 90, 80), 7, np.float32), noise((9, 7, 5, 4), 8)
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(process.policy, "threads", count)
        found += [convtool.convolve(x, taps, engine=engine, boundary="edge") for _ in range(2)]
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


def test_engines_may_run_in_many_threads_at_once() -> None:
    x = noise((300, 310), 10, np.float32)
    kernels = [noise((n, n + 1), n) for n in range(2, 12)]
    jobs = list(itertools.product(kernels, ("direct", "blocks")))
    expected = [convtool.convolve(x, k, engine=engine) for k, engine in jobs]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda job: convtool.convolve(x, job[0], engine=job[1]), jobs))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# Terms ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extent", [(7, 5), (1, 6), (4, 3, 5)])
def test_terms_add_up_to_the_kernel(extent: tuple[int, ...]) -> None:
    rng = np.random.default_rng(11)
    for rank in (1, 2):
        vectors = [[rng.normal(size=n) for n in extent] for _ in range(rank)]
        kernel = sum(separable.product(each) for each in vectors)
        found = separable.terms(kernel, np.dtype(float))
        np.testing.assert_allclose(sum(separable.product(each) for each in found), kernel, atol=1e-14)
        if rank == 1 or len(extent) == 2:
            assert len(found) == min(rank, *extent)
    full = rng.normal(size=(6, 6))
    assert len(separable.terms(full, np.dtype(float))) == 6


def test_the_rounding_of_the_dtype_decides_about_the_rank() -> None:
    nearly = separable.product([np.arange(1.0, 8), np.arange(2.0, 9)])
    nearly[3, 3] += 1e-7
    assert len(separable.terms(nearly, np.dtype(np.float32))) == 1
    assert len(separable.terms(nearly, np.dtype(np.float64))) == 2


def test_what_is_not_separable_is_refused() -> None:
    with pytest.raises(SettingError, match=r"engine separable .* use auto, direct, blocks or fft"):
        convtool.convolve(np.ones((9, 9)), noise((9, 9)), engine="separable")
    with pytest.raises(SettingError, match="engine separable"):
        convtool.convolve(np.ones((2, 9, 9)), noise((2, 2, 3, 3)), engine="separable")
    with pytest.raises(SettingError, match="use auto, direct, separable, blocks, fft or opencv"):
        convtool.convolve(np.ones((9, 9)), np.ones((2, 2)), engine="fastest")


# OpenCV ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cv2() -> Any:
    return pytest.importorskip("cv2", reason="the extra 'fast' is not installed")


@st.composite
def plain_cases(draw: Any) -> tuple[np.ndarray, tuple[int, ...], dict[str, Any]]:
    """Of two axes, without mixing or strides; images may be smaller than the kernel."""
    grid = tuple(draw(st.sampled_from([1, 3, 7, 8, 13, 14])) for _ in range(2))
    extent = tuple(draw(st.integers(1, 5)) for _ in range(2))
    taps = noise((draw(st.integers(1, 3)), 1, 1, *extent), draw(st.integers(0, 99)))
    numbers = st.tuples(*[st.tuples(st.integers(0, 6), st.integers(0, 6))] * 2)
    how = {
        "boundary": draw(MODES),
        "operation": draw(st.sampled_from(["convolve", "correlate"])),
        "padding": draw(st.sampled_from(["same", "same", "valid", "full", draw(numbers)])),
        "dilation": draw(st.sampled_from([1, 1, 2])) if max(extent) < 4 else 1,
    }
    return taps, grid, how


@settings(max_examples=150, deadline=None)
@given(plain_cases())
def test_the_opencv_engine(cv2: Any, case: Any) -> None:
    checked(case, "opencv")


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 11), (np.float64, 7)])
def test_opencv_keeps_the_bound_of_a_plain_sum(cv2: Any, dtype: Any, size: int) -> None:
    """The largest kernels that it is given; transforms would miss this bound by far."""
    taps, u = noise((1, 1, 1, size, size), 5, dtype).astype(float), np.finfo(dtype).eps / 2
    A = operator(taps, (60, 50), "opencv", dtype=dtype, operation="correlate", boundary="reflect")
    x = (noise((1, 60, 50), 6) * np.logspace(-6, 6, 50)).astype(dtype)
    S, wide = A.to_sparse().astype(np.longdouble).toarray(), x.ravel().astype(np.longdouble)
    n = size * size + 1
    assert np.all(abs(A.forward(x).ravel() - S @ wide) <= n * u / (1 - n * u) * (abs(S) @ abs(wide)))


def test_opencv_gives_its_threads_back_and_the_same_bits_with_any(cv2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel, before = noise((700, 600), 1, np.float32), noise((7, 7), 2), cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        found = []
        for count in (1, 2, 2, 5):
            monkeypatch.setattr(process.policy, "threads", count)
            found.append(convtool.convolve(x, kernel, engine="opencv", boundary="reflect"))
            assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


def test_opencv_is_chosen_where_it_is_installed_and_its_import_pays(cv2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.policy, "one_shot", False)
    assert chosen(noise((7, 7)), (2048, 2048)) == "opencv"
    assert chosen(noise((31, 31)), (2048, 2048)) == "blocks"
    monkeypatch.setattr(process.policy, "one_shot", True)
    assert chosen(noise((7, 7)), (512, 512)) == "direct"


def test_what_opencv_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel = np.ones((20, 20), np.float32), np.ones((3, 3))
    with pytest.raises(SettingError, match=r"engine opencv is for kernels of two axes .* at stride 1: use auto"):
        convtool.convolve(x, kernel, engine="opencv", stride=2)
    with pytest.raises(SettingError, match=r"span fewer than 130 samples in float32: use auto"):
        convtool.convolve(x, np.ones((12, 12)), engine="opencv")
    monkeypatch.setattr(opencv, "is_installed", lambda: False)
    with pytest.raises(SettingError, match=r"engine opencv is not installed \(pip install 'convtool\[fast\]'\)"):
        convtool.convolve(x, kernel, engine="opencv")


# The choice -----------------------------------------------------------------------------------------------------------


def chosen(kernel: np.ndarray, shape: tuple[int, ...], **how: Any) -> str:
    return operator(kernel.reshape(1, 1, 1, *kernel.shape), shape, "auto", dtype=np.float32, **how).engine_name


@pytest.fixture
def base_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra `fast` were not installed."""
    monkeypatch.setattr(opencv, "is_installed", lambda: False)


@pytest.mark.usefixtures("base_install")
def test_each_engine_has_work_for_which_it_is_chosen() -> None:
    assert chosen(noise((3, 3)), (2048, 2048)) == "direct"
    assert chosen(np.outer(*[np.hanning(33)[1:-1]] * 2), (2048, 2048)) == "separable"
    assert chosen(noise((31, 31)), (2048, 2048)) == "blocks"
    assert chosen(noise((400, 400)), (512, 512)) == "fft"
    sparse = np.zeros((31, 31))
    sparse[[0, 30, 7], [0, 30, 11]] = 1, 2, 3
    assert chosen(sparse, (2048, 2048)) == "direct"


@pytest.mark.usefixtures("base_install")
def test_the_choice_follows_the_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    dear = {"direct": ["multiply_add", "sample"], "blocks": ["block"], "fft": ["transform"]}
    for engine, names in dear.items():
        cheap = costs.Costs(**dict.fromkeys(names, 1e-09) | ({"spectral": 0.0} if engine != "direct" else {}))
        monkeypatch.setattr(costs, "current", lambda: cheap)  # noqa: B023
        assert chosen(noise((9, 9)), (500, 500)) == engine


def test_predicted_times_grow_with_the_work() -> None:
    taps, grid = noise((1, 1, 1, 7, 7)), (300, 400)
    geometry = operator(taps, grid, "auto").geometry
    small_times = choice.times(taps, geometry, 1, np.dtype(np.float32))
    double = choice.times(taps, geometry, 1, np.dtype(np.float64))
    larger = choice.times(taps, operator(taps, (900, 1200), "auto").geometry, 1, np.dtype(np.float32))
    for name, time in small_times.items():
        assert time < double[name] < larger[name]
    assert all(math.isfinite(time) and time > 0 for time in small_times.values())


def test_a_block_fits_the_cache_and_the_kernel() -> None:
    for outputs, span, channels in itertools.product(
        [(2048, 2048), (100, 3000), (31,), (40, 50, 60)], (0, 4, 30), (1, 32)
    ):
        reach, ones = (span,) * len(outputs), (1,) * len(outputs)
        extent = tuple(span + 1 for _ in outputs)
        geometry = Geometry(outputs, extent, "zero", tuple((0, span) for _ in outputs), ones, ones)
        grid = blocks.block_grid(geometry, channels, channels)
        assert all(b > r for b, r in zip(grid, reach, strict=True))
        most = blocks._CACHED if channels == 1 else blocks._MIXED
        fits = math.prod(grid) * channels <= most
        assert fits or math.prod(2 * r + 2 for r in reach) * channels > most / 4
        whole = tuple(map(fft.fast_length, np.add(outputs, reach).tolist()))
        assert not fits or blocks.cost(grid, geometry, channels, channels) < 3 * blocks.cost(
            whole, geometry, channels, channels
        )


def test_a_short_sum_of_products_is_known_however_it_was_rounded() -> None:
    single, geometry = np.dtype(np.float32), operator(noise((1, 1, 1, 21, 17)), (300, 400), "auto").geometry
    for count in (1, 3, 8):
        kernel = sum(np.outer(noise((21,), n), noise((17,), n + 50)) for n in range(count)).astype(np.float32)
        found = separable.multiply_adds(kernel[None, None, None], geometry, single)
        assert found is not None
        assert found[1] == 2 * count
    assert separable.multiply_adds(noise((1, 1, 1, 21, 17)), geometry, single) is None


def test_blocks_keep_threads_busy_where_that_pays() -> None:
    ones = (1, 1)
    for side, least, most in [(64, 1, 1), (512, 4, 8), (2048, 12, 40)]:
        geometry = Geometry((side, side), (15, 15), "reflect", ((7, 7), (7, 7)), ones, ones)
        assert least <= blocks.count(blocks.block_grid(geometry, 1, 1), geometry) <= most


# Threads --------------------------------------------------------------------------------------------------------------


def test_work_comes_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 4):
        monkeypatch.setattr(process.policy, "threads", count)
        assert process.each(lambda n: n * n, range(50)) == [n * n for n in range(50)]
        names = set(process.each(lambda _: threading.current_thread().name, range(50)))
        assert (names == {threading.main_thread().name}) == (count == 1)
    with pytest.raises(ZeroDivisionError):
        process.each(lambda n: 1 / n, [1, 0, 2])


def test_the_numbers_of_threads_of_blas_are_given_back() -> None:
    __import__("scipy.linalg.cython_blas")
    controls = blas._controls()
    if len(controls) < 2:
        pytest.skip("NumPy or SciPy has another BLAS than the OpenBLAS of its wheels")
    before = [count() for count, _ in controls]
    try:
        for number, (_, limit) in enumerate(controls):
            limit(2 + number)
        with blas.single_threaded():
            assert [count() for count, _ in controls] == [1, 1]
            with blas.single_threaded():
                assert [count() for count, _ in controls] == [1, 1]
            assert [count() for count, _ in controls] == [1, 1]
        assert [count() for count, _ in controls] == [2, 3]
        with pytest.raises(KeyError), blas.single_threaded():
            raise KeyError
        assert [count() for count, _ in controls] == [2, 3]
    finally:
        for (_, limit), count in zip(controls, before, strict=True):
            limit(count)
