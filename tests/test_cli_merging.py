"""`convtool merge-kernels`, `convtool split-kernel` and the settings beside a kernel, as commands on real files.

Nothing expected here comes from convtool: merged taps are sums written out (`merged`), layers are `oracles.apply_loop`,
and what the sidecar says is checked by running the chain of commands that the merge stands for. Taps are integers
where results must be equal to the last bit.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import oracles
import pytest
import scipy.ndimage
import scipy.signal
from command import contents, notes, refused, report, run, succeed, value

RNG = np.random.default_rng(33)
K1 = np.array([[1.0, -2.0], [3.0, 1.0], [2.0, -1.0]])
K2 = np.array([[2.0, 1.0, -1.0], [-1.0, 0.0, 3.0]])
DIFFERENCE, ONES = np.tile([1.0, 0.0, -1.0], (3, 1)), np.ones((3, 3))
SETTINGS = ("operation", "boundary", "kernel_axes", "stride", "padding", "dilation", "origin", "groups", "bias")
SIDE = ("--operation", "correlate", "--boundary", "zero")
UNKNOWN = 13  # a format number that no convtool has written yet


def taps(*shape: int) -> np.ndarray:
    """Lopsided integer taps, none of them zero."""
    return RNG.integers(1, 5, shape) * RNG.choice([-1.0, 1.0], shape)


def save(folder: Path, **arrays: np.ndarray | Sequence[float]) -> None:
    """Write arrays as NAME.npy."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with two kernels, a.npy and b.npy, and an image x.npy."""
    save(tmp_path, a=K1, b=K2, x=RNG.integers(0, 9, (7, 9)).astype(float))
    return tmp_path


def merged(first: np.ndarray, second: np.ndarray, d1: int = 1, gap: int = 1) -> np.ndarray:
    """k[o, i, m1 d1 + m2 gap] = sum of k2[o, c, m2] k1[c, i, m1], one pair of taps after another; gap = s1 d2."""
    sizes = [(n - 1) * d1 + (m - 1) * gap + 1 for n, m in zip(first.shape[2:], second.shape[2:], strict=True)]
    out = np.zeros((second.shape[0], first.shape[1], *sizes))
    for m1 in np.ndindex(first.shape[2:]):
        for m2 in np.ndindex(second.shape[2:]):
            at = tuple(a * d1 + b * gap for a, b in zip(m1, m2, strict=True))
            out[(..., *at)] += second[(..., *m2)] @ first[(..., *m1)]
    return out


def sidecar(kernel: Path) -> dict[str, Any]:
    """What is written beside a kernel."""
    found: dict[str, Any] = json.loads(Path(f"{kernel}.json").read_text())
    return found


def accompany(kernel: Path, **changes: Any) -> None:
    """Write a sidecar by hand: that of a correlation with zeros outside and lopsided padding."""
    rank = np.load(kernel).ndim
    content = {"convtool_kernel": 1, "sha256": hashlib.sha256(kernel.read_bytes()).hexdigest()}
    content |= {"operation": "correlate", "boundary": "zero", "kernel_axes": "ZYX"[-rank:], "stride": [2, 1]}
    content |= {"padding": [[1, 2], [0, 1]], "dilation": [1, 2], "origin": [1, 1], "groups": 1, "bias": None}
    Path(f"{kernel}.json").write_text(json.dumps(content | changes))


# Exact merges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [[(3, 2), (2, 3)], [(2, 3, 2), (1, 2, 3)], [(3, 3), (1, 4), (2, 2)]])
def test_periodic_merge_is_the_full_convolution(tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    kernels = [taps(*shape) for shape in shapes]
    save(tmp_path, **{f"k{i}": kernel for i, kernel in enumerate(kernels)})
    axes = "ZYX"[-kernels[0].ndim :]
    names = [tmp_path / f"k{i}.npy" for i in range(len(kernels))]
    options = ["--kernel-axes", axes] if len(axes) == 3 else []
    outcome = succeed("merge-kernels", *names, "-o", tmp_path / "m.npy", *options)
    expected = kernels[0]
    for kernel in kernels[1:]:
        expected = scipy.signal.convolve(expected, kernel, method="direct")
    assert outcome.stdout == b""
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), expected)
    found = sidecar(tmp_path / "m.npy")
    assert found["sha256"] == hashlib.sha256((tmp_path / "m.npy").read_bytes()).hexdigest()
    origin = [sum(n // 2 for n in lengths) for lengths in zip(*shapes, strict=True)]
    one = [1] * len(axes)
    assert [found[name] for name in SETTINGS] == ["convolve", "periodic", axes, one, "same", one, origin, 1, None]
    assert {*contents(tmp_path)} == {*(name.name for name in names), "m.npy", "m.npy.json"}


CHAINS: dict[str, tuple[str, str, list[np.ndarray], list[dict[str, Any]]]] = {
    "a first stride and dilation, then no padding": (
        "correlate",
        "edge",
        [taps(2, 3, 3, 2), taps(4, 1, 2, 2)],
        [{"stride": 2, "padding": 1, "dilation": 2}, {"dilation": 3, "padding": 0, "groups": 2, "bias": [1, -2, 3, 5]}],
    ),
    "enough zeros, then any stride and padding": (
        "convolve",
        "zero",
        [taps(3, 2), taps(2, 3)],
        [{"padding": 2}, {"stride": 2, "padding": 1}],
    ),
    "periodic, biased, off centre": (
        "convolve",
        "periodic",
        [taps(2, 3, 2), taps(3, 3)],
        [{"origin": "first", "bias": [1.0, -3.0]}, {"origin": (2, 0), "bias": [2.0]}],
    ),
    "three kernels without padding": (
        "correlate",
        "reflect",
        [taps(2, 2), taps(2, 1), taps(1, 2)],
        [{"padding": "valid", "stride": 2}, {"padding": "valid"}, {"padding": "valid", "dilation": 2}],
    ),
}


def spelled(given: Any) -> str:
    return ",".join(map(str, given)) if isinstance(given, tuple) else str(given)


def channels_of(kernel: np.ndarray, how: dict[str, Any]) -> int:
    """Input channels of a kernel that has channels; 2 otherwise."""
    return {2: 2, 3: len(kernel)}.get(kernel.ndim, kernel.shape[1 if kernel.ndim == 4 else 0] * how.get("groups", 1))


def layer(operation: str, boundary: str, x: np.ndarray, kernel: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """A layer by the definition, on [n, c, *spatial]."""
    groups = how.get("groups", 1)
    if kernel.ndim < 4:
        groups = x.shape[1]
        kernel = np.broadcast_to(kernel, (groups, *kernel.shape[-2:]))[:, None]
    bias = how.get("bias")
    if bias is not None:
        bias = list(np.broadcast_to(bias, len(kernel)))
    settings = {name: how[name] for name in ("stride", "padding", "dilation", "origin") if name in how}
    return oracles.apply_loop(operation, x, kernel, groups=groups, boundary=boundary, bias=bias, **settings)


@pytest.mark.parametrize("case", CHAINS)
def test_merged_kernel_does_what_the_chain_of_commands_does(tmp_path: Path, case: str) -> None:
    operation, boundary, kernels, settings = CHAINS[case]
    x = RNG.integers(0, 9, (1, channels_of(kernels[0], settings[0]), 13, 16)).astype(float)
    save(tmp_path, x0=x[0], **{f"k{i}": kernel for i, kernel in enumerate(kernels)})
    names = [tmp_path / f"k{i}.npy" for i in range(len(kernels))]
    options: list[str | Path] = []
    for name in ("stride", "padding", "dilation", "origin", "groups"):
        plain = {"stride": 1, "padding": "same", "dilation": 1, "origin": "center", "groups": 1}[name]
        if any(name in how for how in settings):
            for how in settings:
                options += [f"--{name}", spelled(how.get(name, plain))]
    for i, how in enumerate(settings):
        if "bias" in how:
            save(tmp_path, **{f"bias{i}": np.array(how["bias"], float)})
    if any("bias" in how for how in settings):
        for i, how in enumerate(settings):
            options += ["--bias", tmp_path / f"bias{i}.npy" if "bias" in how else "none"]
    y = x
    for i, (kernel, how) in enumerate(zip(kernels, settings, strict=True)):
        y = layer(operation, boundary, y, kernel, how)
        one = [f"--{name}={spelled(given)}" for name, given in how.items() if name != "bias"]
        one += [f"--bias={tmp_path / f'bias{i}.npy'}"] if "bias" in how else []
        command = (operation, tmp_path / f"x{i}.npy", "-k", names[i], "-o", tmp_path / f"x{i + 1}.npy")
        succeed(*command, "--boundary", boundary, *one)
    words = ("--operation", operation, "--boundary", boundary)
    succeed("merge-kernels", *names, *words, *options, "-o", tmp_path / "m.npy")
    succeed(operation, tmp_path / "x0.npy", "-k", tmp_path / "m.npy", "-o", tmp_path / "y.npy")
    np.testing.assert_allclose(np.load(tmp_path / f"x{len(kernels)}.npy"), y[0], rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), y[0], rtol=1e-12, atol=1e-10)


def test_channels_contract_and_settings_multiply_out(tmp_path: Path) -> None:
    """Padding p1 + s1 p2, stride s1 s2, dilation 1, and taps spread by d1 and by s1 d2."""
    first, second = taps(4, 2, 3, 2), taps(3, 4, 2, 3)
    save(tmp_path, a=first, b=second)
    options = "--stride 2 --stride 3 --dilation 2 --dilation 1 --padding 1:2,3:4 --padding 0 --origin first"
    command = ("merge-kernels", tmp_path / "a.npy", tmp_path / "b.npy", "-o", tmp_path / "m.npy")
    succeed(*command, *SIDE, *options.split(), "--report", tmp_path / "r.json")
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), merged(first, second, 2, 2))
    found = sidecar(tmp_path / "m.npy")
    expected = ["correlate", "zero", "OIYX", [6, 6], [[1, 2], [3, 4]], [1, 1], [0, 0], 1, None]
    assert [found[name] for name in SETTINGS] == expected
    facts = report(tmp_path / "r.json")
    assert facts["kernel"]["shape"] == [3, 2, 7, 7]
    assert value(facts, "stride") == [2, 3]
    assert value(facts, "origin") == ["first", "first"]
    assert [value(facts, name) for name in ("operation", "boundary")] == ["correlate", "zero"]


