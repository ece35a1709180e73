"""The transforms: what they compute, with either library, and the rules by which sizes and threads are chosen.

The oracle is the sum that defines the transform, as one dense matrix an axis, and scipy.fft where that is too large.
"""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.fft
from command import environment

from convtool import fft, libraries, process
from convtool.errors import SettingError

SMALL = [
    (1,),
    (2,),
    (7,),
    (12,),
    (31,),
    (1, 1),
    (5, 1),
    (1, 6),
    (6, 5),
    (7, 8),
    (13, 11),
    (3, 4, 5),
    (4, 3, 6),
    (2, 5, 1),
]
LARGE = [(4096,), (4099,), (4235,), (64, 64), (61, 71), (4200, 1), (1, 4097), (16, 16, 16), (13, 17, 19), (15, 14, 22)]
TOLERANCE = {"float32": 3e-6, "float64": 2e-14}


@pytest.fixture(autouse=True)
def _no_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVTOOL_THREADS", raising=False)


def spectrum(x: np.ndarray, axes: int) -> np.ndarray:
    """sum_x x exp(-2 pi i f.x / n) over the trailing axes, in double precision, the half of the last axis."""
    x = x.astype(np.complex128)
    for axis in range(x.ndim - axes, x.ndim):
        n = x.shape[axis]
        if n > 300:
            x = scipy.fft.fft(x, axis=axis)
            continue
        turns = np.outer(np.arange(n), np.arange(n)) % n / n
        x = np.moveaxis(np.tensordot(np.exp(-2j * np.pi * turns), x, (1, axis)), 0, axis)
    return x[..., : x.shape[-1] // 2 + 1]


def data(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, shape).astype(dtype)


def unaligned(x: np.ndarray) -> np.ndarray:
    """The same values where no vector instruction wants them: one item past a multiple of 64 bytes."""
    store = np.empty(x.nbytes + 128, np.uint8)
    first = -store.ctypes.data % 64 + x.itemsize
    out = store[first : first + x.nbytes].view(x.dtype).reshape(x.shape)
    out[...] = x
    assert out.ctypes.data % 64 == x.itemsize
    return out


def strided(x: np.ndarray) -> np.ndarray:
    wide = np.repeat(x, 2, axis=-1)
    wide[..., 1::2] = np.nan
    return wide[..., ::2]


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda x: x,
    "unaligned": unaligned,
    "strided": strided,
    "fortran": np.asfortranarray,
    "reversed": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
}


