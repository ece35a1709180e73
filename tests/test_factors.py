"""What is made of an operator alone, and kept for the images of a batch: made once, right, and for many threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from convtool import deconvolution, model, process
from convtool.cli.kept import Kept
from convtool.deconvolution.solvers import capacitance, filters, one_step, periodic
from convtool.kernel import Kernel
from convtool.observation import observe
from convtool.operators import Convolution

GRID = (15, 18)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 1.0, shape)


def kernel(channels: int) -> np.ndarray:
    k = 0.1 * noise((channels, channels, 3, 4), 7)
    k[range(channels), range(channels), 1, 2] += 2
    return k if channels > 1 else k[0, 0]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each kind of factors was made."""
    counts: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        function = getattr(module, name)

        def counted(*arguments: Any, **settings: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **settings)

        monkeypatch.setattr(module, name, counted)

    count(filters, "decompose")
    count(periodic, "inverse")
    count(one_step, "by_capacitance")
    return counts


def solver(channels: int, method: str, **settings: Any) -> Callable[[int], np.ndarray]:
    """The solution of the problem with this number, through one operator."""
    shape = (channels, *GRID) if channels > 1 else GRID
    built = model.build(noise(shape), kernel(channels), is_data=True, **settings)

    def solved(number: int) -> np.ndarray:
        y = built.operator.forward(built.canonical(noise(shape, number)))
        seen = observe(built, built.restore(y), settings.get("boundary", "periodic"))
        return deconvolution.solve(built, seen, method).x

    return solved


@pytest.mark.parametrize("method", ["tikhonov", "wiener", "pinv", "least-squares", "auto"])
@pytest.mark.parametrize("channels", [1, 3])
def test_factors_are_made_once_and_solve_as_before(made: Counter[str], channels: int, method: str) -> None:
    alone = [solver(channels, method)(number) for number in range(4)]
    before = Counter(made)
    process.policy.keep = Kept(is_batch=True).of_shape
    solve = solver(channels, method)
    found = [solve(number) for number in range(4)]
    for one, other in zip(alone, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12 * np.abs(one).max())
    if channels > 1:
        assert all(made[what] - before[what] <= 1 for what in made), made - before
        assert sum((made - before).values()) >= 1
    else:  # it takes less time than memory
        assert made["decompose"] == 2 * before["decompose"]


def test_least_squares_at_a_border_is_factored_once(made: Counter[str]) -> None:
    settings = {"boundary": "zero"}
    method = deconvolution.least_squares.Options(solver="direct")
    alone = [solver(1, method, **settings)(number) for number in range(3)]
    assert made["by_capacitance"] == 3
    process.policy.keep = Kept(is_batch=True).of_shape
    solve = solver(1, method, **settings)
    for number, one in enumerate(alone):
        np.testing.assert_array_equal(solve(number), one)
    assert made["by_capacitance"] == 4


def test_reproducible_solutions_are_those_of_one_image() -> None:
    alone = [solver(3, "pinv")(number) for number in range(3)]
    process.policy.keep, process.policy.reproducible = Kept(is_batch=True).of_shape, True
    solve = solver(3, "pinv")
    for number, one in enumerate(alone):
        np.testing.assert_array_equal(solve(number), one)


def test_many_threads_may_solve_by_the_same_factors() -> None:
    """LAPACK's wrapper changes the pivots while it works."""
    taps = Kernel(kernel(1)[None, None, None], (1, 2))
    operator = Convolution.build(taps, (24, 30), 1, boundary="zero")
    factors = capacitance.factor(operator)
    assert factors is not None
    images = [operator.forward(noise((1, 1, 24, 30), number)) for number in range(8)] * 40
    expected = [capacitance.solve(factors, y).x for y in images[:8]]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(lambda y: capacitance.solve(factors, y).x, images)):
            np.testing.assert_array_equal(found, expected[number % 8])