def test_generated_kernels_merge(tmp_path: Path) -> None:
    """Two Gaussians of 2 px are one of 2 sqrt(2), but for the tails that both lack."""
    succeed("merge-kernels", "gaussian:sigma=2", "gaussian:sigma=2", "-o", tmp_path / "m.npy")
    found = np.load(tmp_path / "m.npy")
    t = np.arange(len(found)) - len(found) // 2
    line = np.exp(-(t**2) / 16)
    np.testing.assert_allclose(found, np.outer(line, line) / line.sum() ** 2, atol=1e-5)


def test_standard_output_takes_the_kernel_alone(here: Path) -> None:
    before = contents(here)
    outcome = succeed("merge-kernels", "a.npy", "b.npy", "-o", "-", cwd=here)
    np.testing.assert_array_equal(np.load(io.BytesIO(outcome.stdout)), scipy.signal.convolve(K1, K2))
    assert any("settings" in note for note in notes(outcome))
    assert contents(here) == before


def test_a_name_of_standard_output_is_standard_output(here: Path) -> None:
    by_sign = run("merge-kernels", "a.npy", "b.npy", "-o", "-", cwd=here)
    by_name = run("merge-kernels", "a.npy", "b.npy", "-o", "/dev/stdout", cwd=here)
    assert by_name == by_sign


def test_a_device_has_no_place_for_settings_beside_it(here: Path) -> None:
    outcome = succeed("merge-kernels", "a.npy", "b.npy", "-o", "/dev/null", cwd=here)
    assert any("/dev/null" in note for note in notes(outcome))
    assert not Path("/dev/null.json").exists()


def test_advice_counts_multiply_adds_or_transforms(tmp_path: Path) -> None:
    """1 - x^4 is cheaper merged, two of 5 scattered taps are not, and one transform is cheaper than two passes."""
    rng = np.random.default_rng(3)
    save(tmp_path, minus=np.array([[1, 0, -1]]), plus=np.array([[1, 0, 1]]), big=rng.normal(size=(41, 41)))
    for name in ("few", "other"):
        sparse = np.zeros(81)
        sparse[rng.choice(81, 5, replace=False)] = 1
        save(tmp_path, **{name: sparse.reshape(9, 9)})
    expected = {
        ("minus", "plus"): "use the merge",
        ("few", "other"): "keep the chain",
        ("big", "big"): "use the merge",
    }
    expected[("gaussian:sigma=2", "box:size=3")] = "use the merge"
    for kernels, advice in expected.items():
        names = [name if ":" in name else f"{name}.npy" for name in kernels]
        outcome = succeed(
            "merge-kernels", *names, "--image-shape", "1024,1024", "--report", "r.json", "-o", "m.npy", cwd=tmp_path
        )
        found = report(tmp_path / "r.json")["result"]
        assert found["advice"].endswith(advice) or f": {advice} " in found["advice"]
        assert "FFT" in found["advice"] or kernels[0] != "big"
        assert (found["merged_cost"] > found["chain_cost"]) == any(found["advice"] in note for note in notes(outcome))


# Inexact merges -------------------------------------------------------------------------------------------------------


def test_counter_example_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """A 3x3 image, no padding and then 2."""
    save(tmp_path, a=DIFFERENCE, b=ONES)
    (tmp_path / "m.npy").write_bytes(b"the user's")
    (tmp_path / "m.npy.json").write_bytes(b"the user's too")
    before = contents(tmp_path)
    command = ("merge-kernels", "a.npy", "b.npy", "-o", "m.npy", *SIDE, "--padding", "0", "--padding", "2")
    for more in ((), ("--image-shape", "3,3", "--mask", "mask.png")):
        outcome = run(*command, *more, cwd=tmp_path)
        assert (outcome.status, outcome.stdout) == (1, b"")
        assert any("not exact" in note for note in notes(outcome))
        assert len(notes(outcome)) == len(outcome.stderr.splitlines())
        assert contents(tmp_path) == before


def test_report_of_an_inexact_merge_says_where_and_what_it_costs(tmp_path: Path) -> None:
    save(tmp_path, a=DIFFERENCE, b=ONES)
    command = ("merge-kernels", "a.npy", "b.npy", "-o", "m.npy", *SIDE, "--padding", "1", "--image-shape", "9,11")
    assert run(*command, "--report", "r.json", cwd=tmp_path).status == 1
    facts = report(tmp_path / "r.json")
    assert facts["result"]["exact"] is False
    assert facts["result"]["border"] == [[1, 1], [1, 1]]
    assert (facts["result"]["chain_cost"], facts["result"]["merged_cost"]) == (6 + 9, 20)  # non-zero taps
    assert facts["result"]["reason"] in "".join(facts["notes"])
    assert any("20" in note and "15" in note for note in facts["notes"])
    assert "output" not in facts