def close(found: np.ndarray, expected: np.ndarray, dtype: str) -> None:
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= TOLERANCE[dtype] * np.linalg.norm(expected)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have all transforms from one library."""
    return lambda name: monkeypatch.setattr(fft, "library", lambda *_: name)


# What a transform computes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("shape", SMALL + LARGE)
@pytest.mark.parametrize("library", ["numpy", "scipy", "fftw"])
def test_forward_is_the_sum_and_inverse_undoes_it(
    shape: tuple[int, ...], lead: tuple[int, ...], dtype: str, library: str, use: Callable[[str], None]
) -> None:
    use(library)
    x, transform = data((*lead, *shape), dtype), fft.transform(shape, np.dtype(dtype))
    X = transform.forward(x)
    assert X.dtype == np.result_type(dtype, np.complex64)
    assert X.shape == (*lead, *fft.half(shape))
    close(X, spectrum(x, len(shape)), dtype)
    back = transform.inverse(X)
    assert back.dtype == dtype
    close(back, x, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(9, 10), (61, 71), (64, 68)])
@pytest.mark.parametrize("library", ["numpy", "scipy", "fftw"])
def test_any_layout_in_memory(
    shape: tuple[int, ...], dtype: str, layout: str, library: str, use: Callable[[str], None]
) -> None:
    use(library)
    x, transform = data((2, *shape), dtype, 1), fft.transform(shape, np.dtype(dtype))
    laid = LAYOUTS[layout](x)
    X = transform.forward(laid)
    close(X, spectrum(x, 2), dtype)
    np.testing.assert_array_equal(laid, x)
    close(transform.inverse(LAYOUTS[layout](X)), x, dtype)


@pytest.mark.parametrize("shape", [(9, 10), (64, 68)])
@pytest.mark.parametrize("library", ["numpy", "scipy", "fftw"])
def test_results_own_their_memory_and_inputs_are_kept(
    shape: tuple[int, ...], library: str, use: Callable[[str], None]
) -> None:
    use(library)
    transform = fft.transform(shape, np.dtype("f8"))
    inputs = [data((2, *shape), "float64", seed) for seed in (0, 1)]
    for x in inputs:
        x.setflags(write=False)
    results = [transform.forward(x) for x in inputs]
    copies = [X.copy() for X in results]
    backs = [transform.inverse(X.copy()) for X in results]
    kept = [x.copy() for x in backs]
    transform.inverse(transform.forward(data((2, *shape), "float64", 2)))
    for now, before in zip(results + backs, copies + kept, strict=True):
        np.testing.assert_array_equal(now, before)
    assert not np.shares_memory(results[0], results[1])
    assert not np.shares_memory(backs[0], backs[1])
    assert all(array.flags.writeable for array in results + backs)


@pytest.mark.parametrize("shape", [(64, 68), (61, 71)])
@pytest.mark.parametrize("library", ["numpy", "scipy", "fftw"])
def test_inverse_of_any_spectrum_is_that_of_a_real_array(
    shape: tuple[int, ...], library: str, use: Callable[[str], None]
) -> None:
    """Filters may leave imaginary parts where a real array has none; all libraries must ignore them alike."""
    use(library)
    rng = np.random.default_rng(3)
    X = rng.normal(size=fft.half(shape)) + 1j * rng.normal(size=fft.half(shape))
    found = fft.transform(shape, np.dtype("f8")).inverse(X.copy())
    close(found, scipy.fft.irfftn(X, shape), "float64")


def test_a_transform_is_planned_once(use: Callable[[str], None]) -> None:
    use("fftw")
    assert fft.transform((64, 68), np.dtype("f4")) is fft.transform([64, 68], np.float32)  # type: ignore[arg-type]
    assert fft.transform((64, 68), np.dtype("f4")) is not fft.transform((64, 68), np.dtype("f8"))


@pytest.mark.parametrize("library", ["numpy", "scipy", "fftw"])
def test_many_threads_may_use_one_transform(library: str, use: Callable[[str], None]) -> None:
    use(library)
    shape, dtype = (120, 130), np.dtype("f4")
    transform = fft.transform(shape, dtype)
    inputs = [data((2, *shape), "float32", seed) for seed in range(8)]
    expected = [spectrum(x, 2) for x in inputs]

    def there_and_back(i: int) -> bool:
        X = transform.forward(inputs[i % 8])
        right = np.abs(X - expected[i % 8]).max() < 1e-2
        return bool(right and np.abs(transform.inverse(X) - inputs[i % 8]).max() < 1e-4)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(400)))


@pytest.mark.parametrize("library", ["scipy", "fftw"])
def test_more_threads_give_the_same(library: str, use: Callable[[str], None]) -> None:
    use(library)
    shape = (768, 770)
    x = data(shape, "float64")
    process.policy.threads = 3
    three = fft.transform(shape, np.dtype("f8"))
    process.policy.threads = 1
    assert fft.transform(shape, np.dtype("f8")) is not three
    close(three.forward(x), fft.transform(shape, np.dtype("f8")).forward(x), "float64")
    close(three.forward(x), spectrum(x, 2), "float64")


# Sizes and frequencies ------------------------------------------------------------------------------------------------


def is_smooth(n: int) -> bool:
    for factor in (2, 3, 5, 7):
        while n % factor == 0:
            n //= factor
    return n == 1


def test_fast_length_is_the_next_smooth_number() -> None:
    for first, last in [(1, 4000), (9990, 10010), (65500, 65600), (1_000_001, 1_000_050)]:
        for n in range(first, last):
            expected = n
            while not is_smooth(expected):
                expected += 1
            assert fft.fast_length(n) == expected, n


def test_cost_is_n_log_n_and_dearer_for_large_primes() -> None:
    assert fft.cost((4096,)) == pytest.approx(4096 * 12)
    assert fft.cost((64, 32)) == pytest.approx(64 * 32 * 11)
    assert fft.cost((60, 70)) == pytest.approx(60 * 70 * math.log2(60 * 70))
    for prime, smooth in [(17, 18), (251, 252), (1021, 1024), (4099, 4116), (99991, 100000)]:
        assert fft.cost((prime,)) > 2 * fft.cost((smooth,))
        assert fft.cost((prime, 64)) > fft.cost((smooth, 64))
    assert fft.cost((11 * 13, 8)) < fft.cost((144, 8))  # 11 and 13 have code of their own
    assert fft.cost((3, 1)) == fft.cost((1, 3)) > fft.cost((1, 1)) == 0


@pytest.mark.parametrize("shape", [(1,), (2,), (8,), (9,), (5, 6), (6, 7), (3, 4, 5), (3, 5, 4), (4, 1)])
def test_multiplicity_counts_the_full_spectrum(shape: tuple[int, ...]) -> None:
    counts = fft.multiplicity(shape)
    assert counts.shape == fft.half(shape)[-1:]
    assert counts.sum() * math.prod(shape[:-1]) == math.prod(shape)
    x = data(shape, "float64")
    half, full = (np.square(np.abs(X)) for X in (spectrum(x, len(shape)), scipy.fft.fftn(x)))
    assert (half * counts).sum() == pytest.approx(full.sum(), rel=1e-12)


@pytest.mark.parametrize("shape", [(1,), (8,), (9,), (5, 6), (6, 7), (3, 4, 5)])
def test_angular_frequencies_are_those_of_the_transform(shape: tuple[int, ...]) -> None:
    omega = fft.angular_frequencies(shape)
    assert np.broadcast_shapes(*(w.shape for w in omega)) == fft.half(shape)
    for axis, (n, w) in enumerate(zip(shape, omega, strict=True)):
        assert w.size == w.shape[axis] == fft.half(shape)[axis]
        expected = 2 * np.pi * np.fft.fftfreq(n)[: w.size]
        np.testing.assert_allclose(np.exp(1j * w.ravel()), np.exp(1j * expected), atol=1e-14)  # pi and -pi are one
        assert np.abs(w).max() <= np.pi
        shifted = scipy.fft.rfftn(np.roll(data(shape, "float64"), 1, axis))
        np.testing.assert_allclose(shifted, scipy.fft.rfftn(data(shape, "float64")) * np.exp(-1j * w), atol=1e-12)


# Which library, and how many threads ----------------------------------------------------------------------------------


def test_the_library_follows_from_the_sizes() -> None:
    assert [fft.library(shape) for shape in [(63, 65), (64, 64), (4095,), (16, 16, 16)]] == ["numpy", "scipy"] * 2
    process.policy.one_shot = True
    assert fft.library((64, 64)) == fft.library((512, 512)) == "numpy"
    assert fft.library((4096, 4096)) == fft.library((512, 512), uses=1000) == "scipy"
    assert fft.library((16, 16), uses=10**9) == "numpy"
    # A pair of transforms of 3000 x 3000 takes numpy about as long as importing scipy.fft takes.
    assert [fft.library((n, n)) for n in (1000, 2000, 4000, 6000)] == ["numpy", "numpy", "scipy", "scipy"]


def test_the_library_does_not_depend_on_what_ran_before() -> None:
    process.policy.one_shot = True
    shapes = [(64, 64), (512, 512), (3000, 3000)]
    before = [fft.library(shape) for shape in shapes]
    process.policy.one_shot = False
    fft.transform((64, 68), np.dtype("f8")).forward(np.ones((64, 68)))
    process.policy.one_shot = True
    assert "scipy.fft" in sys.modules
    assert [fft.library(shape) for shape in shapes] == before
    assert type(fft.transform((64, 68), np.dtype("f8"))) is fft.RealTransform


def python(code: str, **changes: str) -> str:
    """Standard output of a new interpreter, which must succeed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(**changes))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_small_work_does_not_pay_for_other_libraries() -> None:
    code = "import sys, numpy as np\nfrom convtool import fft, process\nprocess.policy.one_shot = {}\n"
    code += "fft.transform((300, 200), np.dtype('f4')).forward(np.ones((300, 200), 'f4'))\n"
    code += "print('scipy.fft' in sys.modules, 'pyfftw' in sys.modules)"
    assert [python(code.format(one_shot)) for one_shot in (True, False)] == ["False False", "True False"]


