"""Merging layers: the taps are the definition's, and the outputs that differ are those that a dense matrix says.

Nothing expected here comes from convtool. A layer is a `Step`, written as a dense matrix [o, *outputs, c, *inputs]
from the positions that `oracles.reads` and `oracles.source` give; the chain is the product of such matrices, the merge
is the matrix of the one layer that `merge_kernels` returns, and an output differs where their rows or constants do.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convtool import Layer, merge_kernels
from convtool.errors import ConvtoolError, DataError, SettingError
from convtool.merging import exactness
from convtool.merging.marks import border

OPERATIONS = ("convolve", "correlate")
REFUSED = (SettingError, DataError)


@dataclass(frozen=True, eq=False)
class Step:
    """A layer as the tests know it: the arguments of `Layer`, with the kernel's axes always named."""

    kernel: np.ndarray
    axes: str = "YX"
    stride: Any = 1
    padding: Any = "same"
    dilation: Any = 1
    origin: Any = "center"
    groups: int = 1
    bias: Any = None

    @property
    def rank(self) -> int:
        return len(self.axes.strip("OIC"))

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.kernel.shape[-self.rank :]

    def layer(self) -> Layer:
        """The same for convtool; axes that are the default of their rank stay unsaid."""
        default = {2: "YX", 3: "CYX", 4: "OIYX", 5: "OIZYX"}[self.kernel.ndim]
        return Layer(
            self.kernel,
            kernel_axes=None if self.axes == default else self.axes,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            origin=self.origin,
            groups=self.groups,
            bias=None if self.bias is None else np.asarray(self.bias, float),
        )


def step_of(layer: Any) -> Step:
    """A merged layer as a step."""
    axes = layer.kernel_axes
    how = (layer.stride, layer.padding, layer.dilation, layer.origin, layer.groups, layer.bias)
    return Step(np.asarray(layer.kernel), axes, *how)


# The oracle: layers as dense matrices ---------------------------------------------------------------------------------


def full(step: Step, channels: int) -> np.ndarray:
    """Taps [o, c, *k] between all channels: YX the same for each, CYX one each, OIYX zeros between groups."""
    taps = step.kernel.astype(float)
    if not step.axes.startswith("OI"):
        own = taps if step.axes.startswith("C") else np.broadcast_to(taps, (channels, *taps.shape))
        assert len(own) == channels
        out = np.zeros((channels, channels, *own.shape[1:]))
        for c in range(channels):
            out[c, c] = own[c]
        return out
    outputs, inner = taps.shape[:2]
    assert inner * step.groups == channels
    out = np.zeros((outputs, channels, *taps.shape[2:]))
    for o in range(outputs):
        first = o // (outputs // step.groups) * inner
        out[o, first : first + inner] = taps[o]
    return out


def settings_of(step: Step) -> dict[str, Any]:
    """What of a step says where its windows lie, as the oracles take it."""
    how = {"stride": step.stride, "dilation": step.dilation, "padding": step.padding, "origin": step.origin}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in how.items()}


def linear(step: Step, channels: int, frame: tuple[int, ...], operation: str, boundary: str) -> np.ndarray:
    """The matrix [o, *outputs, c, *frame] of a step. Raises ValueError where there is no output."""
    windows = oracles.reads(frame, step.sizes, operation, **settings_of(step))
    taken: list[Any] = []
    for axis, n in zip(windows, frame, strict=True):
        pixels = [[oracles.source(p, n, boundary) for p in row] for row in axis]
        taken.append(np.array([[[pixel == i for i in range(n)] for pixel in row] for row in pixels], float))
    terms = ["jmp", "knq", "hlr"][: len(frame)]
    j, m, p = ("".join(letters) for letters in zip(*terms, strict=True))
    plan = f"oc{m},{','.join(terms)}->o{j}c{p}"
    return np.einsum(plan, full(step, channels), *taken, optimize=True)


def affine(steps: list[Step], channels: int, frame: tuple[int, ...], operation: str, boundary: str) -> Any:
    """(matrix [o, *outputs, c, *frame], constant [o, *outputs]) of steps applied one after another."""
    shape = (channels, *frame)
    whole, constant = np.eye(math.prod(shape)).reshape(*shape, *shape), np.zeros(shape)
    for step in steps:
        matrix = linear(step, constant.shape[0], constant.shape[1:], operation, boundary)
        whole, constant = (np.tensordot(matrix, known, constant.ndim) for known in (whole, constant))
        if step.bias is not None:
            constant = constant + np.asarray(step.bias, float).reshape(-1, *[1] * len(frame))
    return whole, constant


def observed(chain: Any, merge: Any) -> np.ndarray:
    """The outputs, in any channel, whose row or whose constant differs."""
    rows = chain[0] != merge[0]
    outputs = chain[1].shape
    return (rows.reshape(*outputs, -1).any(-1) | (chain[1] != merge[1])).any(0)


def merged_taps(steps: list[Step], channels: int) -> np.ndarray:
    """k[t] = sum of k2[m2] k1[m1] over m1 d1 + m2 s1 d2 = t, one tap m2 after the other."""
    rank = steps[0].rank
    total, stride = full(steps[0], channels), oracles.per_axis(steps[0].stride, rank)
    total = spread(total, oracles.per_axis(steps[0].dilation, rank))
    for step in steps[1:]:
        gap = [s * d for s, d in zip(stride, oracles.per_axis(step.dilation, rank), strict=True)]
        second = full(step, total.shape[0])
        sizes = [n + (m - 1) * g for n, m, g in zip(total.shape[2:], second.shape[2:], gap, strict=True)]
        out = np.zeros((second.shape[0], total.shape[1], *sizes))
        for m2 in np.ndindex(second.shape[2:]):
            at: Any = tuple(slice(b * g, b * g + n) for b, g, n in zip(m2, gap, total.shape[2:], strict=True))
            out[(..., *at)] += np.tensordot(second[(..., *m2)], total, 1)
        total = out
        stride = [s * t for s, t in zip(stride, oracles.per_axis(step.stride, rank), strict=True)]
    return total


def spread(taps: np.ndarray, dilation: list[int]) -> np.ndarray:
    """Taps with d − 1 zeros between neighbours."""
    sizes = [(n - 1) * d + 1 for n, d in zip(taps.shape[2:], dilation, strict=True)]
    out = np.zeros((*taps.shape[:2], *sizes))
    every: Any = tuple(slice(None, None, d) for d in dilation)
    out[(..., *every)] = taps
    return out


def pads(step: Step, operation: str) -> list[tuple[int, int]]:
    """(before, after) of a step on each axis, "same" too: where the first window starts, and what follows the last."""
    dilation = oracles.per_axis(step.dilation, step.rank)
    if step.padding != "same":
        return oracles.pads(step.padding, step.sizes, dilation)
    found = []
    for n, o, d in zip(step.sizes, oracles.origins(step.origin, step.sizes), dilation, strict=True):
        first = n - 1 - o if operation == "convolve" else o
        found.append((first * d, (n - 1 - first) * d))
    return found


def check_layer(merged: Any, steps: list[Step], channels: int, operation: str) -> None:
    """Taps, settings and bias of the merged layer against the formulas, written for any number of layers."""
    layer, rank = merged.layer, steps[0].rank
    spatial = steps[0].axes[-rank:]
    kinds = {step.axes[:-rank] for step in steps}
    axes = ("OI" if "OI" in kinds else "C" if "C" in kinds else "") + spatial
    assert layer.kernel_axes == axes
    np.testing.assert_array_equal(full(step_of(layer), channels), merged_taps(steps, channels))
    before, origin, stride = [np.zeros(rank, int) for _ in range(2)] + [np.ones(rank, int)]
    after, extent = np.zeros(rank, int), np.ones(rank, int)
    for step in steps:
        pairs, dilation = np.array(pads(step, operation)), np.array(oracles.per_axis(step.dilation, rank))
        before, after = before + stride * pairs[:, 0], after + stride * pairs[:, 1]
        origin = origin + stride * dilation * oracles.origins(step.origin, step.sizes)
        extent = extent + stride * dilation * (np.array(step.sizes) - 1)
        stride = stride * oracles.per_axis(step.stride, rank)
    assert layer.kernel.shape[-rank:] == tuple(extent)
    assert tuple(layer.stride) == tuple(stride)
    assert tuple(layer.origin) == tuple(origin)
    assert set(oracles.per_axis(layer.dilation, rank)) == {1}
    assert (merged.operation, layer.groups) == (operation, expected_groups(steps, axes))
    words = {step.padding if isinstance(step.padding, str) else "" for step in steps}
    if len(words) == 1 and words != {""}:
        assert layer.padding == words.pop()
    else:
        assert given_pairs(merged) == list(zip(before, after, strict=True))


def given_pairs(merged: Any) -> list[tuple[int, int]]:
    """The padding of the merged layer where it is not a word."""
    return [(before, after) for before, after in merged.layer.padding]