def test_known_numbers(tmp_path: Path) -> None:
    """Padding 1 and 1 against 2 at once: about 2 at the border, rounding inside; padding 2 and 0 is exact."""
    save(tmp_path, a=RNG.normal(size=(3, 3)), b=RNG.normal(size=(3, 3)), x=RNG.normal(size=(16, 21)))
    command = ("merge-kernels", "a.npy", "b.npy", "-o", "m.npy", *SIDE, "--verify", "x.npy", "--report", "r.json")
    succeed(*command, "--padding", "1", "--require", "interior", cwd=tmp_path)
    found = report(tmp_path / "r.json")["result"]
    assert not found["exact"]
    assert sidecar(tmp_path / "m.npy")["padding"] == [[2, 2], [2, 2]]
    x, a, b = (np.load(tmp_path / f"{name}.npy")[None, None] for name in "xab")
    chain = layer("correlate", "zero", layer("correlate", "zero", x, a, {"padding": 1}), b, {"padding": 1})
    once = layer("correlate", "zero", x, merged(a, b), {"padding": 2})
    assert found["verified"]["max_abs"] == pytest.approx(np.abs(chain - once).max(), rel=1e-12)
    assert found["verified"]["max_abs"] > 0.5
    assert found["verified"]["max_abs_inside"] < 1e-13
    succeed(*command, "--padding", "2", "--padding", "0", cwd=tmp_path)
    found = report(tmp_path / "r.json")["result"]
    assert found["exact"] is True
    assert found["verified"]["max_abs"] < 1e-13


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_mask_is_where_chain_and_merge_differ(here: Path, suffix: str) -> None:
    """Zeros around the first output are what it would have made, but not above and to the right of it."""
    how: list[dict[str, Any]] = [{"stride": 2, "padding": ((0, 1), (1, 0))}, {"padding": 1}]
    options = "--stride 2 --stride 1 --padding 0:1,1:0 --padding 1 --require interior --image-shape 12x16"
    command = ("merge-kernels", "a.npy", "b.npy", *SIDE, *options.split(), "-o", "m.npy", "--mask", f"d{suffix}")
    succeed(*command, "--report", "r.json", cwd=here)
    x = RNG.integers(1, 1000, (1, 1, 12, 16)).astype(float)
    chain = layer("correlate", "zero", layer("correlate", "zero", x, K1, how[0]), K2, how[1])
    taps = merged(K1[None, None], K2[None, None], 1, 2)
    once = layer("correlate", "zero", x, taps, {"stride": 2, "padding": ((2, 3), (3, 2))})
    raw = (here / f"d{suffix}").read_bytes()
    mask = imagecodecs.png_decode(raw) if suffix == ".png" else np.load(io.BytesIO(raw))
    expected = np.zeros((7, 8), bool)
    expected[0], expected[:, -1] = True, True
    np.testing.assert_array_equal((chain != once)[0, 0], expected)
    np.testing.assert_array_equal(mask > 0, expected)
    assert set(np.unique(mask)) == ({0, 255} if suffix == ".png" else {False, True})
    assert report(here / "r.json")["result"]["differing"] == (mask > 0).sum()


def test_exactness_can_depend_on_the_size(here: Path) -> None:
    """Periodic with a first stride of 2: both continue alike on even sizes alone, and the sidecar must not hide it."""
    command = ("merge-kernels", "a.npy", "b.npy", "-o", "m.npy", "--stride", "2", "--stride", "1")
    assert run(*command, cwd=here).status == 1
    assert not (here / "m.npy").exists()
    assert run(*command, "--image-shape", "9,10", cwd=here).status == 1
    succeed(*command, "--image-shape", "8,10", cwd=here)
    found = sidecar(here / "m.npy")
    assert found["exact"] is not True or [8, 10] in found.values()


def test_verify_gives_the_size_that_may_be_said_too(here: Path) -> None:
    command = ("merge-kernels", "a.npy", "b.npy", "--verify", "x.npy", "--report", "r.json", "--image-shape", "7,9")
    succeed(*command, cwd=here)
    found = report(here / "r.json")["result"]
    assert (found["image_shape"], found["differing"]) == ([7, 9], 0)
    assert value(report(here / "r.json"), "kernel_axes") == ["YX", "YX"]


def test_colour_images_verify_channel_by_channel(tmp_path: Path) -> None:
    """8-bit pixels too are compared in double precision."""
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(RNG.integers(0, 256, (11, 14, 3), dtype=np.uint8)))
    save(tmp_path, a=RNG.normal(size=(3, 3)), b=RNG.normal(size=(3, 3)), o=RNG.normal(size=(2, 3, 2, 2)))
    for second in ("b.npy", "o.npy"):
        succeed("merge-kernels", "a.npy", second, "--verify", "x.png", "--report", "r.json", cwd=tmp_path)
        assert 0 <= report(tmp_path / "r.json")["result"]["verified"]["max_abs"] < 1e-10


def test_what_a_merge_does_not_promise_is_told_where_it_is_used(here: Path) -> None:
    command = ("merge-kernels", "a.npy", "b.npy", "-o", "m.npy")
    apply = ("convolve", "x.npy", "-k", "m.npy", "-o", "y.npy")
    for options, says in (
        (["--boundary", "zero", "--require", "interior"], "at the border"),
        (["--stride", "2", "--stride", "1", "--image-shape", "8,10"], "8x10"),
    ):
        succeed(*command, *options, cwd=here)
        assert any("m.npy.json" in note and says in note for note in notes(succeed(*apply, cwd=here)))
    succeed(*command, cwd=here)
    assert notes(succeed(*apply, cwd=here)) == ["the settings of kernel m.npy were taken from m.npy.json"]


def test_three_dimensional_mask(here: Path) -> None:
    save(here, a=taps(2, 2, 2), b=taps(2, 1, 3))
    options = "--kernel-axes ZYX --boundary edge --require interior --image-shape 7,8,9 -o m.npy --mask d.npy"
    succeed("merge-kernels", "a.npy", "b.npy", *options.split(), cwd=here)
    assert np.load(here / "d.npy").shape == (7, 8, 9)


def test_small_images_that_differ_are_not_promised(here: Path) -> None:
    """A reflection of fewer pixels than the kernels read: exact on wide images alone, and the sidecar says which."""
    save(
        here,
        first=np.array([[-1.0, 0, 0]]),
        second=np.array([[1.0, 1]]),
        small=RNG.random((6, 3)),
        wide=RNG.random((6, 9)),
    )
    options = "--padding valid --padding same --dilation 1 --dilation 1,2 --origin center --origin 0,1 -o m.npy"
    command = ("merge-kernels", "first.npy", "second.npy", "--boundary", "reflect", *options.split())
    outcome = succeed(*command, "--report", "r.json", cwd=here)
    found = report(here / "r.json")["result"]
    least = found["least_image_shape"]
    assert (found["exact"], sidecar(here / "m.npy")["least_image_shape"], least[0]) == (True, least, 1)
    assert 3 < least[1] <= 9
    assert "every size" not in found["reason"]
    assert any(f"1x{least[1]}" in note for note in notes(outcome))
    for image, is_told in (("small.npy", True), ("wide.npy", False)):
        told = notes(succeed("convolve", image, "-k", "m.npy", "-o", "y.npy", cwd=here))
        assert any(f"1x{least[1]}" in note for note in told) == is_told
    assert run(*command, "--image-shape", "6,3", cwd=here).status == 1


