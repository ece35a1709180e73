"""`convtool.equivariance`: what it promises, against loops from the definition, and whether it sees broken operators.

Soundness: wherever equality is expected, exact integers run through the oracles are equal. Completeness: what is left
out as border differs. Mutations: operators that are wrong somewhere are caught, their right twins are not.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import convtool
from convtool import boundary as boundary_module
from convtool import choice
from convtool.deconvolution import tikhonov, wiener
from convtool.equivariance import Convolve, Deconvolve, Edges, Finding, Function, Pool, Verdict, verify_equivariance
from convtool.equivariance.steps import Applied, Move, Step
from convtool.errors import DataError, SettingError
from convtool.merging.layers import Layer

RNG = np.random.default_rng(21)
LOPSIDED = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [-7.0, 8.0, 9.0]])
ROUND = np.array([[1.0, 2.0, 1.0], [2.0, 5.0, 2.0], [1.0, 2.0, 1.0]])


def whole(*shape: int) -> np.ndarray:
    """Random integers as float64; sums of a few products of them are exact."""
    return RNG.integers(-1000, 1000, shape).astype(np.float64)


def distinct(*shape: int) -> np.ndarray:
    """Integers of which no two are likely to be the same: what is made of different pixels differs."""
    return 2000 * whole(*shape) + whole(*shape)


def noise(*shape: int, dtype: str = "float64") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def one(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    assert verdict.holds == finding.holds
    return finding


def shifted(f: Any, x: np.ndarray, *shift: int, **settings: Any) -> Finding:
    return one(verify_equivariance(f, x, shift=shift, **settings))


# Steps with an oracle beside them -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conv:
    """A convolution of [c, *grid] with taps [o, i, *extent]: the library's step, and the definition."""

    taps: np.ndarray
    operation: str
    groups: int
    settings: dict[str, Any]  # origin, boundary, padding, stride, dilation

    @property
    def step(self) -> Step:
        layer = {name: value for name, value in self.settings.items() if name != "boundary"}
        return Convolve(Layer(self.taps, groups=self.groups, **layer), self.operation, self.settings["boundary"])

    def oracle(self, *images: np.ndarray) -> list[np.ndarray]:
        """Raises ValueError where there is no output."""
        windows = {name: value for name, value in self.settings.items() if name != "boundary"}
        frame, extent = images[0].shape[1:], self.taps.shape[2:]
        counts = [len(axis) for axis in oracles.reads(frame, extent, self.operation, **windows)]
        dense = oracles.matrix(
            self.taps, images[0].shape, operation=self.operation, groups=self.groups, **self.settings
        )
        return [(dense @ x.ravel()).reshape(-1, *counts) for x in images]


@dataclass(frozen=True)
class Maximum:
    """A maximum over windows of [c, *grid]."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    boundary: str
    dilation: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> Step:
        return Pool(self.window, self.stride, self.padding, self.boundary, self.dilation)

    def oracle(self, *images: np.ndarray) -> list[np.ndarray]:
        frame = images[0].shape[1:]
        axes = oracles.reads(frame, self.window, "correlate", "center", self.padding, self.stride, self.dilation)
        return [self._maxima(x, axes) for x in images]

    def _maxima(self, x: np.ndarray, axes: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
        outside = -np.inf if self.boundary == "lowest" else 0.0
        mode = "zero" if self.boundary == "lowest" else self.boundary
        for axis, windows in enumerate(axes, start=1):
            places = [[oracles.source(p, x.shape[axis], mode) for p in window] for window in windows]
            lines = [[np.full_like(x.take(0, axis), outside) if p is None else x.take(p, axis) for p in places_of]
                     for places_of in places]  # fmt: skip
            x = np.stack([np.max(window, axis=0) for window in lines], axis=axis)
        return x


Case = Conv | Maximum


def strides(case: Case, ndim: int) -> list[int]:
    return oracles.per_axis(case.stride if isinstance(case, Maximum) else case.settings["stride"], ndim)


def followed(chain: Sequence[Case], *images: np.ndarray) -> list[np.ndarray]:
    """The images after all steps, by the oracles. Raises ValueError where a step has no output or no image."""
    found = list(images)
    for case in chain:
        if not all(np.isfinite(each).all() for each in found):
            raise ValueError("a window of a maximum before this step read no pixel")
        found = case.oracle(*found)
    return found


def violation(chain: Sequence[Case], x: np.ndarray, shift: Sequence[int], moves: Sequence[int]) -> np.ndarray:
    """Whether f(T x) and T' f(x) differ, for every output [c, *counts], T' circular."""
    spatial = tuple(range(1, x.ndim))
    y, moved = followed(chain, x, np.roll(x, shift, spatial))
    return moved != np.roll(y, moves, spatial)


def expected(finding: Finding, counts: Sequence[int]) -> np.ndarray:
    """The outputs [*counts] that are not in the border."""
    lines = [
        (np.arange(n) >= before) & (np.arange(n) < n - after)
        for n, (before, after) in zip(counts, finding.border, strict=True)
    ]
    return boxed(lines)


def boxed(lines: Sequence[np.ndarray]) -> np.ndarray:
    """The places [*counts] that are marked on every axis."""
    return functools.reduce(np.logical_and.outer, lines)


# Soundness ------------------------------------------------------------------------------------------------------------


@st.composite
def convolutions(draw: st.DrawFn, channels: int, ndim: int, most: int = 4) -> Conv:
    groups = draw(st.sampled_from([n for n in (1, 2) if channels % n == 0]))
    outputs = groups * draw(st.integers(1, 2))
    extent = [draw(st.integers(1, most if ndim == 2 else 3)) for _ in range(ndim)]
    pair = st.tuples(st.integers(0, 3), st.integers(0, 3))
    padding = draw(
        st.one_of(
            st.sampled_from(["same", "valid", "full"]),
            st.integers(0, 3),
            st.tuples(*[pair] * ndim),
        )
    )
    origin = draw(
        st.one_of(
            st.sampled_from(["center", "first", "last"]),
            st.tuples(*(st.integers(0, n - 1) for n in extent)),
        )
    )
    chosen = {
        "origin": origin,
        "boundary": draw(st.sampled_from(oracles.BOUNDARIES)),
        "padding": padding,
        "stride": draw(st.one_of(st.just(1), st.tuples(*[st.integers(1, 3)] * ndim))),
        "dilation": draw(st.one_of(st.just(1), st.tuples(*[st.integers(1, 2)] * ndim))),
    }
    taps = np.array(draw(st.lists(st.integers(-9, 9), min_size=40, max_size=40)), float)
    shape = (outputs, channels // groups, *extent)
    return Conv(np.resize(taps, shape), draw(st.sampled_from(["convolve", "correlate"])), groups, chosen)


@st.composite
def maxima(draw: st.DrawFn, ndim: int) -> Maximum:
    def each(least: int, most: int) -> Any:
        return st.tuples(*[st.integers(least, most)] * ndim)

    pairs = draw(st.tuples(*[st.tuples(st.integers(0, 1), st.integers(0, 1))] * ndim))
    return Maximum(
        draw(each(1, 3)),
        draw(each(1, 2)),
        pairs,
        draw(st.sampled_from(["lowest", *oracles.BOUNDARIES])),
        draw(each(1, 2)),
    )


def lengths(ndim: int) -> Any:
    return st.tuples(*[st.integers(6, 12) if ndim == 2 else st.integers(4, 7)] * ndim)


def check_soundness(chain: Sequence[Case], x: np.ndarray, moves: Sequence[int]) -> None:
    """The library's verdict on steps that are right, and its promises, against the oracles."""
    ndim = x.ndim - 1
    total = [int(np.prod(each)) for each in zip(*(strides(case, ndim) for case in chain), strict=True)]
    shift = [u * s for u, s in zip(moves, total, strict=True)]
    try:
        differs = violation(chain, x, shift, moves)
    except ValueError:
        assume(False)
    try:
        found = shifted([case.step for case in chain], x, *shift, axes="CYX" if ndim == 2 else "CZYX")
    except SettingError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert "no output is expected" in said
        return
    promised = expected(found, differs.shape[1:])
    assert found.output_shift == tuple(moves)
    assert found.holds, found.explanation
    assert promised.any()
    assert not (differs & promised).any()
    assert (found.expected == "everywhere") == bool(promised.all())
    assert ((found.error > found.tolerance) == differs).all()


