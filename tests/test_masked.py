"""Convolution of images with holes: against the definition, astropy, and what follows from the definition."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convtool
from convtool.errors import ConvtoolError

VERBS: dict[str, Callable[..., np.ndarray]] = {"convolve": convtool.convolve, "correlate": convtool.correlate}


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """A call: an image with holes, a kernel without negative taps, and every setting."""
    rank = draw(st.sampled_from([2, 2, 3]))
    frame = tuple(draw(st.integers(1, 6 if rank == 2 else 3)) for _ in range(rank))
    sizes = tuple(draw(st.integers(1, 4 if rank == 2 else 2)) for _ in range(rank))
    groups, inner, outer = draw(st.sampled_from([(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 1)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    taps = rng.random((groups * outer, inner, *sizes))
    taps[rng.random(taps.shape) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = 0
    x = rng.normal(1, 1, (draw(st.integers(1, 2)), groups * inner, *frame))
    number = st.integers(0, 3)
    return {
        "operation": draw(st.sampled_from(list(VERBS))),
        "x": x.astype(draw(st.sampled_from(["f4", "f8"]))),
        "observed": rng.random(x.shape) < draw(st.sampled_from([0.05, 0.4, 0.9])),
        "lost": draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e30])),
        "taps": taps * draw(st.sampled_from([1, -1])),
        "settings": {
            "origin": draw(st.sampled_from(["center", "first", "last"])),
            "boundary": draw(st.sampled_from(oracles.BOUNDARIES)),
            "padding": draw(st.sampled_from(["same", "same", "full"]) | st.tuples(*[st.tuples(number, number)] * rank)),
            "stride": draw(st.integers(1, 3)),
            "dilation": draw(st.integers(1, 2)),
            "groups": groups,
            "bias": draw(st.none() | st.just(np.arange(1.0, groups * outer + 1))),
        },
    }


@given(case=cases(), engine=st.sampled_from(["auto", "direct", "fft", "blocks"]))
@settings(max_examples=200)
def test_every_setting_agrees_with_the_definition(case: dict[str, Any], engine: str) -> None:
    x, observed, taps, how = case["x"], case["observed"], case["taps"], case["settings"]
    holed = np.where(observed, x, x.dtype.type(case["lost"]))
    before = holed.copy()
    try:
        expected = oracles.masked_loop(case["operation"], x, observed, taps, **how)
        if not observed.any():
            raise ValueError("nothing is left")
    except ValueError:
        with pytest.raises(ConvtoolError, match=r"no output|leaves nothing"):
            VERBS[case["operation"]](holed, taps, mask=observed, engine=engine, **how)
        return
    y = VERBS[case["operation"]](holed, taps, mask=observed, engine=engine, **how)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(
        y, expected, rtol=1e-12 if x.dtype == "f8" else 1e-6, atol=1e-6 if x.dtype == "f4" else 1e-11
    )
    np.testing.assert_array_equal(holed, before)


@pytest.mark.parametrize("sizes", [(3, 3), (5, 3), (1, 7), (9, 11)])
@pytest.mark.parametrize(("boundary", "theirs"), [("zero", "fill"), ("periodic", "wrap"), ("edge", "extend")])
def test_the_same_as_astropy(boundary: str, theirs: str, sizes: tuple[int, int]) -> None:
    """Theirs takes odd kernels alone, and divides them by their sum."""
    astropy = pytest.importorskip("astropy.convolution")
    rng = np.random.default_rng(4)
    x, kernel = rng.normal(5, 2, (13, 19)), rng.random(sizes)
    observed = rng.random(x.shape) < 0.8
    holed = np.where(observed, x, np.nan)
    expected = astropy.convolve(holed, kernel, boundary=theirs, nan_treatment="interpolate", normalize_kernel=True)
    assert np.isfinite(expected).all()
    for name, taps in (("convolve", kernel), ("correlate", kernel[::-1, ::-1])):
        y = VERBS[name](holed, taps, mask=observed, boundary=boundary)
        np.testing.assert_allclose(y, expected * kernel.sum(), rtol=1e-12)


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("sizes", [(3, 5), (4, 2), (20, 33)])
def test_where_nothing_is_lost_nothing_changes(sizes: tuple[int, int], boundary: str) -> None:
    """Bit by bit, also where a kernel has negative taps; and far from a hole to rounding."""
    rng = np.random.default_rng(1)
    x, kernel = rng.random((11, 16)).astype("f4"), rng.normal(0, 1, sizes)
    plain = convtool.convolve(x, kernel, boundary=boundary)
    assert convtool.convolve(x, kernel, boundary=boundary, mask=np.ones(x.shape)).tobytes() == plain.tobytes()
    observed, taps = np.ones((40, 50), bool), rng.random((3, 4))
    observed[20, 20] = False
    wide = rng.random(observed.shape)
    found = convtool.convolve(wide, taps, boundary=boundary, mask=observed)
    expected = convtool.convolve(wide, taps, boundary=boundary)
    near = convtool.convolve(~observed, np.ones((3, 4)), boundary=boundary) > 0.5
    assert near.sum() == 12
    np.testing.assert_allclose(found[~near], expected[~near], rtol=1e-14)
    assert (np.abs(found - expected)[near] > 1e-4).all()


@pytest.mark.parametrize("boundary", ["periodic", "edge", "reflect", "symmetric"])
def test_a_constant_stays_constant(boundary: str) -> None:
    rng = np.random.default_rng(2)
    observed = rng.random((20, 23)) < 0.3
    for sizes in ((3, 3), (4, 6), (1, 2), (25, 40)):
        kernel = rng.random(sizes)
        y = convtool.correlate(np.where(observed, 7.0, np.nan), kernel, boundary=boundary, mask=observed)
        known = ~np.isnan(y)
        assert known.any()
        np.testing.assert_allclose(y[known], 7 * kernel.sum(), rtol=1e-13)


def test_a_mean_bridges_a_hole() -> None:
    x = np.array([[1.0, 2.0, np.nan, 4.0, np.nan, np.nan, np.nan, 8.0]])
    y = convtool.convolve(x, np.ones((1, 3)) / 3, boundary="edge", mask=np.isfinite(x))
    np.testing.assert_allclose(y, [[4 / 3, 1.5, 3, 4, 4, np.nan, 8, 8]])
    outside = convtool.convolve(x, np.ones((1, 3)), boundary="zero", mask=np.isfinite(x))
    assert outside[0, 0] == 3  # 0 + 1 + 2: the zero is known
    assert outside[0, 7] == pytest.approx(12)  # 8 and 0, of weight 2 in 3


def test_what_carries_hardly_any_weight_is_no_support() -> None:
    x = np.array([[np.nan, np.nan, 5.0, 5.0]])
    for tail, supported in ((1e-7, True), (1e-11, False)):
        for engine in ("direct", "fft"):
            y = convtool.correlate(x, np.array([[1.0, 0.0, tail]]), origin=(0, 0), mask=np.isfinite(x), engine=engine)
            assert np.isnan(y[0, 1]) or tail == 1e-7
            assert np.isfinite(y[0, 0]) == supported
            if supported:
                np.testing.assert_allclose(y[0, 0], 5 * (1 + tail), rtol=1e-6)


def test_single_precision_holds_out_to_the_tails() -> None:
    """Where 1e-7 of the weight is left, rounding to single before the division would be all there is."""
    rng = np.random.default_rng(3)
    x = rng.uniform(100, 200, (64, 90)).astype("f4")
    observed = np.ones(x.shape, bool)
    observed[:, 30:] = False
    kernel = np.exp(-0.5 * (np.hypot(*np.mgrid[-24:25, -24:25]) / 5) ** 2)
    for engine in ("fft", "blocks"):
        y = convtool.convolve(x, kernel, mask=observed, boundary="edge", engine=engine)
        exact = convtool.convolve(x.astype("f8"), kernel, mask=observed, boundary="edge", engine="direct")
        known = np.isfinite(exact)
        share = convtool.convolve(observed.astype(float), kernel, boundary="edge", engine="direct") / kernel.sum()
        assert share[known].min() < 1e-5
        np.testing.assert_array_equal(np.isfinite(y), known)
        np.testing.assert_allclose(y[known], exact[known], rtol=1e-6)


def test_taps_of_both_signs_are_refused() -> None:
    rng = np.random.default_rng(5)
    x = rng.random((6, 7))
    holed = np.where(x > 0.1, x, np.nan)
    for kernel in (np.array([[-1.0, 0, 1]]), np.array([[0, -1.0, 0], [-1, 5, -1], [0, -1, 0]])):
        with pytest.raises(ConvtoolError, match=r"taps of both signs.*--nan nearest"):
            convtool.convolve(holed, kernel, mask=np.isfinite(holed))
    layer = np.stack([np.ones((1, 2, 2)), -np.ones((1, 2, 2)), np.zeros((1, 2, 2))])  # a sign for each output
    y = convtool.convolve(holed, layer, mask=np.isfinite(holed))
    np.testing.assert_array_equal(y[1], -y[0])
    np.testing.assert_array_equal(y[2], 0)
    with pytest.raises(ConvtoolError, match="both signs"):
        convtool.convolve(holed, np.concatenate([layer[:1], layer[:1] - [[[[0, 0], [0, 3]]]]]), mask=np.isfinite(holed))


def test_masks_of_the_plane_and_of_channels() -> None:
    rng = np.random.default_rng(6)
    x, kernel = rng.random((9, 8, 3)), rng.random((2, 3))
    plane = rng.random((9, 8)) < 0.6
    every = rng.random(x.shape) < 0.6
    for mask in (plane, every):
        y = convtool.convolve(x, kernel, axes="YXC", mask=mask)
        for c in range(3):
            alone = convtool.convolve(x[..., c], kernel, mask=mask if mask.ndim == 2 else mask[..., c])
            np.testing.assert_allclose(y[..., c], alone, rtol=1e-12)


def test_what_is_no_number_and_counts_is_refused() -> None:
    x, kernel = np.ones((4, 5)), np.ones((2, 2))
    x[1, 2], x[2, 3] = np.nan, np.inf
    with pytest.raises(ConvtoolError, match=r"2 NaN or infinite values.*mask=np.isfinite"):
        convtool.convolve(x, kernel)
    with pytest.raises(ConvtoolError, match=r"1 NaN or infinite values"):
        convtool.convolve(x, kernel, mask=~np.isnan(x))
    with pytest.raises(ConvtoolError, match="give a mask of the data's shape"):
        convtool.convolve(x, kernel, mask=np.ones((5, 4)))
    with pytest.raises(ConvtoolError, match="leaves nothing"):
        convtool.correlate(x, kernel, mask=np.zeros((4, 5)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_every_dtype_takes_a_mask(dtype: str) -> None:
    rng = np.random.default_rng(7)
    x = rng.integers(0, 100, (7, 9)).astype(dtype)
    observed, kernel = rng.random(x.shape) < 0.7, rng.random((3, 2))
    y = convtool.convolve(x, kernel, mask=observed)
    assert y.dtype == ("float64" if dtype in ("float64", "int64") else "float32")
    expected = oracles.masked_loop("convolve", x[None, None], observed[None, None], kernel[None, None])[0, 0]
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_the_loop_itself() -> None:
    """Without holes it is the loop of the plain operation."""
    rng = np.random.default_rng(8)
    x, taps = rng.random((1, 2, 4, 5)), rng.random((2, 2, 2, 3))
    for boundary, operation in itertools.product(oracles.BOUNDARIES, VERBS):
        how: dict[str, Any] = {"boundary": boundary, "padding": ((1, 2), (0, 3)), "stride": 2, "dilation": (1, 2)}
        plain = oracles.apply_loop(operation, x, taps, bias=[1, 2], **how)
        np.testing.assert_allclose(oracles.masked_loop(operation, x, x > -1, taps, bias=[1, 2], **how), plain)