# What a merge of merges can promise -----------------------------------------------------------------------------------


def test_an_inexact_merge_does_not_become_exact(here: Path) -> None:
    """Without padding, the second merge is exact by every rule, and its first kernel still is not its chain."""
    succeed("merge-kernels", "a.npy", "b.npy", "--boundary", "zero", "--require", "interior", "-o", "m.npy", cwd=here)
    assert sidecar(here / "m.npy")["exact"] is False
    again = ("merge-kernels", "m.npy", "b.npy", "--padding", "same", "--padding", "0", "-o", "n.npy")
    outcome = run(*again, cwd=here)
    assert outcome.status == 1
    assert any("m.npy.json" in note and "not exact" in note for note in notes(outcome))
    succeed(*again, "--require", "interior", "--report", "r.json", cwd=here)
    assert sidecar(here / "n.npy")["exact"] is report(here / "r.json")["result"]["exact"] is False
    succeed("split-kernel", "n.npy", cwd=here)
    assert sidecar(here / "n.y.npy")["exact"] is False


def test_a_merge_for_one_size_stays_one(here: Path) -> None:
    """As the first kernel it is for images of that size; behind a stride of 2, for those that become that size."""
    command = ("merge-kernels", "a.npy", "b.npy", "--stride", "2", "--stride", "1", "-o", "m.npy")
    succeed(*command, "--image-shape", "8,10", cwd=here)
    each = ("--stride", "2", "--stride", "1", "--padding", "same", "--padding", "0")
    succeed("merge-kernels", "m.npy", "b.npy", *each, "-o", "n.npy", cwd=here)
    assert (sidecar(here / "n.npy")["exact"], sidecar(here / "n.npy")["image_shape"]) == (True, [8, 10])
    accompany(here / "a.npy", stride=1, padding="valid", dilation=1, image_shape=[4, 5])
    np.save(here / "one.npy", np.array([[3.0]]))
    again = ("merge-kernels", "one.npy", "a.npy", "--stride", "2", "--stride", "1", "--padding", "valid", "-o", "n.npy")
    succeed(*again, cwd=here)
    assert sidecar(here / "n.npy")["image_shape"] == [8, 10]
    succeed(*again, "--image-shape", "7,9", cwd=here)
    assert sidecar(here / "n.npy")["image_shape"] == [7, 9]
    outcome = run(*again, "--image-shape", "6,10", cwd=here)
    assert outcome.status == 1
    assert any("4x5" in note and "3x5" in note for note in notes(outcome))


def test_the_least_size_of_a_merge_is_inherited(here: Path) -> None:
    accompany(here / "a.npy", stride=1, padding="valid", dilation=1, least_image_shape=[4, 5])
    command = ("merge-kernels", "a.npy", "b.npy", "--padding", "valid", "-o", "m.npy")
    succeed(*command, cwd=here)
    assert sidecar(here / "m.npy")["least_image_shape"] == [4, 5]
    np.save(here / "one.npy", np.array([[3.0]]))
    behind = (
        "merge-kernels",
        "one.npy",
        "a.npy",
        "--stride",
        "2",
        "--stride",
        "1",
        "--padding",
        "valid",
        "-o",
        "m.npy",
    )
    succeed(*behind, cwd=here)
    assert sidecar(here / "m.npy")["least_image_shape"] == [7, 9]  # half of which, rounded up, is 4 x 5
    assert run(*behind, "--image-shape", "6,9", cwd=here).status == 1


@pytest.mark.parametrize(
    "damage", [{"exact": "yes"}, {"image_shape": [3]}, {"image_shape": [3, -1]}, {"least_image_shape": [2.5, 1]}]
)
def test_a_promise_that_is_nonsense_is_told_by_its_file(here: Path, damage: dict[str, Any]) -> None:
    accompany(here / "a.npy", **damage)
    line = refused(here, "correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", cwd=here)
    assert "a.npy.json" in line
    assert next(iter(damage)) in line


# Large kernels, large images ------------------------------------------------------------------------------------------


def test_large_kernels_are_judged_for_the_size_that_is_given(here: Path) -> None:
    """What cannot be tried for every size is exact for this one, and unknown where nobody asks for more."""
    delta = np.zeros((901, 901))
    delta[450, 450] = 1
    save(here, delta=delta, k=RNG.random((901, 901)))
    command = ("merge-kernels", "delta.npy", "k.npy", "--boundary", "zero", "-o", "m.npy", "--report", "r.json")
    assert "--image-shape" in refused(here, *command, cwd=here)
    succeed(*command, "--image-shape", "90,100", cwd=here)
    assert (sidecar(here / "m.npy")["exact"], sidecar(here / "m.npy")["image_shape"]) == (True, [90, 100])
    succeed(*command, "--require", "interior", cwd=here)
    assert sidecar(here / "m.npy")["exact"] is report(here / "r.json")["result"]["exact"] is None
    outcome = succeed("convolve", "x.npy", "-k", "m.npy", "-o", "y.npy", cwd=here)
    assert any("m.npy.json" in note and "not known" in note for note in notes(outcome))


def test_boxes_of_any_size_merge_under_a_mirror(tmp_path: Path) -> None:
    command = ("merge-kernels", "box:size=301", "box:size=301", "--boundary", "symmetric", "-o", "m.npy")
    for more in ((), ("--image-shape", "800,800")):
        succeed(*command, *more, cwd=tmp_path)
        found = sidecar(tmp_path / "m.npy")
        assert (found["exact"], "image_shape" in found) == (True, False)


def test_images_of_any_size_are_judged_at_once(here: Path) -> None:
    command = ("merge-kernels", "a.npy", "b.npy", *SIDE, "--padding", "1", "--require", "interior")
    for shape in ("1000000000,10", "100000,100000"):
        before = contents(here).keys()
        line = refused(here, *command, "--image-shape", shape, "--mask", "d.png", cwd=here)
        assert "--mask d.png" in line
        assert "bytes" in line
        assert contents(here).keys() == before
    succeed(*command, "--image-shape", "100000,90000", "--report", "r.json", cwd=here)
    found = report(here / "r.json")["result"]
    frame = np.array(found["border"]).sum(axis=1)
    assert found["differing"] == 100000 * 90001 - (100000 - frame[0]) * (90001 - frame[1])
    assert "no image" in refused(here, *command, "--image-shape", f"{10**30},10", cwd=here)


def test_taps_that_fit_into_no_memory_are_named(here: Path) -> None:
    command = ("merge-kernels", "a.npy", "b.npy", "--dilation", "200000", "--image-shape", "500000,500000")
    line = refused(here, *command, cwd=here)
    assert "600001x600001 taps" in line
    assert "bytes" in line


# Messages -------------------------------------------------------------------------------------------------------------


def test_where_all_outputs_differ_the_note_says_so(tmp_path: Path) -> None:
    """The issue's counter-example again."""
    save(tmp_path, a=DIFFERENCE, b=ONES)
    command = ("merge-kernels", "a.npy", "b.npy", *SIDE, "--padding", "0", "--padding", "2", "--image-shape", "3,3")
    outcome = run(*command, cwd=tmp_path)
    assert any("all 9 outputs differ" in note for note in notes(outcome))
    assert not any("within" in note for note in notes(outcome))