@given(data=st.data(), ndim=st.sampled_from([2, 2, 3]))
@settings(max_examples=80)
def test_one_convolution_is_equal_where_it_is_expected_to_be(data: st.DataObject, ndim: int) -> None:
    channels = data.draw(st.integers(1, 2))
    case = data.draw(convolutions(channels, ndim))
    x = whole(channels, *data.draw(lengths(ndim)))
    check_soundness([case], x, data.draw(st.tuples(*[st.integers(-3, 3)] * ndim)))


@given(data=st.data(), ndim=st.sampled_from([2, 2, 2, 3]))
@settings(max_examples=60)
def test_a_chain_is_equal_where_it_is_expected_to_be(data: st.DataObject, ndim: int) -> None:
    channels = data.draw(st.integers(1, 2))
    x, chain = whole(channels, *data.draw(lengths(ndim))), []
    for _ in range(data.draw(st.integers(2, 3))):
        case: Case = data.draw(st.one_of(convolutions(channels, ndim, most=3), maxima(ndim)))
        channels = len(case.taps) if isinstance(case, Conv) else channels
        chain.append(case)
    check_soundness(chain, x, data.draw(st.tuples(*[st.integers(-2, 2)] * ndim)))


@pytest.mark.parametrize("extent", [(3, 3), (2, 4), (1, 5)])
@pytest.mark.parametrize("operation", ["convolve", "correlate"])
def test_periodic_at_stride_one_is_expected_everywhere(extent: tuple[int, int], operation: str) -> None:
    taps = whole(2, 3, *extent)
    found = shifted(Convolve(Layer(taps, dilation=2), operation), whole(3, 9, 14), 4, -5)
    assert (found.holds, found.expected, found.border) == (True, "everywhere", ((0, 0), (0, 0)))


def test_axes_channels_and_batches_in_any_order() -> None:
    """Shifts act along Y and X wherever these stand; a kernel without Z leaves Z alone."""
    for axes, shape in [("YXC", (9, 12, 3)), ("XY", (12, 9)), ("NCYX", (2, 3, 9, 12)), ("ZYX", (4, 9, 12))]:
        x = noise(*shape)
        found = shifted(Convolve(Layer(LOPSIDED), boundary="zero"), x, 2, -3, axes=axes)
        assert found.holds, axes
        assert found.border[-2:] == ((3, 1), (1, 4)), axes
        assert found.error.shape == x.shape
    along_z = shifted(Convolve(Layer(LOPSIDED), boundary="zero"), noise(4, 9, 12), 1, 2, -3, axes="ZYX")
    assert (along_z.holds, along_z.border) == (True, ((0, 0), (3, 1), (1, 4)))


# Completeness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["zero", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", ["same", "valid", "full", 1, ((1, 0), (0, 2))], ids=str)
@pytest.mark.parametrize("extent", [(3, 3), (2, 4), (1, 3)])
def test_the_border_is_exactly_what_differs(boundary: str, padding: Any, extent: tuple[int, int]) -> None:
    """Of the outputs that have a counterpart (0 <= k - u < count), those that differ are those left out.

    The others may be left out, but are not expected to agree where they do not (windows of one pixel wrap around).
    """
    chosen = {"origin": "center", "boundary": boundary, "padding": padding, "stride": 1, "dilation": 1}
    case = Conv(whole(1, 1, *extent), "convolve", 1, chosen)
    x = distinct(1, 12, 15)
    for shift in [(2, 3), (-1, 4), (3, -2)]:
        found = shifted(case.step, x, *shift)
        (differs,) = violation([case], x, shift, shift)
        counterpart = [(np.arange(n) >= u) & (np.arange(n) < n + u) for n, u in zip(differs.shape, shift, strict=True)]
        where = boxed(counterpart)
        promised = expected(found, differs.shape)
        assert not (promised & differs).any()
        assert (differs[where] == ~promised[where]).all(), (shift, found.border)


@pytest.mark.parametrize("stride", [2, 3])
def test_the_border_is_exact_with_strides(stride: int) -> None:
    chosen = {"origin": "center", "boundary": "zero", "padding": "same", "stride": stride, "dilation": 1}
    case = Conv(whole(1, 1, 3, 4), "correlate", 1, chosen)
    x, moves = distinct(1, 19, 24), (2, -1)
    found = shifted(case.step, x, *(stride * u for u in moves))
    (differs,) = violation([case], x, [stride * u for u in moves], moves)
    counterpart = [(np.arange(n) >= u) & (np.arange(n) < n + u) for n, u in zip(differs.shape, moves, strict=True)]
    where = boxed(counterpart)
    assert (differs[where] == ~expected(found, differs.shape)[where]).all()


def test_an_axis_that_is_not_shifted_has_no_border() -> None:
    """A shift along Y alone leaves the columns' borders what they were."""
    case = Conv(whole(1, 1, 3, 3), "convolve", 1, dict.fromkeys(("stride", "dilation"), 1) | {
        "origin": "center", "boundary": "zero", "padding": "same"})  # fmt: skip
    x = whole(1, 12, 15)
    (differs,) = violation([case], x, (4, 0), (4, 0))
    assert not differs[5:11].any()
    assert shifted(case.step, x, 4, 0).border == ((5, 1), (0, 0))


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_taps_that_are_zero_make_no_border(boundary: str) -> None:
    """A window is as wide as what it takes from the image; one that takes nothing has no border at all."""
    line = np.zeros((5, 5))
    line[2, 1:4] = (1, -2, 4)
    case = Conv(line[None, None], "correlate", 1, {
        "origin": "center", "boundary": boundary, "padding": "same", "stride": 1, "dilation": 1})  # fmt: skip
    x = whole(1, 12, 15)
    found = shifted(case.step, x, 2, 3)
    (differs,) = violation([case], x, (2, 3), (2, 3))
    assert not (differs & expected(found, differs.shape)).any()
    assert found.border == (((0, 0), (4, 1)) if boundary != "periodic" else ((0, 0), (0, 0)))
    nothing = shifted(Convolve(Layer(0 * line, bias=np.array([7.0])), boundary=boundary), x[0], 2, 3)
    assert (nothing.holds, nothing.expected, nothing.largest) == (True, "everywhere", 0)