def expected_groups(steps: list[Step], axes: str) -> int:
    """The greatest common divisor of the groups; CYX has as many as channels, YX as many as you like."""
    if not axes.startswith("OI"):
        return 1
    return math.gcd(*(step.groups if "O" in step.axes else len(step.kernel) for step in steps if step.axes[0] in "OC"))


def check_border(mask: np.ndarray, border: Any) -> None:
    """Nothing differs inside; no side can be narrower; a mask that is a frame has that frame."""
    assert len(border) == mask.ndim
    assert all(0 <= width <= n for pair, n in zip(border, mask.shape, strict=True) for width in pair)
    assert not inside(mask, border).any()
    for axis, (before, after) in enumerate(border):
        for pair in ((before - 1, after), (before, after - 1)):
            assert min(pair) < 0 or inside(mask, [*border[:axis], pair, *border[axis + 1 :]]).any(), (border, axis)
    if not mask.all() and (frame := frame_of(mask)) is not None:
        assert frame == tuple((int(before), int(after)) for before, after in border)


def inside(mask: np.ndarray, border: Any) -> np.ndarray:
    """out[before : n − after] on every axis."""
    return mask[tuple(slice(before, n - after) for (before, after), n in zip(border, mask.shape, strict=True))]


def frame_of(mask: np.ndarray) -> tuple[tuple[int, int], ...] | None:
    """The widths of a mask that is everything but a box; None of any other."""
    equal = np.argwhere(~mask)
    low, high = equal.min(0), equal.max(0) + 1
    if len(equal) < math.prod(high - low):
        return None
    return tuple((int(a), int(n - b)) for a, b, n in zip(low, high, mask.shape, strict=True))


# Cases ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """Layers, and the image they are applied to."""

    steps: list[Step]
    channels: int
    frame: tuple[int, ...]
    operation: str
    boundary: str

    def merged(self) -> Any:
        layers = [step.layer() for step in self.steps]
        return merge_kernels(layers, operation=self.operation, boundary=self.boundary)

    def affine(self, steps: list[Step] | None = None) -> Any:
        """Matrix and constant of the steps, or of other ones on the same image."""
        return affine(self.steps if steps is None else steps, self.channels, self.frame, self.operation, self.boundary)

    @property
    def axes(self) -> str:
        return "C" + "ZYX"[-len(self.frame) :]


@st.composite
def taps(draw: st.DrawFn, shape: tuple[int, ...], rank: int) -> np.ndarray:
    """Integers with many zeros; often symmetric, antisymmetric, constant, or of sum 0, so that differences cancel."""
    value = st.sampled_from([0, 0, 1, 1, -1, 2, -2, 3])
    kernel = np.array(draw(st.lists(value, min_size=math.prod(shape), max_size=math.prod(shape)))).reshape(shape)
    spatial = tuple(range(kernel.ndim - rank, kernel.ndim))
    kind = draw(st.sampled_from(["any", "any", "symmetric", "mirrored", "antisymmetric", "constant"]))
    if kind == "symmetric":
        return kernel + np.flip(kernel, spatial)
    if kind == "mirrored":
        for axis in spatial:
            kernel = kernel + np.flip(kernel, axis)
    if kind == "antisymmetric":
        return kernel - np.flip(kernel, spatial)
    return np.full(shape, kernel.flat[0]) if kind == "constant" else kernel


@st.composite
def steps_of(draw: st.DrawFn, form: str, channels: tuple[int, int], rank: int, largest: int) -> Step:
    """A layer of one form (OI, C or none) from so many channels to so many, with any settings."""
    flat = rank == 2 and draw(st.booleans())
    sizes = tuple(1 if flat and a == 0 else draw(st.integers(1, largest)) for a in range(rank))
    inputs, outputs = channels
    groups = draw(st.sampled_from([g for g in (1, 2, 4) if math.gcd(*channels) % g == 0])) if form == "OI" else 1
    lead = {"OI": (outputs, inputs // groups), "C": (inputs,), "": ()}[form]
    number, each = st.integers(0, 4), st.tuples(*[st.integers(1, 2)] * rank)
    pairs = st.tuples(*[st.tuples(number, number)] * rank)
    biases = st.lists(st.integers(-2, 2), min_size=outputs if form else 1, max_size=outputs if form else 1)
    return Step(
        draw(taps((*lead, *sizes), rank)),
        form + "ZYX"[-rank:],
        stride=draw(st.sampled_from([1, 1, 1, 2, 3]) | each),
        padding=draw(st.sampled_from(["same", "same", "same", "valid", "full", 0]) | number | pairs),
        dilation=draw(st.sampled_from([1, 1, 2]) | each),
        origin=draw(st.sampled_from(["center", "center", "first", "last"]) | st.tuples(*map(below, sizes))),
        groups=groups,
        bias=draw(st.none() | biases),
    )


def below(n: int) -> st.SearchStrategy[int]:
    return st.integers(0, n - 1)


@st.composite
def cases(draw: st.DrawFn, rank: int = 2, forms: str = "any", frames: tuple[int, int] = (1, 8), count: int = 3) -> Case:
    """Two or more layers whose channels contract, on a frame that may be too small for them."""
    kind = draw(st.sampled_from(["YX", "YX", "CYX", "OIYX"])) if forms == "any" else forms
    layers = draw(st.integers(2, count))
    one = {"YX": st.just(1), "CYX": st.integers(1, 3), "OIYX": st.sampled_from([1, 2, 4])}[kind]
    first = draw(one)
    channels = [first, *(draw(one) if kind == "OIYX" else first for _ in range(layers))]
    steps = []
    for pair in itertools.pairwise(channels):
        same = ["", "C"] if kind == "CYX" else ["OI", "OI", "", "C"] if pair[0] == pair[1] else ["OI"]
        form = "" if kind == "YX" else draw(st.sampled_from(same))
        steps.append(draw(steps_of(form, pair, rank, 3 if rank == 2 else 2)))
    grid = tuple(draw(st.integers(*frames)) for _ in range(rank))
    return Case(steps, first, grid, draw(st.sampled_from(OPERATIONS)), draw(st.sampled_from(oracles.BOUNDARIES)))


def taps_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Integer taps that are not symmetric, none of them zero."""
    found = np.random.default_rng(seed).integers(1, 9, shape)
    return found * np.where(np.random.default_rng(seed + 1).random(shape) < 0.3, -1, 1)


def image(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A generic image of whole numbers, which float64 keeps exact."""
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(float)


def check(case: Case) -> None:
    """Everything that is computed for a case: layer, mask, border, verdict, and both sides on images."""
    merged = case.merged()
    assert merged.boundary == case.boundary
    check_layer(merged, case.steps, case.channels, case.operation)
    try:
        chain = case.affine()
    except ValueError:
        with pytest.raises(ConvtoolError, match="no output"):
            merged.differing(case.frame)
        return
    merge = case.affine([step_of(merged.layer)])
    assert merge[1].shape == chain[1].shape
    mask = observed(chain, merge)
    predicted = merged.differing(case.frame)
    assert predicted.dtype == bool
    np.testing.assert_array_equal(predicted, mask)
    check_border(mask, merged.border(case.frame))
    assert merged.is_exact(case.frame) == (not mask.any())
    check_images(case, merged, mask, chain, merge)


def check_images(case: Case, merged: Any, mask: np.ndarray, chain: Any, merge: Any) -> None:
    """What the two sides make of images is what their matrices say, and differs at the predicted places alone."""
    seen = np.zeros_like(mask)
    for seed in range(2):
        x = image((case.channels, *case.frame), seed)
        sides = [merged.apply_chain(x, axes=case.axes), merged.apply(x, axes=case.axes)]
        for y, (matrix, constant) in zip(sides, (chain, merge), strict=True):
            wanted = np.tensordot(matrix, x, x.ndim) + constant
            np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-8 * (1 + np.abs(wanted).max()))
        here = (np.rint(sides[0]) != np.rint(sides[1])).any(0)
        assert not (here & ~mask).any()
        seen |= here
    np.testing.assert_array_equal(seen, mask)


# The oracle itself ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
def test_the_dense_layer_is_the_definition(boundary: str, operation: str) -> None:
    """Two spellings of the definition: the einsum of this file, and the loops of oracles.py."""
    kernel = taps_of((4, 1, 2, 3))
    step = Step(kernel, "OIYX", stride=(2, 1), padding=((2, 0), (1, 3)), dilation=(1, 2), groups=2)
    how: dict[str, Any] = {"groups": 2, "boundary": boundary, "operation": operation, **settings_of(step)}
    found = linear(step, 2, (4, 5), operation, boundary)
    wanted = oracles.matrix(kernel, (2, 4, 5), **how)
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
    x = image((2, 4, 5), 1)
    looped = oracles.apply_loop(operation, x[None], kernel, **{k: v for k, v in how.items() if k != "operation"})
    np.testing.assert_array_equal(np.tensordot(found, x, 3), looped[0])


# The formula ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (1, 3), ((2, 3), (3, 1))])
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1), (1, 2), ((3, 1), (2, 3))])
def test_two_layers_are_the_formula(dilations: Any, strides: Any, operation: str) -> None:
    """Extent (n1 − 1) d1 + (n2 − 1) s1 d2 + 1, stride s1 s2, padding p1 + s1 p2, dilation 1."""
    first = Step(taps_of((2, 3), 1), stride=strides[0], dilation=dilations[0], padding=((3, 1), (0, 2)))
    second = Step(taps_of((3, 2), 2), stride=strides[1], dilation=dilations[1], padding=(2, 1), origin=(2, 0))
    merged = merge_kernels([first.layer(), second.layer()], operation=operation, boundary="zero")
    s1, d1, d2 = (oracles.per_axis(value, 2) for value in (strides[0], dilations[0], dilations[1]))
    assert merged.layer.kernel.shape == tuple(
        (n1 - 1) * d1[a] + (n2 - 1) * s1[a] * d2[a] + 1 for a, (n1, n2) in enumerate(((2, 3), (3, 2)))
    )
    assert given_pairs(merged) == [(3 + 2 * s1[0], 1 + 2 * s1[0]), (s1[1], 2 + s1[1])]
    check_layer(merged, [first, second], 1, operation)