def test_a_first_bias_that_alone_differs_is_the_reason(here: Path) -> None:
    save(here, one=[1.0])
    command = ("merge-kernels", "a.npy", "b.npy", *SIDE, "--padding", "2", "--padding", "1")
    succeed(*command, cwd=here)
    outcome = run(*command, "--bias", "one.npy", "--bias", "none", cwd=here)
    assert outcome.status == 1
    assert any("the first bias is added everywhere by the merge" in note for note in notes(outcome))


def test_an_image_with_holes_gets_advice_that_this_command_can_take(here: Path) -> None:
    save(here, holes=np.array([[1.0, np.nan, 2.0]] * 4))
    line = refused(here, "merge-kernels", "a.npy", "b.npy", "--verify", "holes.npy", cwd=here)
    assert "holes.npy has 4 NaN" in line
    assert "--nan" not in line


def test_pairs_are_shown_as_they_are_typed(here: Path) -> None:
    """In the table; the JSON has lists."""
    options = (
        "--padding",
        "1:2,0:1",
        "--padding",
        "2",
        "--stride",
        "1",
        "--image-shape",
        "9,9",
        "--require",
        "interior",
    )
    outcome = run("merge-kernels", "a.npy", "b.npy", *SIDE, *options, "-v", "--report", "r.json", cwd=here)
    assert outcome.status == 0
    found = report(here / "r.json")
    assert found["kernel"]["padding"] == [[3, 4], [2, 3]]
    assert value(found, "padding") == [[[1, 2], [0, 1]], 2]
    for text in (
        "padding 3:4,2:3,",
        "padding 1:2,0:1; 2,",
        "border " + ",".join(f"{a}:{b}" for a, b in found["result"]["border"]),
    ):
        assert text in outcome.stderr


# Options, one for all or one for each ---------------------------------------------------------------------------------


def test_an_option_serves_all_kernels_or_each(here: Path) -> None:
    command = ("merge-kernels", "a.npy", "b.npy", *SIDE, "--stride", "2")
    succeed(*command, "--padding", "valid", "-o", "one.npy", cwd=here)
    succeed(*command, "--stride", "2", "--padding", "valid", "--padding", "valid", "-o", "each.npy", cwd=here)
    assert (here / "one.npy").read_bytes() == (here / "each.npy").read_bytes()
    assert sidecar(here / "one.npy")["padding"] == "valid"
    assert [sidecar(here / f"{name}.npy")["stride"] for name in ("one", "each")] == [[4, 4]] * 2