def test_usual_pooling_has_no_border_where_it_tiles_the_image() -> None:
    """Windows side by side never leave the frame: a circular shift by whole windows moves them as they are."""
    x = whole(12, 18)
    y, moved = (np.reshape(each, (6, 2, 6, 3)).max((1, 3)) for each in (x, np.roll(x, (4, 3), (0, 1))))
    np.testing.assert_array_equal(moved, np.roll(y, (2, 1), (0, 1)))
    assert shifted(Pool((2, 3), stride="window"), x, 4, 3).expected == "everywhere"


def test_periodic_at_stride_one_is_compared_everywhere_also_with_full_padding() -> None:
    """More outputs than pixels: each has a counterpart unless it is shifted in from outside."""
    chosen = {"origin": "center", "boundary": "periodic", "padding": "full", "stride": 1, "dilation": 1}
    case = Conv(whole(1, 1, 3, 4), "convolve", 1, chosen)
    x = whole(1, 9, 12)
    (differs,) = violation([case], x, (2, -3), (2, -3))
    assert not differs[2:, :-3].any()
    assert shifted(case.step, x, 2, -3).border == ((2, 0), (0, 3))


# Strides --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
@pytest.mark.parametrize(("stride", "shift"), [(2, 3), (3, 4), (5, -1)])
def test_a_shift_that_is_no_multiple_of_the_stride_is_refused(boundary: str, stride: int, shift: int) -> None:
    f = Convolve(Layer(LOPSIDED, stride=(1, stride)), boundary=boundary)
    with pytest.raises(SettingError, match=rf"shift of {shift} pixels along X is no multiple of the stride {stride}"):
        shifted(f, noise(30, 30), 1, shift)


def test_the_stride_of_a_chain_is_the_product() -> None:
    f = [Convolve(Layer(LOPSIDED, stride=2)), Pool(3, stride=3, boundary="periodic")]
    found = shifted(f, whole(36, 24), 12, -6)
    assert (found.holds, found.output_shift, found.expected) == (True, (2, -1), "everywhere")
    with pytest.raises(SettingError, match=r"shift of 4 pixels along Y is no multiple of the stride 6"):
        shifted(f, whole(36, 24), 4, 6)


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
def test_the_output_moves_by_shift_over_stride(boundary: str) -> None:
    f = Convolve(Layer(LOPSIDED, stride=(2, 3)), boundary=boundary)
    x = whole(24, 30)
    found = shifted(f, x, 4, -6)
    assert (found.holds, found.output_shift) == (True, (2, -2))
    assert shifted(f, x, 4, -6, output_shift=(2, -2)).holds


@pytest.mark.parametrize(
    ("length", "stride", "everywhere"), [(24, 2, True), (25, 2, False), (24, 5, False), (25, 5, True)]
)
def test_periodic_strides_are_equal_everywhere_only_if_they_divide_the_size(
    length: int, stride: int, everywhere: bool
) -> None:
    found = shifted(Convolve(Layer(LOPSIDED, stride=(1, stride))), whole(8, length), 0, 2 * stride)
    assert found.holds
    assert (found.expected == "everywhere") == everywhere
    plain = {"origin": "center", "boundary": "periodic", "padding": "same", "dilation": 1}
    case = Conv(LOPSIDED[None, None], "convolve", 1, plain | {"stride": (1, stride)})
    assert violation([case], whole(1, 8, length), (0, 2 * stride), (0, 2)).any() == (not everywhere)


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
@pytest.mark.parametrize("f", [Convolve, Pool])
def test_the_usual_mistake_is_explained(boundary: str, f: Any) -> None:
    """100 pixels before and 100 after a stride of 2."""
    step = Pool(2, stride=2, boundary=boundary) if f is Pool else Convolve(Layer(LOPSIDED, stride=2), boundary=boundary)
    found = shifted(step, noise(256, 300), 100, 100, output_shift=(100, 100))
    assert not found.holds
    assert "holds for an output shift of 50, not 100" in found.explanation
    assert "the stride is 2" in found.explanation


def test_the_usual_mistake_is_explained_where_the_claimed_shift_leaves_the_output() -> None:
    """150 pixels give 75 outputs, so a shift of 100 has nothing to compare; the mistake is the same."""
    f = Convolve(Layer(LOPSIDED, stride=2), boundary="zero")
    found = shifted(f, noise(150, 160), 100, 100, output_shift=(100, 100))
    assert not found.holds
    assert "50, not 100" in found.explanation


def test_the_mistake_on_one_axis_is_explained() -> None:
    f = Convolve(Layer(LOPSIDED, stride=(2, 1)))
    found = shifted(f, noise(32, 30), 8, 5, output_shift=(8, 5))
    assert "holds for an output shift of 4,5, not 8,5" in found.explanation
    assert "the stride is 2,1" in found.explanation


def test_a_wrong_shift_without_a_stride_is_explained() -> None:
    found = shifted(Convolve(Layer(LOPSIDED), boundary="zero"), noise(40, 40), 5, 7, output_shift=(5, 8))
    assert not found.holds
    assert "holds for an output shift of 5,7, not 5,8" in found.explanation


def test_the_largest_error_is_where_it_is_said_to_be() -> None:
    f = Convolve(Layer(LOPSIDED, stride=2))
    x = noise(32, 40)
    y, moved = (convtool.convolve(each, LOPSIDED, stride=2) for each in (x, np.roll(x, (8, 8), (0, 1))))
    error = np.abs(moved - np.roll(y, (8, 8), (0, 1)))
    found = shifted(f, x, 8, 8, output_shift=(8, 8))
    assert found.largest == pytest.approx(error.max())
    assert found.where == np.unravel_index(error.argmax(), error.shape)
    np.testing.assert_allclose(found.error, error)


def test_random_shifts_are_multiples_and_move_something() -> None:
    """A verdict on trials that shift by nothing would be one on nothing."""
    f = Convolve(Layer(LOPSIDED, stride=2))
    verdict = verify_equivariance(f, noise(32, 40), trials=5, seed=3)
    assert len(verdict.findings) == 5
    assert verdict.holds
    assert len({finding.output_shift for finding in verdict.findings}) > 2
    again = verify_equivariance(f, noise(32, 40), trials=5, seed=3)
    assert [each.output_shift for each in again.findings] == [each.output_shift for each in verdict.findings]
    for shape, stride in [((16, 16), 8), ((3, 3), 1), ((9, 12), 3)]:
        verdict = verify_equivariance(Convolve(Layer(LOPSIDED, stride=stride)), noise(*shape), trials=4)
        assert all(any(each.output_shift or ()) for each in verdict.findings), (shape, stride)


def test_random_shifts_leave_something_to_compare() -> None:
    verdict = verify_equivariance(Convolve(Layer(noise(51, 51)), boundary="zero"), noise(64, 96), trials=20)
    assert (verdict.holds, len(verdict.findings)) == (True, 20)


# Flips and quarter turns ----------------------------------------------------------------------------------------------

MOVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flip Y": lambda x: x[..., ::-1, :],
    "flip X": lambda x: x[..., ::-1],
    "flip YX": lambda x: x[..., ::-1, ::-1],
    "turn 90": lambda x: np.rot90(x, 1, (-2, -1)),
    "turn 180": lambda x: np.rot90(x, 2, (-2, -1)),
    "turn 270": lambda x: np.rot90(x, 3, (-2, -1)),
}
GROUPS = {"flips": ["flip Y", "flip X", "flip YX"], "rot90": ["turn 90", "turn 180", "turn 270"]}


