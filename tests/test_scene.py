"""Scenes of iterative methods: forward models, adjoints, differences, normal equations, against dense algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convtool
from convtool import model
from convtool.deconvolution.solvers import scene as scenes
from convtool.deconvolution.solvers.folded import Folded
from convtool.deconvolution.solvers.torus import Torus
from convtool.observation import Rounding, observe

UNCHANGED = Rounding.to(np.dtype(np.uint8))  # 8-bit data: their unit is 1
PLANE = np.random.default_rng(1).random((3, 4)) * [[1], [2], [0.5]]
MIXING = np.random.default_rng(2).normal(size=(2, 3, 3, 2))
BLUR = np.array([[0.0, 1, 2], [1, 5, 3], [0, 2, 1]]) * 0.3

CASES: list[tuple[str, tuple[int, ...], np.ndarray, dict[str, Any]]] = [
    ("periodic", (9, 8), PLANE, {"boundary": "periodic"}),
    ("unknown", (9, 8), PLANE, {"boundary": "unknown"}),
    ("unknown, correlate", (9, 8), PLANE, {"boundary": "unknown", "operation": "correlate"}),
    ("unknown, colour, dilated", (2, 9, 8), PLANE, {"boundary": "unknown", "dilation": 2}),
    ("mixing", (2, 7, 8), MIXING, {"boundary": "unknown"}),
    ("mixing, periodic", (2, 7, 8), MIXING, {"boundary": "periodic"}),
    ("volume", (3, 4, 5), PLANE[None].repeat(2, 0), {"boundary": "unknown", "axes": "ZYX", "kernel_axes": "ZYX"}),
    ("stride", (5, 4), PLANE, {"boundary": "periodic", "stride": 2, "shape": (9, 8)}),
    ("valid", (9, 8), PLANE, {"boundary": "zero", "padding": "valid"}),
    *((mode, (9, 8), PLANE, {"boundary": mode}) for mode in ("zero", "edge", "reflect", "symmetric")),
    ("full", (9, 8), PLANE, {"boundary": "zero", "padding": "full"}),
    ("mirrored stride", (5, 4), PLANE, {"boundary": "symmetric", "stride": 2, "shape": (9, 8)}),
]


def built(shape: tuple[int, ...], kernel: np.ndarray, how: dict[str, Any]) -> tuple[model.Model, np.ndarray]:
    y = np.random.default_rng(3).random(shape) + 1
    return model.build(y, kernel, is_data=True, **how), y


def scene_of(shape: tuple[int, ...], kernel: np.ndarray, how: dict[str, Any], mask: Any = None) -> scenes.Scene:
    model_, y = built(shape, kernel, how)
    return scenes.of(observe(model_, y, how["boundary"], mask, UNCHANGED))


@pytest.mark.parametrize(("name", "shape", "kernel", "how"), CASES, ids=[case[0] for case in CASES])
def test_a_scene_is_its_operator_in_its_own_units(
    name: str, shape: tuple[int, ...], kernel: np.ndarray, how: dict[str, Any]
) -> None:
    model_, y = built(shape, kernel, how)
    scene = scene_of(shape, kernel, how)
    x = np.random.default_rng(4).normal(size=scene.shape)
    inside = scene.leave(x)
    assert inside.shape == model_.operator.in_shape
    expected = model_.operator.forward(inside)
    seen = scene.forward(x) if scene.weights is None else scene.forward(x)[scene.weights > 0]
    np.testing.assert_allclose(seen.ravel(), expected.ravel(), atol=1e-12)
    shown = scene.data if scene.weights is None else scene.data[scene.weights > 0]
    np.testing.assert_allclose(shown.ravel(), y.ravel())


@pytest.mark.parametrize(("name", "shape", "kernel", "how"), CASES, ids=[case[0] for case in CASES])
def test_adjoints_are_exact(name: str, shape: tuple[int, ...], kernel: np.ndarray, how: dict[str, Any]) -> None:
    scene = scene_of(shape, kernel, how)
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=scene.shape), rng.normal(size=scene.data.shape)
    d = rng.normal(size=(len(scene.shape) - 1, *scene.shape))
    assert np.vdot(scene.forward(x), y) == pytest.approx(np.vdot(x, scene.adjoint(y)))
    assert np.vdot(scene.gradient(x), d) == pytest.approx(np.vdot(x, scene.gradient_adjoint(d)))


@pytest.mark.parametrize(("name", "shape", "kernel", "how"), CASES, ids=[case[0] for case in CASES])
def test_normal_equations_are_solved(
    name: str, shape: tuple[int, ...], kernel: np.ndarray, how: dict[str, Any]
) -> None:
    scene = scene_of(shape, kernel, how)
    rng = np.random.default_rng(6)
    y, z = rng.normal(size=scene.data.shape), rng.normal(size=scene.shape)
    n = int(np.prod(scene.shape))
    A = np.stack([scene.forward(e.reshape(scene.shape)).ravel() for e in np.eye(n)], 1)
    D = np.stack([scene.gradient(e.reshape(scene.shape)).ravel() for e in np.eye(n)], 1)
    for beta, gamma in ((0.1, 0.0), (0.03, 0.5), (0.0, 0.2)):
        # Three channels from two: their constant is not determined, and the one of least norm is given.
        inverse = np.linalg.pinv(A.T @ A + beta * D.T @ D + gamma * np.eye(n), rcond=1e-12)
        expected = inverse @ (A.T @ y.ravel() + z.ravel())
        x, blurred = scene.least_squares(y, z, beta, gamma, np.zeros(scene.shape))
        allowed = 1e-8 if isinstance(scene, Torus) else 2e-3
        assert np.linalg.norm(x.ravel() - expected) < allowed * np.linalg.norm(expected)
        np.testing.assert_allclose(blurred, scene.forward(x), atol=1e-10)
    r = scene.precondition(z, 0.3)
    if isinstance(scene, Torus):
        np.testing.assert_allclose((A.T @ A + 0.3 * np.eye(n)) @ r.ravel(), z.ravel(), atol=1e-10)


def test_spacing_divides_the_differences() -> None:
    for boundary in ("unknown", "symmetric"):
        model_, y = built((9, 8), PLANE, {"boundary": boundary})
        observations = [observe(model_, y, boundary, None, UNCHANGED, h) for h in (None, (3, 1.5))]
        plain, spaced = map(scenes.of, observations)
        x = np.random.default_rng(7).normal(size=plain.shape)
        np.testing.assert_allclose(spaced.gradient(x), plain.gradient(x) / np.array([2, 1]).reshape(2, 1, 1, 1))


def test_a_constant_starts_as_itself_over_the_kernels_sum() -> None:
    for boundary in ("periodic", "unknown", "edge", "reflect", "symmetric"):
        model_, _ = built((9, 8), PLANE, {"boundary": boundary})
        mask = np.ones((9, 8))
        mask[2:5, 1:7] = 0
        scene = scenes.of(observe(model_, np.full((9, 8), 7.0), boundary, mask, UNCHANGED))
        np.testing.assert_allclose(scene.leave(scene.start()), 7 / PLANE.sum())


@pytest.mark.parametrize("boundary", ["periodic", "unknown", "zero", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize(
    "kernel",
    [
        -2 * PLANE,
        np.array([[0, -1.0, 0], [-1, 4.3, -1], [0, -1, 0]]),
        np.stack([PLANE, 0.05 * PLANE, -PLANE]),
        np.random.default_rng(9).normal(size=(3, 3, 2, 3)) + 2 * np.eye(3)[..., None, None],
        np.random.default_rng(9).normal(size=(4, 3, 2, 3)),
    ],
    ids=["negative", "faint", "apart", "mixing", "tall"],
)
def test_every_constant_starts_as_itself(boundary: str, kernel: np.ndarray) -> None:
    """Whatever the sums of the windows are: of either sign, small, different by channel, or matrices."""
    channels = 1 if kernel.ndim == 2 else 3
    x = np.array([3.0, 5, 7])[:channels, None, None] * np.ones((channels, 9, 8))
    y = convtool.convolve(x, kernel, boundary="periodic")
    model_, _ = built(y.shape, kernel, {"boundary": boundary, "axes": "CYX"})
    scene = scenes.of(observe(model_, y, boundary, None, UNCHANGED))
    if boundary != "zero":
        expected = np.broadcast_to(x[:, :1, :1], model_.operator.in_shape)
        np.testing.assert_allclose(scene.leave(scene.start()), expected, rtol=1e-5)


def test_the_start_lies_where_the_image_does() -> None:
    """The data of a picture, as the first guess, are not shifted against it."""
    x = np.zeros((19, 18))
    x[9, 8] = 1
    for boundary in ("periodic", "unknown", "zero", "symmetric"):
        for kernel in (BLUR, np.pad(BLUR, ((0, 1), (2, 0)))):
            y = convtool.convolve(x, kernel, boundary="periodic")
            model_, _ = built((19, 18), kernel, {"boundary": boundary})
            observation = observe(model_, y, boundary, None, UNCHANGED)
            start = model_.framed(scenes.of(observation).leave(scenes.of(observation).start())[None])
            np.testing.assert_allclose(start * kernel.sum(), y, atol=1e-12)


def test_what_does_not_count_is_nothing() -> None:
    mask = np.ones((9, 8), bool)
    mask[3, 4] = False
    for boundary, kind in (("unknown", Torus), ("periodic", Torus), ("symmetric", Folded)):
        model_, y = built((9, 8), PLANE, {"boundary": boundary})
        observations = [observe(model_, np.where(mask, y, lost), boundary, mask, UNCHANGED) for lost in (0.0, 1e9)]
        first, second = map(scenes.of, observations)
        assert isinstance(first, kind)
        np.testing.assert_array_equal(first.data, second.data)
        np.testing.assert_array_equal(first.start(), second.start())