REFUSALS = [
    (["a.npy"], "two kernels"),
    (["a.npy", "b.npy", "--stride", "1", "--stride", "2", "--stride", "3"], "--stride is given 3 times for 2 kernels"),
    (["a.npy", "b.npy", "a.npy", "--padding", "1", "--padding", "2"], "--padding is given 2 times for 3 kernels"),
    (["a.npy", "b.npy", "--bias", "two.npy"], "none"),
    (["o.npy", "o.npy"], "kernel 2 (axes OIYX) takes 3 channels, but what comes before it gives 2"),
    (["o.npy", "a.npy", "--kernel-axes", "OIYX"], "kernel axes OIYX"),
    (["o.npy", "a.npy", "--bias", "three.npy", "--bias", "none"], "the bias has 3 numbers"),
    (["v.npy", "a.npy"], "ZYX, YX"),
    (["a.npy", "b.npy", "--stride", "x"], "--stride must be whole numbers"),
    (["a.npy", "b.npy", "--image-shape", "20"], "2 lengths"),
    (["a.npy", "b.npy", "--image-shape", "20,0"], "--image-shape"),
    (["a.npy", "b.npy", "--image-shape", "2,2", "--padding", "valid"], "no output"),
    (["a.npy", "b.npy", "--mask", "d.png"], "--image-shape or --verify"),
    (["a.npy", "b.npy", "--image-shape", "9,9", "--verify", "x.npy"], "--image-shape"),
    (["a.npy", "b.npy", "--mask", "d.jpg", "--image-shape", "9,9"], ".png, .tif or .npy"),
    (["a.npy", "b.npy", "--image-shape", "9", "--verify", "x.npy"], "--image-shape 9 contradicts"),
    (["v.npy", "v.npy", "--verify", "x.npy"], "Z axis"),
    (["o.npy", "p.npy", "--verify", "x.npy", "--require", "interior"], "the image has 1 channel"),
    (["a.npy", "scalar.npy"], "kernel 2: the kernel has 0 axes"),
    (["a.npy", "b.npy", "--bias", "one.npy"], "--bias is given once for 2 kernels"),
    (["a.npy", "b.npy", "-o", "m.png"], "name it .npy"),
    (["tiny.npy", "tiny.npy"], "underflow"),
    (["a.npy", "missing.npy"], "no such file"),
    (["a.npy", "b.npy", "-o", "a.npy"], "it is the input"),
    (["a.npy", "b.npy", "-o", "no/m.npy"], "there is no folder"),
    (["a.npy", "b.npy", "-o", "m.npy", "--mask", "m.npy.json", "--image-shape", "9,9"], "m.npy.json"),
    (["a.npy", "b.npy", "-o", "a.npy.json"], "a.npy.json"),
    (["huge.npy", "huge.npy"], "overflow"),
    (["a.npy", "b.npy", "--padding", "1:2"], "padding 1:2 has 1 entries"),
    (["a.npy", "b.npy", "--stride", "2,2,2"], "stride 2,2,2 has 3 entries"),
    (["a.npy", "b.npy", "--dilation", "1", "--dilation", "3,2,2"], "kernel 2: dilation 3,2,2"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSALS, ids=[" ".join(arguments) for arguments, _ in REFUSALS])
def test_refusals_are_one_line(here: Path, arguments: list[str], says: str) -> None:
    save(here, o=taps(2, 3, 2, 2), v=taps(1, 1, 2, 2, 2), two=[1.0, 2.0], three=[1.0, 2.0, 3.0])
    save(here, huge=np.full((2, 2), 1e200), tiny=np.full((2, 2), 1e-200), p=taps(1, 2, 2, 2), scalar=np.ones(()))
    assert says in refused(here, "merge-kernels", *arguments, cwd=here)


def test_no_clobber_protects_the_kernel_and_what_is_beside_it(here: Path) -> None:
    for name in ("m.npy", "m.npy.json"):
        (here / name).write_bytes(b"mine")
        line = refused(here, "merge-kernels", "a.npy", "b.npy", "-o", "m.npy", "--no-clobber", cwd=here)
        assert f"{name}: it exists" in line
        (here / name).unlink()


def test_an_unwritable_sidecar_keeps_the_kernel_back_too(here: Path) -> None:
    (here / "m.npy.json").mkdir()
    assert "m.npy.json" in refused(here, "merge-kernels", "a.npy", "b.npy", "-o", "m.npy", cwd=here)


# Kernels that have settings beside them, merged -----------------------------------------------------------------------


def test_settings_beside_a_kernel_count_in_a_chain(here: Path) -> None:
    accompany(here / "a.npy", bias=[2.5])
    outcome = succeed("merge-kernels", "a.npy", "b.npy", "--padding", "1:2,0:1", "--padding", "0", cwd=here)
    assert any("a.npy.json" in note for note in notes(outcome))
    found = sidecar(here / "merged.npy")
    expected = ["correlate", "zero", "YX", [2, 1], [[1, 2], [0, 1]], [1, 1], [1 + 2, 2 + 1], 1, [2.5 * K2.sum()]]
    assert [found[name] for name in SETTINGS] == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--stride", "2"], "--stride 2"),
        (["--stride", "1", "--stride", "1"], "--stride 1"),
        (["--boundary", "edge"], "boundary"),
        (["--operation", "convolve"], "operation"),
        (["--bias", "one.npy", "--bias", "none"], "--bias"),
        (["--kernel-axes", "XY"], "--kernel-axes"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_options_that_contradict_a_kernel_of_a_chain(here: Path, options: list[str], says: str) -> None:
    accompany(here / "a.npy")
    save(here, one=[1.0])
    line = refused(here, "merge-kernels", "a.npy", "b.npy", "--require", "interior", *options, cwd=here)
    assert says in line
    assert "a.npy.json" in line


def test_an_option_for_all_that_contradicts_one_kernel_may_be_given_for_each(here: Path) -> None:
    accompany(here / "a.npy")
    line = refused(here, "merge-kernels", "a.npy", "b.npy", "--padding", "valid", cwd=here)
    assert "once for each kernel" in line
    succeed("merge-kernels", "a.npy", "b.npy", "--padding", "1:2,0:1", "--padding", "valid", cwd=here)


def test_kernels_of_two_operations_do_not_merge(here: Path) -> None:
    accompany(here / "a.npy")
    accompany(here / "b.npy", operation="convolve")
    line = refused(here, "merge-kernels", "a.npy", "b.npy", "--require", "interior", cwd=here)
    assert "a.npy.json" in line
    assert "b.npy.json" in line


def test_the_settings_of_an_input_are_not_overwritten(here: Path) -> None:
    accompany(here / "a.npy", padding="valid")
    command = ("merge-kernels", "a.npy", "b.npy", "--require", "interior", "-o", "a.npy.json")
    assert "a.npy.json" in refused(here, *command, cwd=here)


# Convolving with a kernel that has settings beside it -----------------------------------------------------------------


def test_settings_beside_the_kernel_are_taken_and_told(here: Path) -> None:
    accompany(here / "a.npy", bias=[2.5])
    outcome = succeed("correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", "--report", "r.json", cwd=here)
    assert any("a.npy.json" in note for note in notes(outcome))
    how = {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2), "bias": [2.5]}
    expected = layer("correlate", "zero", np.load(here / "x.npy")[None, None], K1, how)[0, 0]
    np.testing.assert_allclose(np.load(here / "y.npy"), expected, atol=1e-11)
    facts = report(here / "r.json")
    found = [value(facts, name) for name in ("boundary", "stride", "padding", "dilation", "origin", "kernel_axes")]
    assert found == ["zero", [2, 1], [[1, 2], [0, 1]], [1, 2], [1, 1], "YX"]


@pytest.mark.parametrize(
    "options",
    [
        "--stride 2,1 --padding 1:2,0:1 --dilation 1,2 --origin 1,1 --boundary zero --groups 1 --kernel-axes YX",
        "--origin center --kernel-axes yx",
    ],
)
def test_options_that_say_the_same_are_welcome(here: Path, options: str) -> None:
    accompany(here / "a.npy")
    succeed("correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", *options.split(), cwd=here)


@pytest.mark.parametrize("options", ["--stride 1 --dilation 1,1 --padding 1", "--padding 1:1,1:1 --origin last"])
def test_one_number_for_both_axes_says_the_same(here: Path, options: str) -> None:
    save(here, k=taps(3, 3))
    same = {"stride": [1, 1], "dilation": 1, "padding": [[1, 1], [1, 1]], "origin": [2, 2]}
    accompany(here / "k.npy", **same)
    succeed("correlate", "x.npy", "-k", "k.npy", "-o", "y.npy", *options.split(), cwd=here)


@pytest.mark.parametrize(
    "options",
    [
        ["--boundary", "periodic"],
        ["--stride", "1"],
        ["--padding", "same"],
        ["--padding", "2"],
        ["--dilation", "1"],
        ["--origin", "first"],
        ["--groups", "2"],
        ["--kernel-axes", "XY"],  # the kernel on its side
        ["--bias", "one.npy"],
        ["--normalize"],
    ],
    ids=" ".join,
)
def test_options_that_contradict_are_refused(here: Path, options: list[str]) -> None:
    accompany(here / "a.npy")
    save(here, one=[1.0])
    line = refused(here, "correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", *options, cwd=here)
    assert options[0] in line
    assert "a.npy.json" in line


def test_the_other_operation_is_refused(here: Path) -> None:
    accompany(here / "a.npy")
    line = refused(here, "convolve", "x.npy", "-k", "a.npy", "-o", "y.npy", cwd=here)
    assert "correlate" in line
    assert "a.npy.json" in line


DEEP = "[" * 100_000
DAMAGE: dict[str, dict[str, Any] | str] = {
    "cut short": '{"convtool_kernel": 1, "sha2',
    "empty": "",
    "too deep": DEEP,
    "newer": {"convtool_kernel": UNKNOWN},
    "another kernel's": {"sha256": "0" * 64},
    "no hash": {"sha256": None},
    "stride is text": {"stride": "a"},
    "stride of an object": {"stride": {"y": 1}},
    "padding of singles": {"padding": [[1]]},
    "bias is text": {"bias": "x"},
    "bias of an object": {"bias": {"b": 1}},
    "bias is ragged": {"bias": [1, [2]]},
    "bias is infinite": {"bias": [float("inf")]},
    "boundary of a list": {"boundary": ["zero"]},
    "unknown boundary": {"boundary": "mirror"},
    "unknown operation": {"operation": "blur"},
    "axes are a number": {"kernel_axes": 5},
    "origin outside": {"origin": [9, 9]},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_settings_are_told_by_their_file(here: Path, damage: str) -> None:
    """Whoever typed none of these settings must learn from which file they come."""
    changes = DAMAGE[damage]
    if isinstance(changes, str):
        (here / "a.npy.json").write_text(changes)
    else:
        accompany(here / "a.npy", **changes)
    line = refused(here, "correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", cwd=here)
    assert "a.npy.json" in line
    assert "use blur" not in line
    assert "'(" not in line
    assert "((" not in line


def test_a_link_to_a_kernel_has_its_settings(here: Path) -> None:
    """Those beside the file it leads to, unless it has its own."""
    accompany(here / "a.npy", bias=[2.5])
    (here / "folder").mkdir()
    (here / "folder" / "l.npy").symlink_to("../a.npy")
    succeed("correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", cwd=here)
    outcome = succeed("correlate", "x.npy", "-k", "folder/l.npy", "-o", "z.npy", cwd=here)
    assert any("a.npy.json" in note for note in notes(outcome))
    assert (here / "z.npy").read_bytes() == (here / "y.npy").read_bytes()
    before = (here / "a.npy.json").read_bytes()
    command = ("merge-kernels", "folder/l.npy", "b.npy", "--padding", "1:2,0:1", "--padding", "0", "-o", "m.npy")
    assert "it is the input" in refused(here, *command, "--report", "a.npy.json", cwd=here)
    assert (here / "a.npy.json").read_bytes() == before
    accompany(here / "folder" / "l.npy", padding="same")
    succeed("correlate", "x.npy", "-k", "folder/l.npy", "-o", "z.npy", cwd=here)
    assert (here / "z.npy").read_bytes() != (here / "y.npy").read_bytes()


@pytest.mark.parametrize("content", ['{"mine": true}', "[1, 2]", "no JSON at all", ""])
def test_somebody_elses_json_is_not_overwritten(here: Path, content: str) -> None:
    (here / "m.npy.json").write_text(content)
    assert "m.npy.json" in refused(here, "merge-kernels", "a.npy", "b.npy", "-o", "m.npy", cwd=here)
    (here / "m.x.npy.json").write_text(content)
    assert "m.x.npy.json" in refused(here, "split-kernel", "a.npy", "-o", "m", cwd=here)
    (here / "m.npy.json").unlink()
    for kernels in (("a.npy", "b.npy"), ("b.npy", "a.npy")):
        succeed("merge-kernels", *kernels, "-o", "m.npy", cwd=here)  # its own, it replaces


def test_the_report_says_which_settings_the_kernel_brought(here: Path) -> None:
    accompany(here / "a.npy")
    options = ("--padding", "1:2,0:1", "--report", "r.json")
    succeed("correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", *options, cwd=here)
    settings = report(here / "r.json")["settings"]
    sources = {name: settings[name]["source"] for name in ("padding", "stride", "boundary", "dilation", "axes")}
    kernel = dict.fromkeys(("stride", "boundary", "dilation"), "kernel")
    assert sources == {"padding": "chosen", **kernel, "axes": "assumed"}
    outcome = succeed(
        "merge-kernels", "a.npy", "b.npy", "--padding", "1:2,0:1", "--padding", "0", *options[2:], cwd=here
    )
    settings = report(here / "r.json")["settings"]
    sources = {name: settings[name]["source"] for name in ("padding", "stride", "boundary", "operation", "require")}
    kernel = dict.fromkeys(("stride", "boundary", "operation"), "kernel")
    assert sources == {"padding": "chosen", **kernel, "require": "assumed"}
    assert outcome.status == 0
    succeed("matrix", "-k", "a.npy", "--image-shape", "7,9", "--operation", "correlate", *options[2:], cwd=here)
    assert report(here / "r.json")["settings"]["stride"]["source"] == "kernel"


def test_damaged_settings_with_an_option_of_that_name(here: Path) -> None:
    accompany(here / "a.npy", padding=[[1]])
    line = refused(here, "correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", "--padding", "1", cwd=here)
    assert "a.npy.json" in line
    assert "--padding 1 contradicts a.npy.json, which says 1:" not in line


@pytest.mark.parametrize("content", ['{"mine": true}', "[1, 2]"])
def test_somebody_elses_json_is_left_alone(here: Path, content: str) -> None:
    (here / "a.npy.json").write_text(content)
    outcome = succeed("convolve", "x.npy", "-k", "a.npy", "-o", "y.npy", cwd=here)
    assert outcome.stderr == ""
    expected = layer("convolve", "periodic", np.load(here / "x.npy")[None, None], K1, {})[0, 0]
    np.testing.assert_allclose(np.load(here / "y.npy"), expected, atol=1e-11)


def test_unknown_fields_do_no_harm(here: Path) -> None:
    accompany(here / "a.npy", colour="green", engine=5)
    succeed("correlate", "x.npy", "-k", "a.npy", "-o", "y.npy", cwd=here)


def test_a_replaced_kernel_is_noticed_by_merging_and_splitting_too(here: Path) -> None:
    accompany(here / "a.npy")
    save(here, a=K1 + 1)
    for command in (("merge-kernels", "a.npy", "b.npy"), ("split-kernel", "a.npy")):
        assert "a.npy.json" in refused(here, *command, cwd=here)


# The other commands that take a kernel --------------------------------------------------------------------------------


def test_the_matrix_of_a_kernel_with_settings_is_that_of_its_layer(here: Path) -> None:
    """All settings, but for the bias, which no matrix has: the note says so."""
    accompany(here / "a.npy", bias=[2.5])
    options = ("--image-shape", "7,9", "--operation", "correlate", "--dense", "-o", "w.npy")
    outcome = succeed("matrix", "-k", "a.npy", *options, cwd=here)
    assert any("bias" in note and "a.npy.json" in note for note in notes(outcome))
    x = np.load(here / "x.npy")
    how = {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2)}
    expected = layer("correlate", "zero", x[None, None], K1, how)
    np.testing.assert_allclose(np.load(here / "w.npy") @ x.ravel(), expected.ravel(), atol=1e-11)
    assert "a.npy.json" in refused(here, "matrix", "-k", "a.npy", *options, "--stride", "3", cwd=here)


def test_local_takes_the_taps_alone_and_says_so(here: Path) -> None:
    """What lies beside a kernel is about sums of products."""
    command = ("local", "x.npy", "-k", "a.npy", "--combine", "add", "--reduce", "max")
    succeed(*command, "-o", "plain.npy", cwd=here)
    accompany(here / "a.npy", bias=[2.5])
    outcome = succeed(*command, "-o", "beside.npy", cwd=here)
    assert [note for note in notes(outcome) if "a.npy.json" in note]
    assert (here / "beside.npy").read_bytes() == (here / "plain.npy").read_bytes()


# Splitting ------------------------------------------------------------------------------------------------------------


def parts(folder: Path, stem: str, letters: str = "yx") -> list[np.ndarray]:
    return [np.load(folder / f"{stem}.{letter}.npy") for letter in letters]


def table(stdout: bytes) -> dict[int, float]:
    """The relative error that is printed for every rank."""
    rows = [line.split() for line in stdout.decode().splitlines() if line.startswith("rank ")]
    return {int(row[1]): float(row[4]) for row in rows}


def test_separable_kernel_splits_into_a_column_and_a_row(tmp_path: Path) -> None:
    kernel = np.outer([1.0, 2.0, 3.0], [1.0, 0.0, -1.0, 4.0])
    save(tmp_path, k=kernel)
    outcome = succeed("split-kernel", "k.npy", cwd=tmp_path)
    column, row = parts(tmp_path, "k")
    assert (column.shape, row.shape) == ((3, 1), (1, 4))
    np.testing.assert_allclose(column * row, kernel, atol=1e-14)
    assert {*contents(tmp_path)} == {"k.npy", *(f"k.{a}.npy{b}" for a in "yx" for b in ("", ".json"))}
    assert {*table(outcome.stdout)} == {1}
    assert outcome.stdout.decode().splitlines()[-1].startswith("kept: rank 1")
    assert [sidecar(tmp_path / f"k.{letter}.npy")["origin"] for letter in "yx"] == [[1, 0], [0, 2]]


def test_errors_of_every_rank_are_those_of_the_singular_values(tmp_path: Path) -> None:
    kernel = RNG.normal(size=(5, 4))
    save(tmp_path, k=kernel)
    outcome = succeed("split-kernel", "k.npy", "--rank", "2", "--report", "r.json", cwd=tmp_path)
    u, s, vh = np.linalg.svd(kernel)
    errors = [float(np.linalg.norm(s[r:]) / np.linalg.norm(s)) for r in range(5)]
    assert table(outcome.stdout) == pytest.approx({r: errors[r] for r in range(1, 5)}, rel=1e-2, abs=1e-14)
    found = report(tmp_path / "r.json")["result"]
    np.testing.assert_allclose(found["errors"], errors, atol=1e-14)
    assert found["ranks"] == [2]
    assert found["error"] == pytest.approx(errors[2])
    column, row = parts(tmp_path, "k")
    assert (column.shape, row.shape) == ((2, 1, 5, 1), (1, 2, 1, 4))
    np.testing.assert_allclose(merged(column, row)[0, 0], (u[:, :2] * s[:2]) @ vh[:2], atol=1e-13)
    succeed("split-kernel", "k.npy", "--tol", str(1.01 * errors[3]), "--quiet", cwd=tmp_path)
    assert parts(tmp_path, "k")[0].shape == (3, 1, 5, 1)


def test_single_precision_is_split_to_its_own_rounding(tmp_path: Path) -> None:
    column, row = RNG.random(9), RNG.random(7)
    save(tmp_path, k=np.outer(column, row).astype(np.float32))
    outcome = succeed("split-kernel", "k.npy", cwd=tmp_path)
    assert {*table(outcome.stdout)} == {1}
    assert parts(tmp_path, "k")[0].shape == (9, 1)
    assert {*table(succeed("split-kernel", "k.npy", "--tol", "0", cwd=tmp_path).stdout)} > {1, 2}


def test_tolerance_keeps_no_more_than_the_table_says(tmp_path: Path) -> None:
    """For three axes too, the smallest rank of the table that is good enough is enough."""
    save(tmp_path, k=np.random.default_rng(0).random((3, 4, 5)))
    command = ("split-kernel", "k.npy", "--kernel-axes", "ZYX", "--report", "r.json", "--tol")
    for tol in ("0.15", "0.4"):
        outcome = succeed(*command, tol, cwd=tmp_path)
        errors = table(outcome.stdout)
        found = report(tmp_path / "r.json")["result"]
        assert found["error"] <= float(tol)
        assert max(found["ranks"]) <= min(rank for rank, error in errors.items() if error <= float(tol))


@pytest.mark.parametrize(
    ("shape", "options", "letters"),
    [((2, 3, 4), ["--kernel-axes", "ZYX"], "zyx"), ((4, 2, 3, 2), ["--groups", "2"], "yx"), ((3, 4, 3), [], "yx")],
    ids=["ZYX", "OIYX", "CYX"],
)
def test_split_and_merged_again(tmp_path: Path, shape: tuple[int, ...], options: list[str], letters: str) -> None:
    kernel = RNG.normal(size=shape)
    save(tmp_path, k=kernel)
    succeed("split-kernel", "k.npy", *options, cwd=tmp_path)
    succeed("merge-kernels", *(f"k.{letter}.npy" for letter in letters), "-o", "m.npy", cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "m.npy").reshape(shape), kernel, atol=1e-13)
    assert sidecar(tmp_path / "m.npy")["origin"] == [n // 2 for n in shape[-len(letters) :]]
    assert sidecar(tmp_path / "m.npy")["groups"] == {4: 2}.get(len(shape), sidecar(tmp_path / "m.npy")["groups"])


def test_both_parts_in_turn_on_a_colour_image(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (14, 17, 3), dtype=np.uint8)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(x))
    save(tmp_path, k=taps(3, 4) / 9)
    outcome = succeed("split-kernel", "k.npy", "--channels", "3", "-o", "part", cwd=tmp_path)
    assert outcome.stdout
    succeed("convolve", "x.png", "-k", "part.y.npy", "-o", "1.npy", cwd=tmp_path)
    succeed("convolve", "1.npy", "-k", "part.x.npy", "-o", "2.npy", cwd=tmp_path)
    exact = layer("convolve", "periodic", x.transpose(2, 0, 1)[None].astype(float), np.load(tmp_path / "k.npy"), {})
    np.testing.assert_allclose(np.load(tmp_path / "2.npy"), exact[0], atol=1e-3)