def symmetrised(taps: np.ndarray, kind: str) -> np.ndarray:
    """Taps [..., ky, kx] made symmetric under one move, or under all."""
    if kind == "none":
        return taps
    if kind in MOVES:
        moved = MOVES[kind](taps)
        return taps + moved if kind != "turn 90" else sum((np.rot90(taps, k, (-2, -1)) for k in range(4)), 0 * taps)
    return symmetrised(symmetrised(taps, "flip Y"), "flip X")


@given(data=st.data(), group=st.sampled_from(["flips", "rot90"]))
@settings(max_examples=120)
def test_flips_and_turns_hold_exactly_where_the_definition_says(data: st.DataObject, group: str) -> None:
    side = data.draw(st.integers(1, 4))
    extent = (side, side) if group == "rot90" else (side, data.draw(st.integers(1, 4)))
    kinds = ["none", "flip Y", "flip X", "flip YX", "all"] if group == "flips" else ["none", "turn 180", "turn 90"]
    taps = symmetrised(RNG.integers(-99, 99, (2, 1, *extent)).astype(float), data.draw(st.sampled_from(kinds)))
    stride = data.draw(st.sampled_from([1, 1, 2, 3]))
    chosen = {
        "origin": data.draw(st.sampled_from(["center", "first", "last"])),
        "boundary": data.draw(st.sampled_from(oracles.BOUNDARIES)),
        "padding": data.draw(st.sampled_from(["same", "valid", "full", 1, ((1, 0), (1, 0))])),
        "stride": stride,
        "dilation": data.draw(st.sampled_from([1, 2])),
    }
    case = Conv(taps, data.draw(st.sampled_from(["convolve", "correlate"])), 1, chosen)
    x = whole(1, data.draw(st.integers(7, 11)), data.draw(st.integers(7, 11)))
    verdict = verify_equivariance(case.step, x, axes="CYX", group=group)
    assert {*verdict.skipped, *(each.transformation for each in verdict.findings)} == set(GROUPS[group])
    for name in verdict.skipped:
        assert not np.array_equal(MOVES[name](taps), taps), name
    for found in verdict.findings:
        assert np.array_equal(MOVES[found.transformation](taps), taps)
        (y,) = case.oracle(x)
        (moved,) = case.oracle(MOVES[found.transformation](x))
        assert found.holds == np.array_equal(moved, MOVES[found.transformation](y)), found
        assert found.holds or "origin" in found.explanation or "stride" in found.explanation
    assert verdict.holds == (bool(verdict.findings) and all(each.holds for each in verdict.findings))


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize(("shape", "stride"), [((13, 17), 4), ((13, 16), 3), ((9, 7), 2), ((8, 10), 1)])
def test_quarter_turns_of_images_that_are_not_square(boundary: str, shape: tuple[int, int], stride: int) -> None:
    """(N - 1) divisible by the stride on both axes, or else only the turns that flip the axis where it is."""
    verdict = verify_equivariance(
        Convolve(Layer(ROUND, stride=stride), boundary=boundary), noise(*shape), group="rot90"
    )
    fits = [(n - 1) % stride == 0 for n in shape]
    by_name = {each.transformation: each.holds for each in verdict.findings}
    assert by_name == {"turn 90": fits[1], "turn 180": all(fits), "turn 270": fits[0]}


@pytest.mark.parametrize(
    ("taps", "kept"),
    [
        (LOPSIDED, []),
        (LOPSIDED + LOPSIDED[::-1], ["flip Y"]),
        (LOPSIDED + LOPSIDED[:, ::-1], ["flip X"]),
        (LOPSIDED + LOPSIDED[::-1, ::-1], ["flip YX"]),
        (ROUND, ["flip Y", "flip X", "flip YX"]),
    ],
)
def test_only_the_flips_of_the_kernel_are_tried(taps: np.ndarray, kept: list[str]) -> None:
    verdict = verify_equivariance(Convolve(Layer(taps), boundary="zero"), noise(8, 11), group="flips")
    assert [each.transformation for each in verdict.findings] == kept
    assert set(verdict.skipped) == set(GROUPS["flips"]) - set(kept)
    assert verdict.holds == bool(kept)


@pytest.mark.parametrize("origin", ["first", "last", (0, 1), (1, 0)])
def test_an_origin_off_the_centre_is_named(origin: Any) -> None:
    verdict = verify_equivariance(Convolve(Layer(ROUND, origin=origin), boundary="zero"), noise(9, 11), group="flips")
    moved = {
        letter for letter, o in zip("YX", {"first": (0, 0), "last": (2, 2)}.get(origin, origin), strict=True) if o != 1
    }
    for found in verdict.findings:
        assert found.holds == moved.isdisjoint(found.transformation.removeprefix("flip "))
        assert found.holds or "origin is not central" in found.explanation


def test_an_even_kernel_has_no_centre_and_a_stride_may_not_fit() -> None:
    even = verify_equivariance(Convolve(Layer(np.ones((2, 2)))), noise(9, 11), group="flips")
    assert not even.holds
    assert all("origin is not central" in each.explanation for each in even.findings)
    assert verify_equivariance(Convolve(Layer(np.ones((2, 2)), padding="valid")), noise(9, 11), group="flips").holds
    wide = verify_equivariance(Convolve(Layer(ROUND, stride=2)), noise(9, 12), group="flips")
    assert [each.holds for each in wide.findings] == [True, False, False]
    assert "stride 2" in wide.findings[1].explanation


def test_a_square_kernel_with_unequal_settings_is_not_turned() -> None:
    several: list[dict[str, Any]] = [{"stride": (2, 1)}, {"dilation": (1, 2)}, {"padding": (1, 2)}]
    for unequal in several:
        verdict = verify_equivariance(Convolve(Layer(ROUND, **unequal)), noise(15, 13), group="rot90")
        assert verdict.skipped == ("turn 90", "turn 270"), unequal


def test_channels_that_mix_are_turned_together() -> None:
    taps = symmetrised(noise(4, 3, 3, 3), "turn 90")
    assert verify_equivariance(Convolve(Layer(taps), boundary="edge"), noise(3, 9, 12), group="rot90").holds
    taps[2, 1, 0, 0] += 1
    assert not verify_equivariance(Convolve(Layer(taps), boundary="edge"), noise(3, 9, 12), group="rot90").findings


@pytest.mark.parametrize(
    "settings_", [{}, {"kernel_axes": "ZYX"}, {"padding": (1, 1, 1)}, {"origin": (1, 1, 1)}], ids=str
)
def test_a_kernel_with_depth_is_flipped_along_all_its_axes(settings_: dict[str, Any]) -> None:
    """Rank 3 on an image with Z is ZYX, as in convolve."""
    taps = np.ones((3, 3, 3))
    taps[1, 1, 1] = 7
    f = Convolve(Layer(taps, **settings_), boundary="zero")
    assert shifted(f, noise(6, 8, 9), 1, 2, 2, axes="ZYX").holds
    verdict = verify_equivariance(f, noise(6, 8, 9), axes="ZYX", group="flips")
    assert verdict.holds
    assert len(verdict.findings) == 7
    assert verify_equivariance(f, noise(6, 8, 9), axes="ZYX", group="rot90").holds