def test_threads_are_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process.threads() == process.usable_cpus() >= 1
    for text, expected in [("5", 5), ("", process.usable_cpus()), ("0", process.usable_cpus())]:
        monkeypatch.setenv("CONVTOOL_THREADS", text)
        assert process.threads() == expected
    monkeypatch.setenv("CONVTOOL_THREADS", "5")
    process.policy.threads = 3
    assert process.threads() == 3


def test_threads_that_are_no_number_are_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVTOOL_THREADS", "many")
    with pytest.raises(SettingError, match=r"CONVTOOL_THREADS.*many"):
        process.threads()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the platform has no affinity masks")
def test_threads_keep_to_the_affinity_mask() -> None:
    code = "import os\nfrom convtool import process\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert python(code + "print(process.usable_cpus(), process.threads())") == "1 1"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("max 100000\n", 12),
        ("400000 100000\n", 4),
        ("150000 100000\n", 2),
        ("20000 100000\n", 1),
        ("9900000 100000\n", 12),
        ("", 12),
        ("junk\n", 12),
        ("1 2 3\n", 12),
        ("one two\n", 12),
        (None, 12),
    ],
)
def test_threads_keep_to_the_containers_quota(
    monkeypatch: pytest.MonkeyPatch, content: str | None, expected: int
) -> None:
    def opened(name: str) -> io.StringIO:
        assert name == "/sys/fs/cgroup/cpu.max"
        if content is None:
            raise FileNotFoundError(name)
        return io.StringIO(content)

    monkeypatch.setattr(process, "open", opened, raising=False)
    monkeypatch.setattr(process, "_quota", process._quota.__wrapped__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    assert process.usable_cpus() == expected


# Wisdom ---------------------------------------------------------------------------------------------------------------

GRID, DTYPE = (66, 70), np.dtype("f4")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Start FFTW anew, as a process does: without wisdom and plans, but for what `load` offers it."""
    import pyfftw

    def begin(load: Callable[[str], bytes | None] | None = None) -> None:
        fft._planned.cache_clear()
        fft._pyfftw.cache_clear()
        pyfftw.forget_wisdom()
        process.policy.load_wisdom = load

    yield begin
    begin()


def learned() -> set[bytes]:
    return {line for line in fft.export_wisdom().splitlines() if b"_register" in line or b"codelet" in line}


def right() -> bool:
    x = data(GRID, "float32")
    transform = fft._planned(GRID, DTYPE, 1)
    close(transform.inverse(transform.forward(x)), x, "float32")
    close(transform.forward(x), spectrum(x, 2), "float32")
    return True


def wisdom_only() -> bool:
    """Whether FFTW can plan the grid by measurement without measuring."""
    import pyfftw

    fft.library_version()
    arrays = pyfftw.empty_aligned(GRID, "f4", n=64), pyfftw.empty_aligned(fft.half(GRID), "c8", n=64)
    flags = ("FFTW_MEASURE", "FFTW_WISDOM_ONLY")
    try:
        pyfftw.FFTW(*arrays, axes=(0, 1), flags=flags, threads=1)
    except RuntimeError:
        return False
    return True


def test_measured_plans_live_on_in_another_process(fresh: Callable[..., None]) -> None:
    fresh()
    assert not wisdom_only()
    assert right()
    assert not wisdom_only()  # estimated plans are not taken for measured ones
    fft.measure(GRID, "f4")
    assert wisdom_only()
    blob = fft.export_wisdom()
    asked: list[str] = []

    def load(version: str) -> bytes:
        asked.append(version)
        return blob

    fresh(load)
    assert wisdom_only()
    assert asked == [fft.library_version()]
    assert learned() >= {line for line in blob.splitlines() if b"_register" in line or b"codelet" in line} != set()
    assert right()


def test_the_library_is_the_one_that_was_faster_when_it_was_measured(
    fresh: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh()
    found = fft.measure(GRID, "f4")
    assert found.keys() == {"66x70 float32"}
    assert set(found.values()) < {"scipy", "fftw"}
    for slow, fast in [(fft._FFTWTransform, "scipy"), (fft._ScipyTransform, "fftw")]:
        with monkeypatch.context() as patch:
            patch.setattr(slow, "forward", lambda self, x, right=slow.forward: (time.sleep(0.02), right(self, x))[1])
            assert fft.measure(GRID, "f4") == {"66x70 float32": fast}
        blob = libraries.as_bytes({"66x70 float32": fast, "9x9 float32": "numpy"})
        fresh(lambda name, blob=blob: blob if name == libraries.wisdom_name(process.threads()) else None)
        assert fft.library(GRID, 2, DTYPE) == fast
        assert fft.library(GRID, 2, np.dtype("f8")) == "scipy"
        assert libraries.learned() == {"66x70 float32": fast}
        assert isinstance(fft.transform(GRID, DTYPE), fft._FFTWTransform) == (fast == "fftw")
    for blob in (b"", b"junk", b"[1]", b'"fftw"'):
        fresh(lambda name, blob=blob: blob)
        assert libraries.learned() == {}


def test_damaged_wisdom_is_ignored(fresh: Callable[..., None]) -> None:
    fresh()
    fft.measure(GRID, "f4")
    good = fft.export_wisdom()
    parts = good.split(b"\0")
    damaged = [b"", b"junk", b"\0".join([b"x"] * len(parts)), good[: len(good) // 2], b"\0".join(parts[:1])]
    damaged += [b"\0" * 50, bytes(range(256)) * 4, b"\0".join(part.replace(b"(", b"[") for part in parts)]
    for blob in [None, *damaged]:
        fresh(lambda version, blob=blob: blob)
        assert not wisdom_only()
        assert right()


def test_the_version_names_both_libraries() -> None:
    import pyfftw

    assert fft.library_version() == f"pyfftw-{pyfftw.__version__}-fftw-{pyfftw.fftw_version}"
    assert not set(fft.library_version()) & set(" /\\\n")