def test_settings_beside_the_kernel_are_shared_out(here: Path) -> None:
    accompany(here / "a.npy", bias=[2.5])
    succeed("split-kernel", "a.npy", cwd=here)
    first, second = (sidecar(here / f"a.{letter}.npy") for letter in "yx")
    assert [first[name] for name in ("stride", "padding", "dilation")] == [[2, 1], [[1, 2], [0, 0]], [1, 1]]
    assert [second[name] for name in ("stride", "padding", "dilation")] == [[1, 1], [[0, 0], [0, 1]], [1, 2]]
    assert (first["bias"], second["bias"]) == (None, [2.5])
    assert {part[name] for part in (first, second) for name in ("operation", "boundary")} == {"correlate", "zero"}
    for source, kernel, target in (("x", "a", "y"), ("x", "a.y", "1"), ("1", "a.x", "2")):
        succeed("correlate", f"{source}.npy", "-k", f"{kernel}.npy", "-o", f"{target}.npy", cwd=here)
    y = np.load(here / "y.npy")
    np.testing.assert_allclose(np.load(here / "2.npy").reshape(y.shape), y, atol=1e-12)


SPLIT_REFUSALS = [
    (["v.npy"], "one spatial axis"),
    (["a.npy", "--rank", "3"], "rank must be at most 2"),
    (["a.npy", "--tol", "0.1", "--rank", "1"], "one of them"),
    (["a.npy", "--tol", "nan"], "tol"),
    (["c.npy", "--channels", "3"], "leave it out"),
    (["a.npy", "-o", "-"], "several files"),
    (["a.npy", "-o", ""], "empty"),
    (["a.npy", "-o", "no/part"], "there is no folder"),
    (["a.npy", "-o", "folder/"], "folder"),
    (["missing.npy"], "no such file"),
    (["-"], "-o"),
    (["a.npy", "--report", "a.x.npy"], "two results"),
]