def test_a_flat_kernel_on_a_stack_may_be_flipped_along_the_stack() -> None:
    """It acts slice by slice, so the order of the slices does not matter."""
    verdict = verify_equivariance(Convolve(Layer(ROUND)), noise(4, 8, 9), axes="ZYX", group="flips")
    assert verdict.holds
    assert "flip Z" in [each.transformation for each in verdict.findings]


def test_a_chain_is_flipped_as_a_whole() -> None:
    chain: list[Step] = [Convolve(Layer(ROUND, stride=2), boundary="zero"), Edges("sobel"), Pool(3, padding="same")]
    assert verify_equivariance(chain, noise(13, 17), group="rot90").holds
    chain[0] = Convolve(Layer(LOPSIDED, stride=2), boundary="zero")
    verdict = verify_equivariance(chain, noise(13, 17), group="rot90")
    assert (verdict.holds, verdict.findings) == (False, ())


# The other operations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["max", "min", "mean"])
@pytest.mark.parametrize("boundary", ["lowest", "periodic", "reflect"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_pooling(op: str, boundary: str, dtype: str) -> None:
    x = RNG.integers(0, 200, (14, 20)).astype(dtype)
    windows: list[tuple[Any, Any]] = [((3, 2), 1), (2, "window"), ((2, 4), (2, 4))]
    for window, stride in windows:
        found = shifted(Pool(window, stride, boundary=boundary, op=op), x, 4, -8)
        assert found.holds, (window, stride)
        assert op == "mean" or found.tolerance == 0  # nothing is rounded
    square = Pool(3, stride=2, padding=1, boundary=boundary, op=op)
    assert verify_equivariance(square, x[:13, :17], group="rot90").holds


def test_pooling_with_ceil_mode_and_at_even_windows() -> None:
    x = noise(11, 16)
    assert shifted(Pool(2, stride=3, ceil_mode=True), x, 3, 3).holds
    assert verify_equivariance(Pool(2), x, group="flips").holds
    verdict = verify_equivariance(Pool(2, stride=3, ceil_mode=True), x, group="flips")
    oracle = [convtool.max_pool(each, 2, stride=3, ceil_mode=True) for each in (x, x[::-1], x[:, ::-1])]
    holds = [np.array_equal(oracle[0][::-1], oracle[1]), np.array_equal(oracle[0][:, ::-1], oracle[2])]
    assert [each.holds for each in verdict.findings[:2]] == holds


def test_what_ceil_mode_adds_does_not_keep_a_window_from_being_turned() -> None:
    """A last window overhangs along X alone; it is a matter of the image, and what is wrong with it is said."""
    x = noise(11, 10)
    verdict = verify_equivariance(Pool(2, stride=3, ceil_mode=True), x, group="rot90")
    assert verdict.skipped == ()
    y = convtool.max_pool(x, 2, stride=3, ceil_mode=True)
    for found in verdict.findings:
        turn = MOVES[found.transformation]
        assert found.holds == np.array_equal(convtool.max_pool(turn(x), 2, stride=3, ceil_mode=True), turn(y))
        assert found.holds or "windows reach" in found.explanation


def test_a_large_window_on_a_large_image_may_be_turned() -> None:
    assert verify_equivariance(Pool(600), noise(601, 603, dtype="float32"), group="rot90").holds


@pytest.mark.parametrize("operator", ["central", "sobel", "scharr", "prewitt", "forward"])
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(operator: str, boundary: str, dtype: str) -> None:
    x = noise(13, 17, dtype=dtype)
    found = shifted(Edges(operator, boundary), x, 3, -2)
    assert found.holds
    before = 0 if operator == "forward" else 1
    border = ((3 + before, 1), (before, 3)) if boundary != "periodic" else ((0, 0), (0, 0))
    assert found.border == border
    verdict = verify_equivariance(Edges(operator, boundary), x, group="rot90")
    assert verdict.holds == (operator != "forward")
    solid = verify_equivariance(Edges(operator, boundary), noise(5, 6, 7, dtype=dtype), axes="ZYX", shift=(1, 2, -1))
    assert solid.holds


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "method",
    [
        "pinv",
        tikhonov.Options(weight=0.01),
        tikhonov.Options(weight=1e-6, penalty="gradient"),
        "tikhonov",
        "wiener",
        wiener.Options(noise_to_signal=0.01),
    ],
    ids=str,
)
def test_deconvolution_of_what_is_periodic(dtype: str, method: Any) -> None:
    kernel = convtool.kernels.make("gaussian:sigma=1")
    scene = convtool.convolve(noise(40, 52), convtool.kernels.make("gaussian:sigma=3"))
    x = (convtool.convolve(scene, kernel) + 1e-3 * noise(40, 52)).astype(dtype)
    found = shifted(Deconvolve(Layer(kernel), method), x, 7, -11)
    assert (found.holds, found.expected, found.output_shift) == (True, "everywhere", (7, -11))
    assert verify_equivariance(Deconvolve(Layer(kernel), method), x, group="rot90").holds
    assert found.tolerance < 0.01 * np.abs(x).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_deconvolution_that_chooses_its_weight_on_a_photograph(dtype: str) -> None:
    """A weight chosen from the data may depend on where the frame lies; then that is what has to be said."""
    skimage = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    x = skimage.camera()[::2, ::2].astype(dtype)
    for name, method in itertools.product(["gaussian:sigma=2", "disk:radius=4"], ["tikhonov", "wiener"]):
        for image in (x, convtool.convolve(x, convtool.kernels.make("gaussian:sigma=2"))):
            found = shifted(Deconvolve(Layer(convtool.kernels.make(name)), method), image, 5, 7)
            said = found.explanation
            assert found.holds or "weight" in said or "noise" in said, (name, method, found.largest, said)


def test_a_weight_that_rounding_decides_is_no_violation() -> None:
    """Cross-validation reads the least s^2 / p off a spectrum where s is nearly 0, and rounding moves what it tries."""
    kernel = convtool.kernels.make("gaussian:sigma=2")
    scene = convtool.convolve(noise(40, 52), convtool.kernels.make("gaussian:sigma=3"))
    x = convtool.convolve(scene, kernel) + 1e-3 * noise(40, 52)
    verdict = verify_equivariance(Deconvolve(Layer(kernel)), x, group="rot90")
    assert verdict.holds
    assert max(found.largest for found in verdict.findings) > 1e-12  # rounding alone is 1e-15
    assert max(found.tolerance for found in verdict.findings) < 1e-4 * np.abs(x).max()


def test_a_weight_that_the_data_decide_is_named() -> None:
    """A step of its own, which chooses by where the brightest pixel lies."""

    @dataclass(frozen=True, eq=False)
    class Chooses(Step):
        def apply(self, x: np.ndarray, axes: str) -> Applied:
            weight = 1.0 + int(np.argmax(x))
            return Applied(x / weight, axes, 1.0, 1e-15, (float(np.log(weight)),), 1.0)

        def windows(self, shape: Sequence[int], axes: str) -> Any:
            return Pool(1).windows(shape, axes)

        def is_symmetric(self, move: Move, shape: Sequence[int], axes: str) -> bool:
            return True

    x = np.zeros((6, 7))
    x[2, 3] = 1
    found = shifted(Chooses(), x, 1, 2)
    assert not found.holds
    assert "the weight (or noise to signal) was chosen from the data, 18 and 27" in found.explanation


def test_least_squares_is_compared_within_its_error_bound() -> None:
    kernel, x = ROUND / ROUND.sum(), noise(8, 9)
    methods = convtool.deconvolution.methods
    exact = Deconvolve(Layer(kernel), methods.options("least-squares", {}), boundary="zero")
    verdict = verify_equivariance(exact, x, group="flips")
    assert verdict.holds
    assert max(found.tolerance for found in verdict.findings) < 1e-4 * np.abs(exact.apply(x, "YX").y).max()
    with pytest.raises(SettingError, match="boundary periodic"):
        shifted(exact, x, 1, 2)


def test_deconvolution_after_what_is_not_periodic_has_nothing_to_expect() -> None:
    chain = [Convolve(Layer(LOPSIDED), boundary="zero"), Deconvolve(Layer(LOPSIDED), "pinv")]
    with pytest.raises(SettingError, match="no output is expected"):
        shifted(chain, noise(20, 20), 2, 2)
    chain[0] = Convolve(Layer(LOPSIDED))
    assert shifted(chain, noise(20, 20), 2, 2).holds


@pytest.mark.parametrize("unused", [{"stride": 2}, {"padding": "valid"}], ids=str)
def test_deconvolution_does_not_ignore_its_layer(unused: dict[str, Any]) -> None:
    """pinv inverts no strided operator: a verdict on another operator than the one given would be none."""
    with pytest.raises((SettingError, DataError)):
        shifted(Deconvolve(Layer(ROUND + LOPSIDED, **unused), "pinv"), noise(20, 24), 4, 2)


def test_deconvolution_undoes_dilation_and_bias() -> None:
    """What a layer with both made of an image is turned back into that image, wherever the image lies."""
    taps, x = noise(2, 2, 3, 3) + 9 * np.eye(2)[:, :, None, None] * np.pad([[1]], 1), noise(2, 20, 24)
    layer = Layer(taps, dilation=2, bias=np.array([3.0, -5.0]))
    y = Convolve(layer).apply(x, "CYX").y
    np.testing.assert_allclose(Deconvolve(layer, "pinv").apply(y, "CYX").y, x, atol=1e-10)
    found = shifted([Convolve(layer), Deconvolve(layer, "pinv")], x, 4, 2)
    assert (found.holds, found.expected) == (True, "everywhere")


# Functions ------------------------------------------------------------------------------------------------------------


def test_functions_that_write_into_their_input_do_no_harm() -> None:
    def double(x: np.ndarray) -> np.ndarray:
        x *= 2
        return x

    x = noise(12, 15)
    kept = x.copy()
    assert shifted(double, x, 2, 3).holds
    np.testing.assert_array_equal(x, kept)


def test_functions_that_reuse_their_output_do_no_harm() -> None:
    out = np.empty((12, 15))

    def tripled(x: np.ndarray) -> np.ndarray:
        return np.multiply(x, 3, out=out)

    assert shifted(tripled, noise(12, 15), 2, 3).holds


def test_a_stride_that_a_function_does_not_tell_is_its_ratio_of_sizes() -> None:
    assert shifted(lambda x: x[::2, ::3], whole(12, 15), 4, 3).output_shift == (2, 1)
    assert shifted(Function(lambda x: x[::2, ::3], stride=(2, 3)), whole(12, 15), 4, 3).holds
    with pytest.raises(SettingError, match="no multiple of the stride 2"):
        shifted(lambda x: x[::2], whole(12, 15), 3, 0)


@pytest.mark.parametrize(
    "said", [{"stride": 0}, {"stride": (2,)}, {"stride": 1.5}, {"border": -1}, {"border": 0.5}], ids=str
)
def test_bad_settings_of_functions_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"stride must be|border must be"):
        shifted(Function(np.abs, **said), noise(12, 14), 2, 2)