def test_convolution_of_two_plain_kernels_is_their_product() -> None:
    """(1 + x)(1 − x) = 1 − x², in both operations; the origins add."""
    for operation in OPERATIONS:
        merged = merge_kernels([Layer(np.array([[1, 1]])), Layer(np.array([[1, -1]]))], operation=operation)
        np.testing.assert_array_equal(merged.layer.kernel, [[1, 0, -1]])
        assert (merged.layer.kernel_axes, tuple(merged.layer.origin), merged.layer.padding) == ("YX", (0, 2), "same")
        assert (merged.operation, merged.boundary, merged.layer.bias) == (operation, "periodic", None)


def test_convolution_and_periodic_are_the_defaults() -> None:
    merged = merge_kernels([Layer(taps_of((2, 3))), Layer(taps_of((3, 3)))])
    assert (merged.operation, merged.boundary) == ("convolve", "periodic")


@pytest.mark.parametrize("padding", ["same", "valid", "full", 1, ((2, 0), (1, 3))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_number_of_outputs_is_the_chains_at_every_size(operation: str, strides: Any, padding: Any) -> None:
    steps = [
        Step(taps_of((2, 3), 1), stride=strides[0], padding=padding, dilation=2),
        Step(taps_of((3, 2), 2), stride=strides[1], padding="same" if padding == "same" else 1, origin="first"),
    ]
    for frame in [(n, n + 3) for n in range(1, 14)]:
        case = Case(steps, 1, frame, operation, "zero")
        merged = case.merged()
        try:
            counts: tuple[int, ...] = frame
            for step in steps:
                counts = tuple(map(len, oracles.reads(counts, step.sizes, operation, **settings_of(step))))
        except ValueError:
            continue
        final = step_of(merged.layer)
        assert tuple(map(len, oracles.reads(frame, final.sizes, operation, **settings_of(final)))) == counts
        assert merged.differing(frame).shape == counts


def test_channels_contract() -> None:
    """k[o, i] = sum over c of k2[o, c] k1[c, i], a matrix product for kernels of one tap."""
    first, second = taps_of((3, 2, 1, 1), 1), taps_of((4, 3, 1, 1), 2)
    merged = merge_kernels([Layer(first), Layer(second)])
    np.testing.assert_array_equal(merged.layer.kernel[..., 0, 0], second[..., 0, 0] @ first[..., 0, 0])
    assert merged.layer.kernel_axes == "OIYX"


@pytest.mark.parametrize(("groups", "wanted"), [((2, 2), 2), ((4, 2), 2), ((4, 1), 1), ((4, 4), 4), ((1, 4), 1)])
def test_groups_merge_to_their_common_divisor(groups: tuple[int, int], wanted: int) -> None:
    steps = [Step(taps_of((4, 4 // g, 2, 3), g), "OIYX", groups=g, padding=1) for g in groups]
    merged = merge_kernels([step.layer() for step in steps])
    assert merged.layer.groups == wanted
    assert merged.layer.kernel.shape[:2] == (4, 4 // wanted)
    check(Case(steps, 4, (4, 5), "correlate", "zero"))


@pytest.mark.parametrize("kinds", list(itertools.product(["YX", "CYX", "OIYX", "group"], repeat=2)))
def test_every_pair_of_kernel_kinds(kinds: tuple[str, str]) -> None:
    shapes = {"YX": (2, 3), "CYX": (2, 3, 2), "OIYX": (2, 2, 2, 2), "group": (2, 1, 3, 2)}
    steps = []
    for seed, kind in enumerate(kinds):
        axes, groups = ("OIYX", 2) if kind == "group" else (kind, 1)
        bias = [3.0] if kind == "YX" else [2.0, -1.0]
        steps.append(Step(taps_of(shapes[kind], seed), axes, padding="same", groups=groups, bias=bias))
    for boundary in ("zero", "symmetric"):
        check(Case(steps, 1 if set(kinds) == {"YX"} else 2, (4, 5), "convolve", boundary))


def test_axes_in_another_order_are_the_same_layer() -> None:
    first, second = taps_of((3, 2, 2, 3), 1), taps_of((4, 3, 3, 2), 2)
    plain = merge_kernels([Layer(first), Layer(second)])
    other = merge_kernels([Layer(first.transpose(2, 3, 1, 0), kernel_axes="YXIO"), Layer(second, kernel_axes="oiyx")])
    assert other.layer.kernel_axes == "OIYX"
    np.testing.assert_array_equal(other.layer.kernel, plain.layer.kernel)


def test_the_arrays_given_are_left_alone() -> None:
    kernels = [taps_of((2, 3)).astype(float), taps_of((3, 3)).astype(float)]
    kept = [kernel.copy() for kernel in kernels]
    merge_kernels([Layer(kernel, bias=np.array([1.0])) for kernel in kernels]).differing((5, 6))
    for kernel, copy in zip(kernels, kept, strict=True):
        np.testing.assert_array_equal(kernel, copy)


# Where the merge is exact: the rules ----------------------------------------------------------------------------------

ANY_FIRST = {
    "stride": st.sampled_from([1, 2, 3, (2, 1)]),
    "padding": st.sampled_from(["same", "valid", "full", 1, 3, ((0, 2), (4, 1))]),
    "dilation": st.sampled_from([1, 2, (1, 3)]),
    "origin": st.sampled_from(["center", "first", "last"]),
}


def is_exact_everywhere(case: Case) -> bool:
    """The oracle's verdict on the case's grid, which convtool's must equal; both for this size and for any."""
    merged, chain = case.merged(), case.affine()
    exact = not observed(chain, case.affine([step_of(merged.layer)])).any()
    assert merged.is_exact(case.frame) == exact
    np.testing.assert_array_equal(merged.differing(case.frame).any(), not exact)
    return exact


@given(first=st.fixed_dictionaries(ANY_FIRST), data=st.data())
@settings(max_examples=40)
def test_no_second_padding_is_exact_after_any_first_layer(first: dict[str, Any], data: st.DataObject) -> None:
    """p2 = 0: every boundary, both operations, with biases too; the second layer reads nothing outside."""
    boundary = data.draw(st.sampled_from(oracles.BOUNDARIES))
    second = Step(
        taps_of((2, 2), 2),
        stride=data.draw(st.sampled_from([1, 2, (1, 3)])),
        dilation=data.draw(st.sampled_from([1, 2])),
        padding=data.draw(st.sampled_from(["valid", 0])),
        bias=[5],
    )
    steps = [Step(taps_of((2, 3), 1), **first, bias=[2]), second]
    case = Case(steps, 1, (13, 14), data.draw(st.sampled_from(OPERATIONS)), boundary)
    assert case.merged().is_exact()
    assert is_exact_everywhere(case)
    assert case.merged().border(case.frame) == ((0, 0), (0, 0))


@given(second=st.fixed_dictionaries(ANY_FIRST), dilation=st.sampled_from([1, 2, (2, 1)]), data=st.data())
@settings(max_examples=40)
def test_a_full_first_layer_of_stride_1_is_exact_before_any_second(
    second: dict[str, Any], dilation: Any, data: st.DataObject
) -> None:
    """s1 = 1 and p1 >= d1 (n1 − 1), zeros outside: beyond its output the first layer would have made zeros."""
    span = [d * (n - 1) for d, n in zip(oracles.per_axis(dilation, 2), (2, 3), strict=True)]
    more = data.draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2))
    pairs = tuple((n + a, n + b) for n, (a, b) in zip(span, more, strict=True))
    padding = data.draw(st.sampled_from(["full", pairs]))
    steps = [Step(taps_of((2, 3), 1), dilation=dilation, padding=padding), Step(taps_of((3, 2), 2), **second)]
    case = Case(steps, 1, (5, 6), data.draw(st.sampled_from(OPERATIONS)), "zero")
    assume(not (second["padding"] == "valid" and second["dilation"] != 1))
    assert case.merged().is_exact()
    assert is_exact_everywhere(case)


@pytest.mark.parametrize("short", [((0, 1), (2, 2)), ((1, 0), (2, 2)), ((1, 1), (1, 2)), ((1, 1), (2, 1))])
def test_a_first_padding_one_short_of_full_is_not_exact(short: Any) -> None:
    steps = [Step(taps_of((2, 3), 1), padding=short), Step(taps_of((3, 3), 2), padding=1)]
    case = Case(steps, 1, (5, 6), "correlate", "zero")
    assert not is_exact_everywhere(case)
    assert not case.merged().is_exact()
    check(case)


def test_a_full_first_layer_of_stride_2_is_not_always_exact() -> None:
    """Where the stride steps over the last outputs, the second layer would read values that the chain never made."""
    steps = [Step(taps_of((3, 3), 1), padding="full", stride=2), Step(taps_of((3, 3), 2), padding=1)]
    verdicts = [is_exact_everywhere(Case(steps, 1, (n, n), "correlate", "zero")) for n in range(4, 10)]
    merged = Case(steps, 1, (8, 8), "correlate", "zero").merged()
    assert merged.is_exact() == all(verdicts)
    check(Case(steps, 1, (7, 8), "correlate", "zero"))


@given(second=st.fixed_dictionaries(ANY_FIRST), data=st.data())
@settings(max_examples=40)
def test_periodic_layers_that_keep_the_size_are_exact_everywhere(second: dict[str, Any], data: st.DataObject) -> None:
    """Stride 1 and as many outputs as inputs: what the first layer makes is periodic again; biases are too."""
    origin = data.draw(st.sampled_from(["center", "first", "last"]))
    padding = data.draw(st.sampled_from(["same", ((1, 1), (0, 2)), ((0, 2), (3, 1))]))
    dilation = (2, 1) if padding == "same" or padding[0] != (0, 2) else (2, 2)
    first = Step(taps_of((2, 3), 1), padding=padding, dilation=dilation, origin=origin, bias=[3])
    case = Case([first, Step(taps_of((3, 2), 2), **second, bias=[1])], 1, (7, 8), "convolve", "periodic")
    assert case.merged().is_exact()
    assert is_exact_everywhere(case)


def test_periodic_layers_that_change_the_size_are_not() -> None:
    for padding in (0, 1, "full"):
        steps = [Step(taps_of((2, 3), 1), padding=padding), Step(taps_of((3, 3), 2))]
        case = Case(steps, 1, (5, 6), "convolve", "periodic")
        assert not is_exact_everywhere(case)
        assert not case.merged().is_exact()


def test_periodic_strides_are_exact_only_where_they_divide_the_size() -> None:
    steps = [Step(taps_of((3, 3), 1), stride=2), Step(taps_of((3, 3), 2))]
    assert is_exact_everywhere(Case(steps, 1, (6, 8), "convolve", "periodic"))
    for frame in [(7, 8), (6, 9), (5, 5)]:
        assert not is_exact_everywhere(Case(steps, 1, frame, "convolve", "periodic"))
    assert not Case(steps, 1, (6, 8), "convolve", "periodic").merged().is_exact()


@pytest.mark.parametrize("boundary", ["symmetric", "reflect", "edge"])
def test_mirrored_boundaries_are_not_exact_for_kernels_without_symmetry(boundary: str) -> None:
    case = Case([Step(taps_of((3, 3), 1)), Step(taps_of((3, 3), 2))], 1, (6, 7), "convolve", boundary)
    assert not is_exact_everywhere(case)
    check(case)


@pytest.mark.parametrize(
    ("boundary", "exact"), [("symmetric", True), ("reflect", True), ("edge", False), ("zero", False)]
)
def test_a_mirror_keeps_what_a_symmetric_kernel_makes(boundary: str, exact: bool) -> None:
    """A symmetric kernel turns a mirrored image into a mirrored one: exact, though no rule for any kernel says so."""
    kernel = np.array([[1, 2, 1], [3, 5, 3], [1, 2, 1]])
    case = Case([Step(kernel, bias=[1]), Step(taps_of((3, 5), 2))], 1, (6, 7), "correlate", boundary)
    assert is_exact_everywhere(case) == exact
    assert case.merged().is_exact() == exact


def test_a_bias_is_exact_where_the_second_kernel_reads_nothing_outside() -> None:
    """b = b2 + sum k2 b1; the first layer is full, so that without its bias the merge is exact everywhere."""
    k1, k2 = taps_of((3, 3), 1), np.abs(taps_of((3, 3), 2))
    plain = merge_kernels([Layer(k1, padding=2), Layer(k2, padding=1)], operation="correlate", boundary="zero")
    assert plain.is_exact()
    steps = [Step(k1, padding=2, bias=[4]), Step(k2, padding=1, bias=[7])]
    case = Case(steps, 1, (6, 7), "correlate", "zero")
    merged = case.merged()
    np.testing.assert_array_equal(np.ravel(merged.layer.bias), [7 + 4 * k2.sum()])
    wanted = np.ones((8, 9), bool)
    wanted[1:-1, 1:-1] = False
    np.testing.assert_array_equal(merged.differing((6, 7)), wanted)
    assert merged.border((6, 7)) == ((1, 1), (1, 1))
    assert not merged.is_exact()
    check(case)


@pytest.mark.parametrize("boundary", ["periodic", "edge", "reflect", "symmetric"])
def test_a_bias_alone_differs_only_where_zeros_are_read(boundary: str) -> None:
    """A first layer of one tap that adds a bias: with any other boundary the constant continues as itself."""
    steps = [Step(np.array([[2]]), bias=[4]), Step(taps_of((3, 3), 2), bias=[7])]
    assert is_exact_everywhere(Case(steps, 1, (5, 6), "convolve", boundary))
    assert not is_exact_everywhere(Case(steps, 1, (5, 6), "convolve", "zero"))


def test_a_second_bias_alone_is_exact() -> None:
    steps = [Step(taps_of((3, 3), 1), padding="full"), Step(taps_of((3, 3), 2), bias=[7])]
    case = Case(steps, 1, (5, 6), "convolve", "zero")
    assert is_exact_everywhere(case)
    np.testing.assert_array_equal(np.ravel(case.merged().layer.bias), [7])


def test_a_bias_of_channels_goes_through_the_second_kernel() -> None:
    first, second = taps_of((3, 2, 2, 2), 1), taps_of((4, 3, 3, 3), 2)
    b1, b2 = np.array([1.0, -2.0, 3.0]), np.array([4.0, 0.0, 1.0, -1.0])
    merged = merge_kernels([Layer(first, bias=b1), Layer(second, bias=b2)])
    np.testing.assert_array_equal(merged.layer.bias, b2 + np.einsum("ocyx,c->o", second, b1))


# What is known --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_counter_example_is_refused(operation: str) -> None:
    """A first output of one pixel, read by a second kernel with two zeros around it: not the merge with padding 2."""
    steps = [Step(np.array([[1, 0, -1]] * 3), padding=0), Step(np.ones((3, 3), int), padding=2)]
    case = Case(steps, 1, (3, 3), operation, "zero")
    merged = case.merged()
    assert not merged.is_exact((3, 3))
    assert not merged.is_exact()
    check(case)
    for grid in ((3, 3), None):
        text = merged.explain(grid)
        assert text
        assert "\n" not in text


def test_pad_1_then_pad_1_differs_at_the_border_alone() -> None:
    """The known numbers: about 2 at the border, rounding inside, with one merge of padding 2."""
    rng = np.random.default_rng(5)
    k1, k2, x = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.normal(size=(12, 15))
    merged = merge_kernels([Layer(k1, padding=1), Layer(k2, padding=1)], operation="correlate", boundary="zero")
    assert given_pairs(merged) == [(2, 2), (2, 2)]
    assert merged.border(x.shape) == ((1, 1), (1, 1))
    difference = np.abs(merged.apply_chain(x) - merged.apply(x))
    inside = ~merged.differing(x.shape)
    assert inside.sum() == 10 * 13
    assert difference[inside].max() < 1e-14 * np.abs(merged.apply(x)).max()
    assert 0.5 < difference.max() < 20
    assert (difference[~inside] > 1e-12).all()


def test_pad_2_then_pad_0_is_exact() -> None:
    rng = np.random.default_rng(5)
    k1, k2, x = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.normal(size=(12, 15))
    merged = merge_kernels([Layer(k1, padding=2), Layer(k2, padding=0)], operation="correlate", boundary="zero")
    assert merged.is_exact()
    assert merged.is_exact(x.shape)
    assert not merged.differing(x.shape).any()
    assert merged.border(x.shape) == ((0, 0), (0, 0))
    np.testing.assert_allclose(merged.apply_chain(x), merged.apply(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("exact", [True, False])
def test_the_explanation_is_one_sentence(exact: bool) -> None:
    padding = 0 if exact else 1
    layers = [Layer(taps_of((3, 3), 1), padding=1), Layer(taps_of((3, 3), 2), padding=padding)]
    merged = merge_kernels(layers, boundary="zero")
    for text in (merged.explain(), merged.explain((9, 10))):
        assert isinstance(text, str)
        assert len(text) > 20
        assert "\n" not in text
        assert "exact" in text or not exact
    assert merged.is_exact() == merged.is_exact((9, 10)) == exact


def test_the_border_of_a_mask_that_is_a_frame_is_that_frame() -> None:
    """Also where the frame is wider on one side than half the outputs, and where it covers everything."""
    for shape in ((5,), (3, 4), (2, 3, 3)):
        ends = [[(a, b) for a in range(n) for b in range(a + 1, n + 1)] for n in shape]
        for box in itertools.product(*ends):
            mask = np.ones(shape, bool)
            mask[tuple(slice(a, b) for a, b in box)] = False
            assert border(mask) == tuple((a, n - b) for (a, b), n in zip(box, shape, strict=True))
    assert not inside(np.ones((3, 4), bool), border(np.ones((3, 4), bool))).size


def test_kernels_too_large_for_every_size_need_one() -> None:
    """Whether they merge exactly on all images would take gigabytes to try; where a rule says so, it does not."""
    large = [Layer(np.ones((2, 2)), dilation=1500), Layer(np.ones((2, 2)))]
    with pytest.raises(SettingError, match="image-shape"):
        merge_kernels(large, boundary="zero").is_exact()
    assert merge_kernels(large).is_exact()


# What costs how much --------------------------------------------------------------------------------------------------


def test_the_cost_counts_taps_that_are_not_zero() -> None:
    """Two 3×3 kernels: 18 against 25; merging is not always cheaper."""
    merged = merge_kernels([Layer(np.ones((3, 3))), Layer(np.ones((3, 3)))])
    assert (merged.chain_cost, merged.merged_cost) == (18.0, 25.0)
    merged = merge_kernels([Layer(np.ones((5, 1))), Layer(np.ones((1, 5)))])
    assert (merged.chain_cost, merged.merged_cost) == (10.0, 25.0)
    merged = merge_kernels([Layer(np.array([[1, 0, -1]])), Layer(np.array([[1, 0, 1]]))])
    assert (merged.chain_cost, merged.merged_cost) == (4.0, 2.0)  # 1 − x⁴


def test_the_cost_is_per_final_output() -> None:
    """A second stride of 2 × 3 throws five of six first outputs away; the chain has made them all."""
    merged = merge_kernels([Layer(np.ones((3, 3)), stride=2), Layer(np.ones((2, 2)), stride=(2, 3))])
    assert (merged.chain_cost, merged.merged_cost) == (9.0 * 6 + 4, 5.0 * 5)


def test_the_cost_is_of_all_channels() -> None:
    merged = merge_kernels([Layer(np.ones((4, 3, 3, 3))), Layer(np.ones((5, 4, 1, 1)), stride=2)])
    assert (merged.chain_cost, merged.merged_cost) == (4.0 * 3 * 9 * 4 + 20, 5.0 * 3 * 9)
    merged = merge_kernels([Layer(np.ones((3, 2, 2))), Layer(np.ones((3, 2, 2)))])
    assert (merged.chain_cost, merged.merged_cost) == (24.0, 27.0)
    merged = merge_kernels([Layer(np.ones((3, 3))), Layer(np.ones((2, 4, 1, 1)))])  # YX on each of 4 channels
    assert (merged.chain_cost, merged.merged_cost) == (36.0 + 8, 2.0 * 4 * 9)


# Any layers: the mask that is predicted is the mask that is observed --------------------------------------------------


@given(case=cases(forms="YX", frames=(1, 9)))
@settings(max_examples=100)
def test_any_chain_of_plain_kernels(case: Case) -> None:
    check(case)


@given(case=cases(forms="CYX", frames=(1, 7)))
@settings(max_examples=40)
def test_any_chain_of_kernels_of_one_a_channel(case: Case) -> None:
    check(case)


@given(case=cases(forms="OIYX", frames=(1, 7)))
@settings(max_examples=60)
def test_any_chain_of_kernels_that_mix_channels(case: Case) -> None:
    check(case)


@given(case=cases(rank=3, frames=(1, 4)))
@settings(max_examples=40)
def test_any_chain_in_three_dimensions(case: Case) -> None:
    check(case)


@given(data=st.data())
@settings(max_examples=60)
def test_any_row_of_taps(data: st.DataObject) -> None:
    """Kernels 1 × n with the same settings along the row, where coincidences are most frequent: short, symmetric."""
    steps = []
    for _ in range(data.draw(st.integers(2, 3))):
        size = data.draw(st.integers(1, 4))
        before, after = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
        padding = data.draw(st.sampled_from(["same", "same", "full", ((0, 0), (before, after))]))
        stride, dilation = (1, data.draw(st.integers(1, 3))), (1, data.draw(st.integers(1, 2)))
        bias = data.draw(st.none() | st.integers(-1, 1).map(lambda b: [b]))
        steps.append(Step(data.draw(taps((1, size), 2)), "YX", stride, padding, dilation, bias=bias))
    boundary = data.draw(st.sampled_from(oracles.BOUNDARIES))
    frame = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 14)))
    check(Case(steps, 1, frame, data.draw(st.sampled_from(OPERATIONS)), boundary))


# Big images, and images of any size -----------------------------------------------------------------------------------


def differing_on_images(merged: Any, shape: tuple[int, ...], axes: str) -> np.ndarray:
    """Where chain and merge differ on some of three images of whole numbers."""
    seen = []
    for seed in range(3):
        x = image(shape, seed)
        seen.append((np.rint(merged.apply_chain(x, axes=axes)) != np.rint(merged.apply(x, axes=axes))).any(0))
    return np.any(seen, 0)


BIG: dict[str, list[dict[str, Any]]] = {
    "same": [{}, {}],
    "strides": [{"stride": (2, 3), "padding": 2}, {"stride": (3, 1), "padding": ((1, 4), (0, 3))}],
    "dilated": [{"dilation": 3}, {"dilation": (2, 5), "padding": 4, "bias": [2]}],
    "wide": [{"padding": "valid", "bias": [1]}, {"padding": ((20, 0), (0, 31))}],
    "three": [{"padding": 1}, {"stride": 2}, {"padding": "full", "stride": (1, 2)}],
    "origins": [{"origin": "first"}, {"origin": "last", "dilation": 2}],
}


@pytest.mark.parametrize("boundary", oracles.BOUNDARIES)
@pytest.mark.parametrize("how", BIG)
def test_big_images_differ_where_it_is_predicted(how: str, boundary: str) -> None:
    shapes = [(3, 4), (2, 3), (3, 3)]
    layers = [Layer(taps_of(shape, i), **more) for i, (shape, more) in enumerate(zip(shapes, BIG[how], strict=False))]
    merged = merge_kernels(layers, operation="correlate", boundary=boundary)
    for frame in ((100, 151), (45, 38)):
        mask = merged.differing(frame)
        np.testing.assert_array_equal(mask, differing_on_images(merged, (1, *frame), "CYX"))
        check_border(mask, merged.border(frame))
        assert merged.is_exact(frame) == (not mask.any())


@given(case=cases(frames=(25, 70)))
@settings(max_examples=40)
def test_any_chain_on_larger_images(case: Case) -> None:
    merged = case.merged()
    mask = merged.differing(case.frame)
    np.testing.assert_array_equal(mask, differing_on_images(merged, (case.channels, *case.frame), case.axes))
    check_border(mask, merged.border(case.frame))


def test_the_mask_of_a_photograph_is_quick() -> None:
    """Only the border has to be looked at: a mask of 12 million outputs takes no matrix of that many rows."""
    merged = merge_kernels([Layer(taps_of((5, 5), 1)), Layer(taps_of((7, 3), 2))], boundary="zero")
    mask = merged.differing((3000, 4000))
    assert mask.shape == (3000, 4000)
    assert merged.border((3000, 4000)) == ((3, 3), (1, 1))
    assert mask.sum() == 3000 * 4000 - 2994 * 3998


def enough(case: Case) -> list[int]:
    """A size on each axis that no window spans from one side to the other."""
    final = step_of(case.merged().layer)
    return [2 * (n + p + q) + 8 for n, (p, q) in zip(final.sizes, pads(final, case.operation), strict=True)]


@given(case=cases(forms="YX", count=2))
@settings(max_examples=60)
def test_exact_on_every_size_is_exact_on_each(case: Case) -> None:
    merged = case.merged()
    rests = [range(n, n + int(s)) for n, s in zip(enough(case), merged.layer.stride, strict=True)]
    assume(math.prod(map(len, rests)) <= 36)
    assert merged.is_exact() == all(merged.is_exact(grid) for grid in itertools.product(*rests))


@given(case=cases(frames=(25, 40)))
@settings(max_examples=40)
def test_what_is_exact_on_every_size_is_exact_on_large_ones(case: Case) -> None:
    merged = case.merged()
    frame = tuple(n + rest for n, rest in zip(enough(case), case.frame, strict=True))
    if merged.is_exact():
        assert not merged.differing(frame).any()


# Numbers that are not whole -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["symmetric", "reflect", "periodic"])
def test_rounding_is_no_difference(boundary: str) -> None:
    """Gaussians on a mirror: chain and merge are equal, though their taps are rounded differently."""
    y, x = np.mgrid[-3:4, -2:3]
    first = np.exp(-(y**2) / 3.1 - x**2 / 1.7)
    second = np.random.default_rng(3).normal(size=(5, 5))
    merged = merge_kernels([Layer(first / first.sum(), bias=np.array([0.1])), Layer(second)], boundary=boundary)
    assert merged.is_exact()
    for frame in ((9, 11), (40, 31), (3, 2)):
        assert not merged.differing(frame).any()


@given(
    seed=st.integers(0, 99),
    boundary=st.sampled_from(oracles.BOUNDARIES),
    scale=st.sampled_from([1e-300, 1e-160, 1e-9, 1, 1e20, 1e300]),
)
@settings(max_examples=25)
def test_the_scale_of_the_taps_does_not_matter(seed: int, boundary: str, scale: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(3, 2)), rng.normal(size=(2, 3))
    plain = merge_kernels([Layer(first, padding=1), Layer(second, padding=1)], boundary=boundary)
    scaled = merge_kernels([Layer(first * scale, padding=1), Layer(second, padding=1)], boundary=boundary)
    np.testing.assert_array_equal(plain.differing((5, 6)), scaled.differing((5, 6)))


@pytest.mark.parametrize("bias", [1e25, 1e300, 1e-300])
@pytest.mark.parametrize("biased", [0, 1])
def test_the_scale_of_a_bias_does_not_matter(biased: int, bias: float) -> None:
    """A bias is neither lost beside the taps, nor are they beside it; padded fully, only the first one's differs."""
    layers = [Layer(taps_of((3, 3), 1), padding=1), Layer(np.abs(taps_of((3, 3), 2)), padding=1)]
    layers[biased] = replace(layers[biased], bias=np.array([bias]))
    frame = np.ones((6, 7), bool)
    frame[1:-1, 1:-1] = False
    np.testing.assert_array_equal(merge_kernels(layers, boundary="zero").differing((6, 7)), frame)
    layers[0] = replace(layers[0], padding=2)
    assert merge_kernels(layers, boundary="zero").is_exact((6, 7)) == (biased == 1)


@given(data=st.data())
@settings(max_examples=40)
def test_small_taps_count_too(data: st.DataObject) -> None:
    """Taps of very different sizes, all powers of two times small integers, so that every sum is exact."""
    case = data.draw(cases(forms="YX", count=2, frames=(1, 6)))
    power = st.integers(0, 12)
    steps = []
    for step in case.steps:
        weights = [2.0 ** -data.draw(power) for _ in range(step.kernel.size)]
        steps.append(replace(step, kernel=step.kernel * np.reshape(weights, step.kernel.shape)))
    changed = replace(case, steps=steps)
    try:
        chain = changed.affine()
    except ValueError:
        return
    merged = changed.merged()
    mask = observed(chain, changed.affine([step_of(merged.layer)]))
    np.testing.assert_array_equal(merged.differing(case.frame), mask)


# Algebra --------------------------------------------------------------------------------------------------------------


@given(case=cases(count=3))
@settings(max_examples=60)
def test_merging_is_associative(case: Case) -> None:
    """Three at once, the first two and then the third, the first and then the last two: one layer."""
    assume(len(case.steps) == 3)
    layers = [step.layer() for step in case.steps]
    how = {"operation": case.operation, "boundary": case.boundary}
    at_once = merge_kernels(layers, **how).layer
    left = merge_kernels([merge_kernels(layers[:2], **how).layer, layers[2]], **how).layer
    right = merge_kernels([layers[0], merge_kernels(layers[1:], **how).layer], **how).layer
    for other in (left, right):
        np.testing.assert_array_equal(full(step_of(other), case.channels), full(step_of(at_once), case.channels))
        assert (other.kernel_axes, other.groups) == (at_once.kernel_axes, at_once.groups)
        assert (other.stride, other.origin) == (at_once.stride, at_once.origin)
        frames = [step_of(layer) for layer in (other, at_once)]
        assert pads(frames[0], case.operation) == pads(frames[1], case.operation)
        assert (other.bias is None) == (at_once.bias is None)
        if at_once.bias is not None:
            outputs = len(full(step_of(at_once), case.channels))
            biases = [np.broadcast_to(np.asarray(layer.bias), (outputs,)) for layer in (other, at_once)]
            np.testing.assert_array_equal(biases[0], biases[1])


def test_the_identity_changes_nothing() -> None:
    kernel = taps_of((3, 2), 4)
    for layers in ([Layer(np.ones((1, 1))), Layer(kernel)], [Layer(kernel), Layer(np.ones((1, 1)))]):
        merged = merge_kernels(layers, boundary="zero")
        np.testing.assert_array_equal(merged.layer.kernel, kernel)
        assert tuple(merged.layer.origin) == (1, 1)
        assert merged.is_exact()


# Torch ----------------------------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=40)
def test_chain_and_merge_of_torch(data: st.DataObject) -> None:
    """`conv2d` after `conv2d` differs from the one merged `conv2d` exactly where it is predicted."""
    torch = pytest.importorskip("torch", reason="the extra 'references' is not installed")
    case = data.draw(cases(forms="OIYX", frames=(6, 14)))
    number = st.integers(0, 3)
    steps = [replace(step, padding=data.draw(st.tuples(number, number))) for step in case.steps if "O" in step.axes]
    assume(len(steps) == len(case.steps))
    changed = replace(case, steps=steps, operation="correlate", boundary="zero")
    try:
        changed.affine()
    except ValueError:
        return
    merged = changed.merged()
    seen = np.zeros(merged.differing(case.frame).shape, bool)
    for seed in range(2):
        x = torch.from_numpy(image((1, case.channels, *case.frame), seed))
        there = x
        for step in steps:
            there = torch_layer(torch, there, step)
        final = step_of(merged.layer)
        before, after = zip(*pads(final, "correlate"), strict=True)
        assert before == after
        once = torch_layer(torch, x, replace(final, padding=before))
        np.testing.assert_allclose(merged.apply_chain(x[0].numpy(), axes="CYX"), there[0].numpy(), atol=1e-6)
        np.testing.assert_allclose(merged.apply(x[0].numpy(), axes="CYX"), once[0].numpy(), atol=1e-6)
        seen |= (there != once)[0].any(0).numpy()
    np.testing.assert_array_equal(merged.differing(case.frame), seen)


def torch_layer(torch: Any, x: Any, step: Step) -> Any:
    """One `conv2d` in double precision."""
    bias = None if step.bias is None else torch.tensor(np.asarray(step.bias, float))
    how = {name: step.__dict__[name] for name in ("stride", "padding", "dilation")}
    how = {name: tuple(int(v) for v in value) if isinstance(value, tuple) else value for name, value in how.items()}
    kernel = torch.tensor(np.asarray(step.kernel, float))
    return torch.nn.functional.conv2d(x, kernel, bias, groups=step.groups, **how)


# What both sides do with an image -------------------------------------------------------------------------------------


def test_images_keep_their_axes_and_dtype() -> None:
    merged = merge_kernels([Layer(taps_of((3, 3), 1), padding=1), Layer(taps_of((3, 2), 2), stride=2)], boundary="edge")
    for dtype in (np.float32, np.float64):
        for x, axes in ((image((9, 8), 1), None), (image((9, 8, 3), 1), "YXC"), (image((2, 3, 9, 8), 1), "NCYX")):
            sides = merged.apply_chain(x.astype(dtype), axes=axes), merged.apply(x.astype(dtype), axes=axes)
            shape = tuple(n if letter in "NC" else -(-n // 2) for n, letter in zip(x.shape, axes or "YX", strict=True))
            assert [y.dtype for y in sides] == [dtype, dtype]
            assert sides[0].shape == sides[1].shape == shape


def test_the_image_is_left_alone() -> None:
    merged = merge_kernels([Layer(taps_of((3, 3)), bias=np.array([1.0])), Layer(taps_of((3, 3)))])
    x = image((6, 7), 1)
    kept = x.copy()
    merged.apply_chain(x)
    merged.apply(x)
    np.testing.assert_array_equal(x, kept)


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "sizes"),
    [
        ((6, 3, 3, 3), (2, 5, 3, 3), "65"),
        ((6, 3, 3), (5, 3, 3), "65"),
        ((6, 3, 3), (2, 5, 3, 3), "65"),
        ((6, 2, 3, 3), (5, 3, 3), "65"),
    ],
)
def test_channels_that_do_not_contract_are_refused(first: Any, second: Any, sizes: str) -> None:
    with pytest.raises(REFUSED) as refusal:
        merge_kernels([Layer(taps_of(first)), Layer(taps_of(second))])
    assert all(size in str(refusal.value) for size in sizes)
    assert "\n" not in str(refusal.value)


def test_channels_that_do_not_contract_are_found_across_a_plain_kernel() -> None:
    with pytest.raises(REFUSED):
        merge_kernels([Layer(taps_of((6, 2, 3, 3))), Layer(taps_of((3, 3))), Layer(taps_of((5, 3, 3)))])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_kernels_are_refused(count: int) -> None:
    with pytest.raises(REFUSED, match=r"two|2"):
        merge_kernels([Layer(taps_of((3, 3)))] * count)


def test_taps_too_large_to_multiply_are_refused() -> None:
    """Finite kernels whose product is not."""
    with pytest.raises(REFUSED):
        merge_kernels([Layer(np.array([[1e200, 1.0]])), Layer(np.array([[1e200]]))])


def test_taps_too_small_to_multiply_are_refused() -> None:
    with pytest.raises(REFUSED, match="underflow"):
        merge_kernels([Layer(np.array([[1e-200, 1.0e-201]])), Layer(np.array([[1e-200]]))])
    with pytest.raises(REFUSED, match="overflow"):
        merge_kernels([Layer(np.array([[1.0]]), bias=np.array([1e300])), Layer(np.array([[1.0, 1e9]]))])


def test_channels_that_cancel_are_a_merge_of_zeros() -> None:
    """Not an underflow: the second kernel takes the difference of two equal channels."""
    merged = merge_kernels([Layer(np.ones((2, 1, 3, 3))), Layer(np.array([1.0, -1.0]).reshape(1, 2, 1, 1))])
    assert not merged.layer.kernel.any()
    assert merged.is_exact()


def test_kernels_of_different_spatial_axes_are_refused() -> None:
    with pytest.raises(REFUSED, match="ZYX"):
        merge_kernels([Layer(taps_of((3, 3))), Layer(taps_of((3, 3, 3)), kernel_axes="ZYX")])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_taps_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(REFUSED):
        merge_kernels([Layer(taps_of((3, 3))), Layer(np.array([[1.0, value]]))])


@pytest.mark.parametrize("kernel", [np.ones((2, 2), complex), np.ones((0, 3)), np.ones(())])
def test_what_is_no_kernel_is_refused(kernel: np.ndarray) -> None:
    with pytest.raises(REFUSED):
        merge_kernels([Layer(taps_of((3, 3))), Layer(kernel)])


@pytest.mark.parametrize("bias", [[1.0, 2.0], [np.nan, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [1j, 1.0, 2.0]])
def test_a_bias_that_does_not_fit_is_refused(bias: list[Any]) -> None:
    with pytest.raises(REFUSED):
        merge_kernels([Layer(taps_of((3, 2, 3, 3)), bias=np.array(bias)), Layer(taps_of((3, 3)))])
    with pytest.raises(REFUSED):
        merge_kernels([Layer(taps_of((3, 3))), Layer(taps_of((3, 3, 3)), bias=np.array(bias))])


@pytest.mark.parametrize(
    "how",
    [
        {"stride": 0},
        {"stride": (1, 2, 3)},
        {"dilation": 0},
        {"padding": -1},
        {"padding": "some"},
        {"padding": ((1, 2), (3, 4), (5, 6))},
        {"origin": "middle"},
        {"origin": (3, 0)},
        {"groups": 2},
        {"kernel_axes": "QX"},
        {"kernel_axes": "CYX"},
    ],
)
def test_settings_that_do_not_fit_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(REFUSED):
        merge_kernels([Layer(taps_of((3, 3))), Layer(taps_of((3, 3)), **how)])


def test_groups_that_do_not_divide_the_outputs_are_refused() -> None:
    with pytest.raises(REFUSED):
        merge_kernels([Layer(taps_of((3, 3))), Layer(taps_of((3, 2, 3, 3)), groups=2)])


def test_unknown_operations_and_boundaries_are_refused() -> None:
    layers = [Layer(taps_of((3, 3))), Layer(taps_of((3, 3)))]
    with pytest.raises(SettingError, match="periodic"):
        merge_kernels(layers, boundary="wrap")
    with pytest.raises(SettingError, match="correlate"):
        merge_kernels(layers, operation="multiply")


def test_a_grid_that_does_not_fit_is_refused() -> None:
    merged = merge_kernels([Layer(taps_of((3, 3)), padding=0), Layer(taps_of((3, 3)), padding=4)], boundary="zero")
    for method in (merged.differing, merged.border, merged.is_exact, merged.explain):
        for grid in ((2, 9), (9, 9, 9), (0, 9)):
            with pytest.raises(REFUSED):
                method(grid)


# Images of every size, small ones too ---------------------------------------------------------------------------------


def exact_on(case: Case, frame: tuple[int, ...]) -> bool:
    """The oracle's verdict on one frame; where no output fits, nothing differs."""
    there = replace(case, frame=frame)
    try:
        return not observed(there.affine(), there.affine([step_of(case.merged().layer)])).any()
    except ValueError:
        return True


def check_scope(case: Case, frames: list[tuple[int, ...]]) -> bool:
    """What is said of images from some size on holds on all of these; where all were tried, no less would do.

    Whether something is said, but not of all images.
    """
    scope = case.merged().scope
    if scope is None:
        return False
    verdicts = {frame: exact_on(case, frame) for frame in frames}
    assert all(exact for frame, exact in verdicts.items() if covers(frame, scope.least))
    for axis, n in enumerate(scope.least):
        if scope.is_tried and n > 1:
            less = tuple(m - (a == axis) for a, m in enumerate(scope.least))
            assert not all(exact for frame, exact in verdicts.items() if covers(frame, less))
    return not scope.is_all


def covers(frame: tuple[int, ...], least: tuple[int, ...]) -> bool:
    return all(n >= m for n, m in zip(frame, least, strict=True))


def test_small_images_are_not_forgotten() -> None:
    """A reflection of fewer pixels than the kernels read: exact on wide images, but not on one of 6 x 3."""
    first = Step(np.array([[-1, 0, 0]]), padding="valid")
    second = Step(np.array([[1, 1]]), dilation=(1, 2), origin=(0, 1))
    case = Case([first, second], 1, (6, 3), "convolve", "reflect")
    merged = case.merged()
    assert not exact_on(case, (6, 3))
    assert merged.scope is not None
    assert not merged.scope.is_all
    check_scope(case, [(h, w) for h in (1, 2, 6) for w in range(1, 16)])
    assert "every size" not in merged.explain()
    assert f"at least 1,{merged.scope.least[1]}" in merged.explain()


@pytest.mark.parametrize("boundary", ["reflect", "symmetric"])
def test_rows_of_every_size(boundary: str) -> None:
    """A shift and then two taps or three: often exact where the image is longer than what they read beyond its end."""
    partly = 0
    choices = ([0, 1, 2], ["valid", "same"], [[1, 1], [1, 1, 1]], [1, 2], ["center", "first"])
    for at, padding, second, dilation, origin in itertools.product(*choices):
        first = Step(np.eye(3, dtype=int)[at : at + 1], padding=padding)
        steps = [first, Step(np.array([second]), dilation=(1, dilation), origin=origin)]
        frames: list[tuple[int, ...]] = [(h, w) for h in (1, 2) for w in range(1, 14)]
        partly += check_scope(Case(steps, 1, (1, 1), "convolve", boundary), frames)
    assert partly


@given(data=st.data())
@settings(max_examples=40)
def test_any_rows_of_every_size(data: st.DataObject) -> None:
    steps = []
    for _ in range(2):
        taps_ = data.draw(st.lists(st.sampled_from([0, 0, 0, 1, 1, -1, 2]), min_size=1, max_size=3))
        padding = data.draw(st.sampled_from(["same", "same", "valid", "full", ((0, 0), (1, 2))]))
        dilation = (1, data.draw(st.integers(1, 2)))
        stride, origin = (1, data.draw(st.sampled_from([1, 1, 2]))), data.draw(st.sampled_from(["center", "first"]))
        steps.append(Step(np.array([taps_]), "YX", stride, padding, dilation, origin))
    boundary = data.draw(st.sampled_from(oracles.BOUNDARIES))
    check_scope(Case(steps, 1, (1, 1), "convolve", boundary), [(h, w) for h in (1, 2) for w in range(1, 14)])


@given(data=st.data())
@settings(max_examples=6)
def test_images_of_every_size(data: st.DataObject) -> None:
    """Kernels with one tap or two that are not zero, which often agree on large images alone."""
    steps = []
    for _ in range(2):
        kernel = np.zeros(data.draw(st.sampled_from([(2, 2), (1, 3), (3, 1)])), int)
        for _ in range(2):
            kernel[data.draw(st.tuples(*map(below, kernel.shape)))] = data.draw(st.sampled_from([1, -1, 2]))
        steps.append(Step(kernel, padding=data.draw(st.sampled_from(["same", "valid", 1]))))
    boundary = data.draw(st.sampled_from(["reflect", "symmetric", "edge", "zero"]))
    case = Case(steps, 1, (1, 1), "correlate", boundary)
    scope = case.merged().scope
    if scope is not None and max(scope.least) < 7:
        check_scope(case, list(itertools.product(range(1, 8), repeat=2)))


def test_sizes_that_were_not_tried_are_not_promised() -> None:
    """One tap in a frame of zeros is exact before any kernel, but no rule looks at taps; the second is large."""
    delta = np.zeros((3, 3))
    delta[1, 1] = 1
    merged = merge_kernels([Layer(delta), Layer(taps_of((41, 41)))], boundary="zero")
    assert merged.scope is not None
    assert not merged.scope.is_tried
    assert min(merged.scope.least) > 41
    assert "smaller ones were not tried" in merged.explain()
    small = merge_kernels([Layer(delta), Layer(taps_of((2, 2)))], boundary="zero")
    assert small.scope is not None
    assert small.scope.is_all


@given(data=st.data())
@settings(max_examples=40)
def test_the_rule_of_the_mirrors(data: st.DataObject) -> None:
    """Kernels that are their own mirror images along both axes, odd or even with the padding to match: by a rule."""
    steps = []
    for _ in range(2):
        half = data.draw(taps((data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))), 2))
        kernel = np.block([[half, half[:, ::-1]], [half[::-1], half[::-1, ::-1]]])
        dilation: Any = data.draw(st.sampled_from([2, (2, 4)]))
        span = [d * (n - 1) // 2 for n, d in zip(kernel.shape, oracles.per_axis(dilation, 2), strict=True)]
        padding = tuple((n, n) for n in span)
        steps.append(Step(kernel, padding=padding, dilation=dilation, bias=data.draw(st.none() | st.just([2]))))
    steps.append(Step(taps_of((2, 3)), padding=data.draw(st.sampled_from(["same", 3])), stride=2))
    boundary = data.draw(st.sampled_from(["symmetric", "reflect"]))
    case = Case(steps, 1, (1, 1), data.draw(st.sampled_from(OPERATIONS)), boundary)
    assert "mirror" in case.merged().explain()
    for frame in ((1, 1), (1, 4), (5, 2), (7, 8)):
        assert exact_on(case, frame)


@pytest.mark.parametrize(
    "first",
    [
        Step(np.array([[1, 1], [1, 1]]), padding=((1, 0), (1, 0))),  # not centred
        Step(np.array([[1, 2, 3], [4, 5, 4], [3, 2, 1]])),  # the same turned by half a turn, no mirror image
        Step(np.array([[1, 2, 1]] * 3), stride=2),
        Step(np.array([[1, 2, 1], [1, 2, 1], [1, 2, 2]])),
    ],
)
def test_what_the_rule_of_the_mirrors_is_not_for(first: Step) -> None:
    case = Case([first, Step(taps_of((3, 3)))], 1, (6, 7), "correlate", "symmetric")
    assert not is_exact_everywhere(case)
    assert not case.merged().is_exact()


# Images of any size, in little memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["zero", "edge"])
def test_marks_of_images_that_fit_into_no_memory(boundary: str) -> None:
    merged = merge_kernels([Layer(taps_of((3, 3), 1)), Layer(taps_of((3, 3), 2))], boundary=boundary)
    marks = merged.marks((1_000_000_000, 10))
    small = merged.differing((200, 10))
    assert marks.shape == (1_000_000_000, 10)
    assert merged.border((1_000_000_000, 10)) == merged.border((200, 10)) == ((1, 1), (1, 1))
    middle = int(small[100].sum())
    assert marks.count == int(small.sum()) + (1_000_000_000 - 200) * middle


@given(case=cases(frames=(25, 70)))
@settings(max_examples=30)
def test_marks_are_those_of_the_whole_mask(case: Case) -> None:
    merged = case.merged()
    frame = tuple(n + rest for n, rest in zip(enough(case), case.frame, strict=True))
    marks, mask = merged.marks(frame), merged.differing(frame)
    assert (marks.shape, marks.count, marks.is_empty) == (mask.shape, mask.sum(), not mask.any())
    check_border(mask, marks.border)


def test_a_size_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    probed = exactness._probed

    def counted(*given: Any) -> Any:
        calls.append(given[2])
        return probed(*given)

    monkeypatch.setattr(exactness, "_probed", counted)
    merged = merge_kernels([Layer(taps_of((3, 3), 1)), Layer(taps_of((3, 3), 2))], boundary="zero")
    for grid in ((100, 90), (100, 90), (101, 90), (7000, 8000)):
        merged.differing(grid) if grid[0] < 1000 else merged.border(grid)
        assert not merged.is_exact(grid)
        assert merged.explain(grid)
    assert len(calls) == 1


# Reasons --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [None, (9, 10)])
def test_a_bias_that_alone_keeps_the_merge_from_being_exact_is_named(grid: tuple[int, int] | None) -> None:
    layers = [Layer(taps_of((3, 3), 1), padding=2, bias=np.array([1.0])), Layer(np.ones((3, 3)), padding=1)]
    merged = merge_kernels(layers, boundary="zero")
    assert not merged.is_exact(grid)
    assert "the first bias is added everywhere by the merge" in merged.explain(grid)
    layers[0] = replace(layers[0], padding=1)
    assert "bias" not in merge_kernels(layers, boundary="zero").explain(grid)


def test_where_all_outputs_differ_the_explanation_says_so() -> None:
    chain = [Layer(np.array([[1, 0, -1]] * 3), padding=0), Layer(np.ones((3, 3)), padding=2)]
    merged = merge_kernels(chain, operation="correlate", boundary="zero")
    assert merged.explain((3, 3)).endswith("all 9 outputs differ")
    assert "within" in merged.explain((9, 9))


# Predictions ----------------------------------------------------------------------------------------------------------


def test_predicted_times_are_those_of_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide kernel goes by FFT, where a merge with more taps costs one pass; small ones pay for every tap."""
    monkeypatch.setattr("convtool.opencv.is_installed", lambda: False)
    wide, box, row = taps_of((33, 33)), np.ones((3, 3)), np.ones((1, 3))
    chain, merge = merge_kernels([wide, box]).predicted((512, 512))
    transforms = {"blocks", "fft"}
    assert chain.engines[1] == "direct"
    assert {chain.engines[0], *merge.engines} <= transforms
    assert merge.time < chain.time
    chain, merge = merge_kernels([row, row.T]).predicted((512, 512))
    assert {*chain.engines, *merge.engines} == {"direct"}
    assert merge.time < chain.time  # nine taps in one pass, not three in each of two
    few, other = np.zeros((2, 9, 9))
    few[[0, 1, 3, 6, 8], [2, 8, 5, 0, 4]] = other[[0, 2, 4, 5, 7], [7, 0, 3, 8, 2]] = 1
    chain, merge = merge_kernels([few, other]).predicted((1024, 1024))
    assert chain.engines == ("direct", "direct")
    assert merge.time > 1.2 * chain.time  # transforms, or 25 taps, take longer than five taps in each of two
    chain, merge = merge_kernels([Layer(wide, stride=2), wide]).predicted((512, 512))
    assert chain.time < 1.5 * merge_kernels([wide, Layer(wide)]).predicted((512, 512))[0].time


# What Python hands over -----------------------------------------------------------------------------------------------


def test_arrays_and_generators_are_chains_too() -> None:
    first, second = taps_of((3, 2), 1), taps_of((2, 3), 2)
    wanted = merge_kernels([Layer(first), Layer(second)]).layer.kernel
    for chain in (
        [first, second],
        (k for k in (first, second)),
        [first.tolist(), Layer(second)],
        (Layer(first), second),
    ):
        np.testing.assert_array_equal(merge_kernels(chain).layer.kernel, wanted)


@pytest.mark.parametrize(
    "chain", [np.ones((2, 3, 3)), Layer(np.ones((3, 3))), "ab", 5, [[[1, 2], [3]], np.ones((2, 2))], ["a", "b"]]
)
def test_what_is_no_chain_is_refused(chain: Any) -> None:
    with pytest.raises(REFUSED) as refusal:
        merge_kernels(chain)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("grid", [(10.0, 10.0), 10, "99", (10, None), (True, "a"), (10**30, 10), [[9], [9]]])
def test_grids_that_are_none_are_refused(grid: Any) -> None:
    merged = merge_kernels([np.ones((3, 3)), np.ones((3, 3))], boundary="zero")
    for method in (merged.differing, merged.marks, merged.is_exact):
        with pytest.raises(SettingError):
            method(grid)


@pytest.mark.parametrize(
    ("how", "says"), [({"padding": ((1, 2),)}, "padding 1:2 has"), ({"stride": (2, 2, 2)}, "stride 2,2,2 has")]
)
def test_settings_for_other_axes_are_spelled_as_they_are_typed(how: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        merge_kernels([Layer(taps_of((3, 3))), Layer(taps_of((3, 3)), **how)])