@pytest.mark.parametrize(("arguments", "says"), SPLIT_REFUSALS, ids=[" ".join(given) for given, _ in SPLIT_REFUSALS])
def test_refusals_of_splitting_are_one_line(here: Path, arguments: list[str], says: str) -> None:
    save(here, v=taps(5), c=taps(3, 2, 2))
    (here / "folder").mkdir()
    assert says in refused(here, "split-kernel", *arguments, cwd=here)
    assert not contents(here / "folder")


def test_options_that_contradict_a_kernel_to_split(here: Path) -> None:
    accompany(here / "a.npy")
    assert "a.npy.json" in refused(here, "split-kernel", "a.npy", "--groups", "2", cwd=here)


def test_splitting_overwrites_nothing_it_must_not(here: Path) -> None:
    (here / "a.x.npy.json").write_bytes(b"mine")
    assert "a.x.npy.json: it exists" in refused(here, "split-kernel", "a.npy", "--no-clobber", cwd=here)


def test_splitting_does_not_overwrite_its_input(here: Path) -> None:
    (here / "a.npy").rename(here / "k.y.npy")
    assert "it is the input" in refused(here, "split-kernel", "k.y.npy", "-o", "k", cwd=here)


def test_names_of_parts_keep_their_dots(here: Path) -> None:
    succeed("split-kernel", "a.npy", "-o", "blur.v2", cwd=here)
    assert {"blur.v2.y.npy", "blur.v2.x.npy"} <= {*contents(here)}


def test_generated_kernels_with_depth_have_no_channels(tmp_path: Path) -> None:
    """gaussian:sigma=1,2,3 is ZYX: split into three, merged and applied along Z, and refused for an image without."""
    stdout = succeed("split-kernel", "gaussian:sigma=1,2,3,size=3", "-o", "g", cwd=tmp_path).stdout
    assert b"g.z.npy" in stdout
    succeed("merge-kernels", "box:size=3,3,3", "box:size=2,1,2", "-o", "m.npy", cwd=tmp_path)
    assert sidecar(tmp_path / "m.npy")["kernel_axes"] == "ZYX"
    save(tmp_path, stack=RNG.random((4, 7, 9)), colour=RNG.random((3, 7, 9)))
    succeed("convolve", "stack.npy", "--axes", "ZYX", "-k", "box:size=3,3,3", "-o", "y.npy", cwd=tmp_path)
    expected = scipy.ndimage.uniform_filter(np.load(tmp_path / "stack.npy"), 3, mode="wrap")
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-12)
    assert "ZYX" in refused(tmp_path, "convolve", "colour.npy", "-k", "box:size=3,3,3", "-o", "z.npy", cwd=tmp_path)