def test_functions_with_a_border() -> None:
    def inner(x: np.ndarray) -> np.ndarray:
        return convtool.convolve(x, LOPSIDED, boundary="zero")

    x = whole(14, 17)
    found = shifted(Function(inner, border=1), x, 3, -2)
    assert (found.holds, found.border) == (True, ((4, 1), (1, 3)))
    without = shifted(inner, x, 3, -2)
    assert not without.holds
    assert "of the frame differ" in without.explanation


@pytest.mark.parametrize(
    "f", [lambda x: convtool.convolve(x, LOPSIDED, padding="valid"), lambda x: x[::2, ::2]], ids=["valid", "stride"]
)
def test_what_to_do_about_a_function_that_does_not_wrap_is_said(f: Callable[[np.ndarray], np.ndarray]) -> None:
    """A larger image does not help here; saying how wide the border is does."""
    with pytest.raises(SettingError, match=r"border=|--border"):
        shifted(f, whole(13, 15), 4, 4)


def test_a_function_that_changes_channels() -> None:
    assert shifted(lambda x: x[:2] + x[1:], whole(3, 12, 15), 2, 3).holds


@pytest.mark.parametrize(
    "f",
    [
        lambda x: None,
        lambda x: x * 1j,
        lambda x: x[0],
        lambda x: [[1.0], [1.0, 2.0]],
        lambda x: x[:, : 15 - int(x[0, 0] > 0)],
    ],
    ids=["none", "complex", "fewer axes", "ragged", "size by value"],
)
def test_functions_that_give_no_image_are_refused(f: Callable[[np.ndarray], Any]) -> None:
    x = np.zeros((12, 15))
    x[2, 3] = 1
    with pytest.raises(DataError):
        shifted(f, x, -2, -3)


def test_a_function_that_is_random_is_caught() -> None:
    assert not shifted(lambda x: RNG.random(x.shape), noise(12, 15), 2, 3).holds


# Mutations: wrong operators are caught, their right twins are not -----------------------------------------------------


@dataclass(frozen=True, eq=False)
class Declared(Step):
    """Says it is one step, and computes something else."""

    said: Step
    done: Callable[[np.ndarray], np.ndarray]

    def apply(self, x: np.ndarray, axes: str) -> Applied:
        right = self.said.apply(x, axes)
        return Applied(self.done(x), right.axes, right.gain, right.rounding)

    def windows(self, shape: Sequence[int], axes: str) -> Any:
        return self.said.windows(shape, axes)

    def is_symmetric(self, move: Move, shape: Sequence[int], axes: str) -> bool:
        return self.said.is_symmetric(move, shape, axes)


@pytest.mark.parametrize("boundary", ["zero", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("origin", [(0, 1), (2, 1), (1, 0), (1, 2)])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_origin_off_by_one_is_caught_by_shifts(boundary: str, origin: tuple[int, int], sign: int) -> None:
    """Everything moved by one pixel: only the outputs along the border's inner edge can tell."""
    said = Convolve(Layer(LOPSIDED), boundary=boundary)
    x = noise(16, 19)

    def at(o: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda image: convtool.convolve(image, LOPSIDED, origin=o, boundary=boundary)

    assert shifted(Declared(said, at((1, 1))), x, 3 * sign, 2 * sign).holds
    found = shifted(Declared(said, at(origin)), x, 3 * sign, 2 * sign)
    assert not found.holds
    assert found.explanation
    assert not shifted(Function(at(origin), border=1), x, 3 * sign, 2 * sign).holds
    assert shifted(Function(at((1, 1)), border=1), x, 3 * sign, 2 * sign).holds


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_an_origin_off_by_one_is_caught_by_flips(monkeypatch: pytest.MonkeyPatch, boundary: str) -> None:
    f, x = Convolve(Layer(ROUND), boundary=boundary), noise(9, 12)
    assert verify_equivariance(f, x, group="flips").holds
    assert not verify_equivariance(Declared(f, lambda a: np.roll(f.apply(a, "YX").y, 1, 1)), x, group="flips").holds
    monkeypatch.setattr("convtool.kernel.origin_of", lambda origin, extent: tuple((n - 1) // 2 - 1 for n in extent))
    verdict = verify_equivariance(f, x, group="flips")
    assert not verdict.holds
    assert "origin" in verdict.findings[0].explanation


def test_a_padding_off_by_one_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine pads one pixel more before the frame and one less after it than the geometry says."""
    monkeypatch.setattr(choice, "fastest", lambda *_: "direct")  # others pad in another way
    f, x, right = Convolve(Layer(LOPSIDED), boundary="zero"), noise(12, 15), boundary_module.piece
    assert shifted(f, x, 2, 3).holds

    def wrong(values: np.ndarray, starts: Any, mode: str, out: np.ndarray) -> None:
        right(values, [start - 1 for start in starts], mode, out)

    monkeypatch.setattr(boundary_module, "piece", wrong)
    found = shifted(f, x, 2, 3)
    assert not found.holds
    assert found.region == "inside"


@pytest.mark.parametrize("padding", ["same", "full"])
def test_a_wrap_around_off_by_one_is_caught(monkeypatch: pytest.MonkeyPatch, padding: str) -> None:
    monkeypatch.setattr(choice, "fastest", lambda *_: "direct")  # a transform wraps around by itself
    f, x, right = Convolve(Layer(LOPSIDED, padding=padding)), noise(12, 15), boundary_module.source
    assert shifted(f, x, 2, 3).holds

    def wrong(positions: np.ndarray, n: int, mode: str) -> np.ndarray:
        return right(positions - (positions < 0), n, mode)

    monkeypatch.setattr(boundary_module, "source", wrong)
    found = shifted(f, x, 2, 3)
    assert not found.holds
    assert found.region == "in the border"
    assert "of the frame differ" in found.explanation


def test_a_wrong_stride_is_caught() -> None:
    """Two is declared, every third pixel taken; as many as two would give."""
    said = Convolve(Layer(LOPSIDED, stride=2))
    x = noise(24, 18)

    def every(s: int) -> Callable[[np.ndarray], np.ndarray]:
        def taken(image: np.ndarray) -> np.ndarray:
            y = convtool.convolve(image, LOPSIDED)
            return y[np.ix_(*(np.arange(n // 2) * s % n for n in y.shape))]

        return taken

    for f in (lambda s: Declared(said, every(s)), lambda s: Function(every(s)), lambda s: Function(every(s), stride=2)):
        assert shifted(f(2), x, 6, -12).holds
        found = shifted(f(3), x, 6, -12)
        assert not found.holds
        assert found.explanation


def test_the_stride_that_a_function_has_is_found() -> None:
    """Said to be 1, it is 2: the output moves by half."""
    found = shifted(Function(lambda x: np.resize(x[::2, ::2], x.shape), stride=1), noise(16, 16), 0, 0 + 8)
    assert not found.holds
    halved = Function(lambda x: np.tile(x[::2, ::2], (2, 2)), stride=1)
    found = shifted(halved, noise(16, 20), 4, 4)
    assert "holds for an output shift of 2, not 4" in found.explanation


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
def test_taps_that_are_swapped_for_one_output_are_caught(boundary: str) -> None:
    said = Convolve(Layer(LOPSIDED), boundary=boundary)
    swapped = LOPSIDED.copy()
    swapped[0, 1], swapped[1, 0] = LOPSIDED[1, 0], LOPSIDED[0, 1]
    x = noise(12, 15)

    def done(image: np.ndarray, wrong: bool) -> np.ndarray:
        y = convtool.convolve(image, LOPSIDED, boundary=boundary)
        if wrong:
            y[6, 7] = convtool.convolve(image, swapped, boundary=boundary)[6, 7]
        return y

    assert shifted(Declared(said, lambda image: done(image, False)), x, 2, 3).holds
    found = shifted(Declared(said, lambda image: done(image, True)), x, 2, 3)
    assert not found.holds
    assert found.where in [(6, 7), (8, 10)]
    assert found.region == "inside"


@pytest.mark.parametrize("place", [(0, 0), (11, 14), (0, 14), (5, 0)], ids=str)
def test_one_wrong_pixel_at_the_border_is_caught_where_everything_wraps(place: tuple[int, int]) -> None:
    def wrong(x: np.ndarray) -> np.ndarray:
        y = convtool.convolve(x, LOPSIDED)
        y[place] += 1e-6
        return y

    found = shifted(Declared(Convolve(Layer(LOPSIDED)), wrong), noise(12, 15), 2, 3)
    assert not found.holds
    assert found.region in ("in the border", "inside")
    assert "only outputs within" in found.explanation


@pytest.mark.parametrize("index", [(1, 2), (0, 0)])
def test_one_wrong_channel_of_one_image_is_caught(index: tuple[int, int]) -> None:
    def wrong(x: np.ndarray) -> np.ndarray:
        y = convtool.convolve(x, LOPSIDED)
        y[(*index, 4, 5)] *= 1.5
        return y

    found = shifted(Declared(Convolve(Layer(LOPSIDED)), wrong), noise(2, 3, 9, 12), 2, 3)
    assert not found.holds
    assert found.where[:2] == index


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * np.arange(x.shape[-1]),
        lambda x: x + np.arange(x.shape[0])[:, None],
        lambda x: np.where(np.arange(x.shape[-1]) == 3, -x, x),
        lambda x: np.sort(x, axis=0),
        lambda x: x - x[:1],
        lambda x: np.cumsum(x, axis=1),
    ],
    ids=["ramp", "offset", "one column", "sorted", "first row", "running sum"],
)
def test_functions_of_the_position_are_caught(f: Callable[[np.ndarray], np.ndarray]) -> None:
    assert not shifted(f, noise(12, 15), 2, 3).holds
    assert shifted(lambda x: np.abs(x) + np.roll(x, 3, 0) - x.mean(), noise(12, 15), 2, 3).holds


def test_a_spot_inside_is_no_matter_of_the_border() -> None:
    def spotted(x: np.ndarray) -> np.ndarray:
        y = x.copy()
        y[30:40, 30:38] *= 1.05
        return y

    found = shifted(spotted, np.random.default_rng(3).random((90, 100)), 3, 5)
    assert not found.holds
    assert found.explanation == "no output shift nearby explains it"


def test_differences_of_wide_integers_are_not_lost() -> None:
    """float64 does not tell 2^60 from 2^60 + 1."""
    x = RNG.integers(0, 5, (12, 15)) + 2**60
    assert shifted(lambda image: image, x, 2, 3).holds
    assert not shifted(lambda image: image + (np.arange(15) == 3), x, 2, 3).holds


def test_nan_and_infinite_outputs_are_violations_unless_they_move_too() -> None:
    x = noise(12, 15)
    assert shifted(lambda image: np.where(image > 1, np.nan, np.where(image < -1, -np.inf, image)), x, 2, 3).holds

    def holed(image: np.ndarray) -> np.ndarray:
        y = image.copy()
        y[4, 5] = np.nan
        return y

    assert not shifted(holed, x, 2, 3).holds


# Tolerances: rounding is no violation, and a violation is no rounding -------------------------------------------------


@pytest.mark.parametrize("engine", ["fft", "direct"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("boundary", ["periodic", "zero"])
def test_rounding_is_no_violation(monkeypatch: pytest.MonkeyPatch, engine: str, dtype: str, boundary: str) -> None:
    monkeypatch.setattr(choice, "fastest", lambda *_: engine)
    images = {
        "noise": noise(60, 67),
        "offset": 1e5 + noise(60, 67),
        "spike": np.pad([[1e8]], ((20, 39), (30, 36))) + noise(60, 67),
        "ranges": noise(60, 67) * 10.0 ** RNG.uniform(-6, 6, (60, 67)),
        "small": 1e-25 * noise(60, 67),
    }
    sizes = (1, 2, 3, 8, 31) if engine == "fft" else (1, 2, 3, 8)
    for (name, x), n in itertools.product(images.items(), sizes):
        for taps in (noise(n, n), np.ones((n, n)) / n**2):
            f = Convolve(Layer(taps), boundary=boundary)
            assert shifted(f, x.astype(dtype), 7, -5).holds, (name, n)
        assert verify_equivariance(
            Convolve(Layer(np.ones((n, n)), padding="valid")), x.astype(dtype), group="flips"
        ).holds


def test_rounding_of_many_channels_is_no_violation() -> None:
    for dtype, c in itertools.product(("float32", "float64"), (3, 32)):
        x = 10 + noise(c, 20, 24, dtype=dtype)
        assert shifted(Convolve(Layer(noise(c, c, 3, 3))), x, 3, 5).holds
        taps = symmetrised(noise(c, c, 3, 3), "turn 90")
        assert verify_equivariance(Convolve(Layer(taps)), x, group="rot90").holds


def test_rounding_of_a_large_bias_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum is rounded to what the bias leaves of the mantissa."""
    monkeypatch.setattr(choice, "fastest", lambda *_: "fft")
    f = Convolve(Layer(noise(9, 9), bias=np.array([1e6])))
    assert shifted(f, noise(128, 160, dtype="float32"), 3, 5).holds


def test_the_least_integer_has_a_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """|-32768| is 32768, though not in int16."""
    monkeypatch.setattr(choice, "fastest", lambda *_: "fft")
    x = RNG.integers(-1, 2, (40, 50)).astype(np.int16)
    x[3, 4] = -32768
    assert shifted(Convolve(Layer(noise(21, 21))), x, 4, 5).holds


def test_rounding_in_chains_and_functions_is_no_violation() -> None:
    chain = [
        Convolve(Layer(noise(4, 3, 5, 5))),
        Pool(3, op="mean", boundary="periodic", padding="same"),
        Edges("scharr", "periodic"),
        Convolve(Layer(noise(2, 4, 9, 9), stride=2)),
    ]
    for dtype in ("float32", "float64"):
        assert shifted(chain, 100 + noise(3, 40, 48, dtype=dtype), 4, 6).holds

    def smoothed(x: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft2(x) * np.exp(-0.1 * np.hypot(*np.ogrid[:40, :25]))
        return np.fft.irfft2(spectrum, x.shape).astype(x.dtype)

    for dtype in ("float32", "float64"):
        assert shifted(smoothed, 100 + noise(40, 48, dtype=dtype), 4, 5).holds


KERNELS = {
    "3x3": (3, 3),
    "5x5": (5, 5),
    "15x15": (15, 15),
    "31x31": (31, 31),
    "3 channels": (3, 3, 3, 3),
    "16 channels": (16, 16, 3, 3),
    "64 channels": (64, 64, 3, 3),
}


@pytest.mark.parametrize(("dtype", "share"), [("float32", 1e-3), ("float64", 1e-9)])
@pytest.mark.parametrize("shape", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("kind", ["noise", "blur"])
def test_a_small_violation_is_caught(dtype: str, share: float, shape: tuple[int, ...], kind: str) -> None:
    """One output, where the image is brightest, is wrong by so small a share of itself."""
    taps = noise(*shape) if kind == "noise" else np.ones(shape) / np.prod(shape)
    x = noise(*shape[1:-2], 40, 52, dtype=dtype)
    right = Convolve(Layer(taps))
    axes = "CYX" if len(shape) == 4 else "YX"
    y = right.apply(x, axes).y
    place = np.unravel_index(np.abs(y).argmax(), y.shape)

    def wrong(image: np.ndarray) -> np.ndarray:
        out = right.apply(image, axes).y.copy()
        out[place] *= 1 + share
        return out

    assert shifted(right, x, 3, 5).holds
    found = shifted(Declared(right, wrong), x, 3, 5)
    assert not found.holds, f"tolerance {found.tolerance:.1e}, violation {share * np.abs(y).max():.1e}"


def test_a_tolerance_that_is_given_is_used() -> None:
    def wrong(x: np.ndarray) -> np.ndarray:
        y = x.copy()
        y[4, 5] += 1e-3
        return y

    assert not shifted(wrong, noise(12, 15), 2, 3, tolerance=9e-4).holds
    assert shifted(wrong, noise(12, 15), 2, 3, tolerance=1.1e-3).holds


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "settings_", "said"),
    [
        (abs, {}, "one of shift, trials or group"),
        (abs, {"shift": (1, 1), "group": "flips"}, "one of shift, trials or group"),
        (abs, {"group": "flips", "trials": 2}, "one of shift, trials or group"),
        (abs, {"trials": 2, "output_shift": (1, 1)}, "output shift belongs to a shift"),
        (abs, {"shift": (1, 2, 3)}, "1 to 2 numbers"),
        (abs, {"shift": ()}, "1 to 2 numbers"),
        (abs, {"shift": 3}, "1 to 2 numbers"),
        (abs, {"shift": (1.5, 2)}, "whole"),
        (abs, {"trials": -1}, "at least 1"),
        (abs, {"group": "turns"}, "flips or rot90"),
        ("abs", {"shift": (1, 1)}, "callable"),
        ([], {"shift": (1, 1)}, "step"),
        (abs, {"shift": (1, 1), "axes": "NC"}, "no spatial axis"),
        (Convolve(Layer(LOPSIDED), boundary="zero"), {"shift": (11, 1)}, "no output is expected"),
        (Convolve(Layer(LOPSIDED), boundary="zeros"), {"shift": (1, 1)}, "unknown boundary"),
        (Edges("roberts"), {"shift": (1, 1)}, "unknown operator"),
    ],
)
def test_bad_settings_are_refused(f: Any, settings_: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        verify_equivariance(f, noise(12, 15), **settings_)


def test_bad_images_are_refused() -> None:
    images: list[Any] = [np.zeros((0, 4)), noise(4, 4) * 1j, np.float64(3.0)]
    for x in images:
        with pytest.raises((SettingError, DataError)):
            verify_equivariance(lambda image: image, x, shift=(1,))
    with pytest.raises(SettingError, match="quarter turns need"):
        verify_equivariance(Convolve(Layer(np.ones(3))), noise(12), group="rot90")
    with pytest.raises(DataError, match="NaN"):
        shifted(Convolve(Layer(LOPSIDED)), np.full((5, 5), np.nan), 1, 1)
