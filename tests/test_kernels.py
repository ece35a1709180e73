"""Generated kernels against closed forms, brute-force integrals, SciPy and Astropy; and their specs and refusals."""

from __future__ import annotations

import doctest
import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.ndimage
from scipy.special import j0, j1

from convtool.errors import SettingError
from convtool.kernels import airy, delta, families, gaussian, is_spec, make, moffat

SPREADS = [
    "gaussian:sigma=1.3",
    "gaussian:sigma=1,2.5",
    "gaussian:sigma=0.6,1,1.7,integrate=true",
    "gaussian:sigma=1.2,size=6,9",
    "box:size=5",
    "box:size=2,3",
    "box:size=3,1,4",
    "disk:radius=0.4",
    "disk:radius=3.7",
    "motion:length=7.3,angle=20",
    "airy:radius=2.3",
    "moffat:fwhm=3.1,beta=3",
    "delta:shift=1,-2",
    "random:size=4,7,seed=3",
]


def coordinates(taps: np.ndarray) -> list[np.ndarray]:
    """Pixels from the origin n // 2, one array an axis."""
    return list(np.indices(taps.shape) - np.reshape(np.array(taps.shape) // 2, (-1, *[1] * taps.ndim)))


def centroid(taps: np.ndarray) -> np.ndarray:
    return np.array([np.sum(p * taps) for p in coordinates(taps)]) / taps.sum()


def variances(taps: np.ndarray) -> np.ndarray:
    return np.array([np.sum(p**2 * taps) for p in coordinates(taps)]) / taps.sum()


@pytest.mark.parametrize("spec", SPREADS)
def test_point_spreads_are_positive_with_sum_one(spec: str) -> None:
    taps = make(spec)
    assert taps.dtype == np.float64
    assert taps.min() >= 0
    assert taps.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    "spec",
    [
        "gaussian:sigma=1,2",
        "gaussian:sigma=0.7,integrate=yes",
        "box:size=5,3",
        "disk:radius=3.7",
        "airy:radius=2.3",
        "motion:length=7.3,angle=20",
        "motion:length=6,angle=-70",
        "moffat:fwhm=3",
        "delta",
        "airy:radius=1.7,size=9,15",
    ],
)
def test_odd_kernels_are_centred_on_the_origin_and_symmetric_about_it(spec: str) -> None:
    taps = make(spec)
    assert all(n % 2 for n in taps.shape)
    np.testing.assert_allclose(centroid(taps), 0, atol=1e-13)
    np.testing.assert_allclose(taps, taps[::-1, ::-1], rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("spec", ["gaussian:sigma=1.5", "airy:radius=3", "moffat:fwhm=3", "moffat:fwhm=3,integrate=no"])
def test_an_even_size_drops_the_last_row_and_column_of_the_next_odd_one(spec: str) -> None:
    comma = f"{spec},"
    even, odd = make(f"{comma}size=8,6"), make(f"{comma}size=9,7")
    assert np.unravel_index(even.argmax(), even.shape) == (4, 3)
    np.testing.assert_allclose(even, odd[:8, :6] / odd[:8, :6].sum(), rtol=1e-13)


# Gaussian


@pytest.mark.parametrize("sigma", [(0.5, 0.5), (1.0, 2.3), (1.1, 0.7, 2.0)])
def test_gaussian_is_scipys_filter_of_a_point(sigma: tuple[float, ...]) -> None:
    taps = gaussian.make(gaussian.Options(sigma=sigma))
    assert taps.shape == tuple(2 * math.ceil(4 * s) + 1 for s in sigma)
    point = np.zeros(taps.shape)
    point[tuple(n // 2 for n in taps.shape)] = 1
    radius = [math.ceil(4 * s) for s in sigma]
    np.testing.assert_allclose(
        taps, scipy.ndimage.gaussian_filter(point, sigma, radius=radius, mode="constant"), rtol=1e-12, atol=1e-18
    )


def test_gaussian_integrated_is_the_error_function_of_each_pixel() -> None:
    taps = gaussian.make(gaussian.Options(sigma=(0.8, 0.4), size=(9, 7), integrate=True))

    def share(p: int, sigma: float) -> float:
        return 0.5 * (math.erf((p + 0.5) / (sigma * math.sqrt(2))) - math.erf((p - 0.5) / (sigma * math.sqrt(2))))

    expected = np.outer([share(p, 0.8) for p in range(-4, 5)], [share(p, 0.4) for p in range(-3, 4)])
    np.testing.assert_allclose(taps, expected / expected.sum(), rtol=1e-9, atol=1e-15)


def test_gaussian_integrated_keeps_the_digits_of_far_taps() -> None:
    line = gaussian.make(gaussian.Options(sigma=0.5, size=(1, 19), integrate=True))[0]
    share = scipy.integrate.quad(lambda u: math.exp(-2 * u * u), 7.5, 8.5, epsabs=0)[0] / math.sqrt(math.pi / 2)
    assert line[17] == pytest.approx(share, rel=1e-7)
    assert line[1] == line[17]


@pytest.mark.parametrize(("integrate", "extra"), [(False, 0), (True, 1 / 12)])
def test_gaussian_variance(integrate: bool, extra: float) -> None:
    taps = gaussian.make(gaussian.Options(sigma=(1.5, 2.5), size=41, integrate=integrate))
    np.testing.assert_allclose(variances(taps), [1.5**2 + extra, 2.5**2 + extra], rtol=1e-8)


def test_a_number_holds_for_every_axis_and_the_longest_setting_says_how_many_axes() -> None:
    assert gaussian.make(gaussian.Options(sigma=1)).shape == (9, 9)
    assert gaussian.make(gaussian.Options(sigma=1, size=(3, 5, 7))).shape == (3, 5, 7)
    assert gaussian.make(gaussian.Options(sigma=(1.0, 1.0, 2.0), size=5)).shape == (5, 5, 5)


# Box, delta, random


def test_box_is_the_mean() -> None:
    assert make("box").tolist() == np.full((3, 3), 1 / 9).tolist()
    assert make("box:size=2,5").tolist() == np.full((2, 5), 0.1).tolist()
    assert make("box:size=1,2,4").shape == (1, 2, 4)
    np.testing.assert_allclose(centroid(make("box:size=4,5")), [-0.5, 0], atol=1e-15)


def test_delta_shifts_the_image_that_it_is_convolved_with() -> None:
    image = np.random.default_rng(0).random((6, 9))
    for shift in [(0, 0), (2, -1), (-3, 4)]:
        taps = delta.make(delta.Options(shift=shift))
        assert taps.sum() == taps.max() == 1
        shifted = scipy.ndimage.convolve(image, taps, mode="wrap")
        np.testing.assert_array_equal(shifted, np.roll(image, shift, axis=(0, 1)))


def test_delta_counts_from_the_origin_of_even_sizes_too() -> None:
    assert np.argwhere(make("delta:shift=1,-2,size=4,5")).tolist() == [[3, 0]]
    assert make("delta:size=2,3,4")[1, 1, 2] == 1


def test_random_is_the_same_everywhere_asymmetric_and_positive() -> None:
    # The first doubles of PCG64(0), as NumPy's own documentation of default_rng(0).random() prints them.
    first = np.array([0.63696169, 0.26978671, 0.04097352, 0.01652764])
    np.testing.assert_allclose(make("random:size=1,4")[0], first / first.sum(), rtol=1e-6)
    taps = make("random:size=4,5")
    assert taps.min() > 0
    for mirror in (taps[::-1], taps[:, ::-1], taps[::-1, ::-1]):
        assert np.abs(taps - mirror).max() > 0.05 * taps.max()
    assert np.abs(taps - make("random:size=4,5,seed=1")).max() > 0.01


# Disk and motion: shares of an area, and of a length


@pytest.mark.parametrize("radius", [0.3, 0.5, 0.6, 1.0, 2.5, 4.21, 30.0])
def test_disk_covers_each_pixel_by_the_area_of_the_circle_in_it(radius: float) -> None:
    taps = make(f"disk:radius={radius}")
    n = len(taps)
    assert taps.shape == (n, n)
    assert taps[n // 2].min() > 0  # no empty border: the disk touches the first and the last column

    def height(u: float, y: int) -> float:
        half = math.sqrt(max(radius**2 - u**2, 0))
        return max(min(y + 0.5, half) - max(y - 0.5, -half), 0)

    for y, x in [(0, 0), (0, n // 2), (n // 4, n // 3), (n // 2 * 7 // 10, n // 2 * 7 // 10), (n // 2, n // 2)]:
        kinks = [math.sqrt(max(radius**2 - e**2, 0)) for e in (y - 0.5, y + 0.5)]
        kinks = sorted({k * s for k in [*kinks, radius] for s in (-1, 1) if x - 0.5 < k * s < x + 0.5})
        ends = [x - 0.5, *kinks, x + 0.5]
        area = sum(scipy.integrate.quad(height, a, b, args=(y,), limit=200)[0] for a, b in itertools.pairwise(ends))
        for place in [(n // 2 + y, n // 2 + x), (n // 2 - x, n // 2 + y), (n // 2 - y, n // 2 - x)]:
            assert taps[place] * math.pi * radius**2 == pytest.approx(area, abs=1e-7)


def test_disk_is_zero_outside_the_circle_and_has_its_second_moment() -> None:
    taps = make("disk:radius=6.3")
    nearest = np.hypot(*(np.maximum(np.abs(p) - 0.5, 0) for p in coordinates(taps)))
    np.testing.assert_array_equal(taps > 0, nearest < 6.3)
    np.testing.assert_allclose(variances(taps), 6.3**2 / 4 + 1 / 12, atol=0.02)


@pytest.mark.parametrize("length", [1.0, 1.3, 4.0, 9.0, 20.7])
@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 90.0, 123.4, -30.0, 180.0])
def test_motion_shares_are_lengths_of_the_path(length: float, angle: float) -> None:
    taps = make(f"motion:length={length},angle={angle}")
    assert min(taps[0].max(), taps[-1].max(), taps[:, 0].max(), taps[:, -1].max()) > 0  # no empty border
    samples = (np.arange(400_000) + 0.5) / 400_000 - 0.5
    radians = math.radians(angle)
    path = [np.rint(-math.sin(radians) * length * samples), np.rint(math.cos(radians) * length * samples)]
    expected = np.zeros(taps.shape)
    np.add.at(expected, tuple(p.astype(int) + n // 2 for p, n in zip(path, taps.shape, strict=True)), 1 / 400_000)
    np.testing.assert_allclose(taps, expected, atol=1e-5)


def test_motion_along_an_axis() -> None:
    assert make("motion:length=5").tolist() == [[pytest.approx(0.2)] * 5]
    assert make("motion:length=4,angle=90").ravel().tolist() == pytest.approx([1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8])
    assert make("motion:length=0.5,angle=33").tolist() == [[1]]


@pytest.mark.parametrize("length", ["0.999", "1e-8", "91e-300", "5e-324"])
@pytest.mark.parametrize("angle", [0, 37, 90])
def test_motion_within_a_pixel_is_none(length: str, angle: int) -> None:
    assert make(f"motion:length={length},angle={angle}").tolist() == [[1]]


def test_motion_turns_counter_clockwise_on_the_screen() -> None:
    rising = make("motion:length=9,angle=30")  # from the lower left to the upper right
    y, x = coordinates(rising)
    slope = np.sum(y * x * rising) / np.sum(x * x * rising)
    assert slope == pytest.approx(-math.tan(math.radians(30)), rel=0.05)
    assert rising[0, -1] > 0
    assert rising[-1, 0] > 0
    assert rising[0, 0] == rising[-1, -1] == 0


@pytest.mark.parametrize("angle", [0, 22, 45, 71, 90])
def test_motion_has_the_length_that_was_asked_for(angle: float) -> None:
    taps = make(f"motion:length=40,angle={angle}")
    assert math.sqrt(12 * variances(taps).sum()) == pytest.approx(40, rel=2e-3)


# Optics


def test_airy_has_its_first_dark_ring_at_the_radius() -> None:
    taps = make("airy:radius=5,size=41,integrate=no")
    row = taps[20, 20:] / taps[20, 20]
    assert row[5] == pytest.approx(0, abs=1e-12)
    assert np.all(np.diff(row[:6]) < 0)
    v = 3.8317059702075125 * np.arange(1, 21) / 5
    np.testing.assert_allclose(row[1:], (2 * j1(v) / v) ** 2, atol=1e-14)


def test_airy_is_astropys_disk_sampled() -> None:
    from astropy.convolution import AiryDisk2DKernel

    reference = AiryDisk2DKernel(3.4, x_size=21, y_size=21, mode="center")
    reference.normalize()
    np.testing.assert_allclose(make("airy:radius=3.4,size=21,integrate=no"), reference.array, atol=1e-12)


def test_moffat_is_astropys_profile_sampled() -> None:
    from astropy.convolution import Moffat2DKernel

    alpha = 3.7 / (2 * math.sqrt(2 ** (1 / 2.8) - 1))
    reference = Moffat2DKernel(gamma=alpha, alpha=2.8, x_size=15, y_size=21, mode="center")
    reference.normalize()
    np.testing.assert_allclose(
        make("moffat:fwhm=3.7,beta=2.8,size=21,15,integrate=no"), reference.array, rtol=1e-11, atol=1e-16
    )


@pytest.mark.parametrize("beta", [1.5, 2.5, 4.765])
def test_moffat_falls_to_half_at_half_its_width(beta: float) -> None:
    taps = moffat.make(moffat.Options(fwhm=6, beta=beta, integrate=False))
    middle = taps.shape[0] // 2
    assert taps[middle + 3, middle] == pytest.approx(taps[middle, middle] / 2, rel=1e-12)


def test_moffat_tends_to_a_gaussian() -> None:
    fwhm = 5 * 2 * math.sqrt(2 * math.log(2))
    gauss = make("gaussian:sigma=5,size=21,integrate=yes")
    np.testing.assert_allclose(make(f"moffat:fwhm={fwhm},beta=1e7,size=21"), gauss, rtol=1e-4)


@pytest.mark.parametrize("width", [0.1, 0.45, 1.3, 6.0])
def test_optics_average_over_each_pixel(width: float) -> None:
    """By nested adaptive integrals, which know nothing of the Gauss-Legendre sum."""
    alpha = width / (2 * math.sqrt(2 ** (1 / 2.5) - 1))
    profiles = {
        "moffat:fwhm": lambda r: (1 + (r / alpha) ** 2) ** -2.5,
        "airy:radius": lambda r: (2 * j1(v) / v) ** 2 if (v := 3.8317059702075125 * r / width) else 1.0,
    }
    for spec, profile in profiles.items():
        taps = make(f"{spec}={width},size=3,4")

        def mean(y: int, x: int, profile: Any = profile) -> float:
            box = (y - 0.5, y + 0.5), (x - 0.5, x + 0.5)
            options = [{"points": [0.0]} if low < 0 < high else {} for low, high in box]
            return scipy.integrate.nquad(lambda u, w: profile(math.hypot(u, w)), box, opts=options)[0]

        means = {place: mean(*place) for place in [(0, 0), (0, 1), (1, 1), (0, 2), (1, 2)]}
        total = means[0, 0] + 4 * means[0, 1] + 4 * means[1, 1] + means[0, 2] + 2 * means[1, 2]
        for (y, x), value in means.items():
            assert taps[1 - y, 2 - x] == pytest.approx(value / total, abs=2e-7), (spec, y, x)


def test_automatic_sizes_hold_the_light_that_the_help_promises() -> None:
    v = 5 * 3.8317059702075125
    assert 1 - j0(v) ** 2 - j1(v) ** 2 == pytest.approx(0.97, abs=0.005)  # Airy, within 5 radii
    inside = 1 - (1 + (4 * 2 * math.sqrt(2 ** (1 / 2.5) - 1)) ** 2) ** (1 - 2.5)  # Moffat, within 4 fwhm
    assert inside == pytest.approx(0.99, abs=0.002)
    assert airy.make(airy.Options(radius=2.1)).shape == (23, 23)
    assert moffat.make(moffat.Options(fwhm=2.1)).shape == (19, 19)


# Derivatives


@pytest.mark.parametrize(("spec", "axis"), [("sobel-x", 1), ("sobel-y", 0)])
def test_sobel_correlates_as_scipy_does_and_is_positive_uphill(spec: str, axis: int) -> None:
    image = np.random.default_rng(1).random((7, 10))
    taps = make(spec)
    correlated = scipy.ndimage.correlate(image, taps, mode="wrap")
    np.testing.assert_allclose(correlated, scipy.ndimage.sobel(image, axis=axis, mode="wrap"), atol=1e-14)
    ramp = np.indices((7, 10))[axis].astype(float)
    np.testing.assert_array_equal(scipy.ndimage.correlate(ramp, taps)[1:-1, 1:-1], 8)
    np.testing.assert_array_equal(scipy.ndimage.convolve(ramp, taps)[1:-1, 1:-1], -8)


def test_sobel_x_as_everyone_prints_it() -> None:
    assert make("sobel-x").tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    assert make("sobel-y").tolist() == make("sobel-x").T.tolist()


@pytest.mark.parametrize(("neighbours", "factor"), [(4, 1), (8, 3), (6, 1), (26, 9)])
def test_laplacian_of_a_quadratic_is_the_sum_of_its_second_derivatives(neighbours: int, factor: int) -> None:
    taps = make(f"laplacian:neighbours={neighbours}")
    curvatures = [2.0, 5.0, -3.0][: taps.ndim]
    grid = np.indices((7, 8, 9)[: taps.ndim]).astype(float)
    image = sum(c / 2 * p**2 + p for c, p in zip(curvatures, grid, strict=True))
    inner = scipy.ndimage.correlate(image, taps)[(slice(1, -1),) * taps.ndim]
    np.testing.assert_allclose(inner, factor * sum(curvatures), atol=1e-11)
    assert np.count_nonzero(taps) == neighbours + 1
    assert taps.min() == -neighbours


def test_laplacian_default_is_scipys() -> None:
    image = np.random.default_rng(2).random((5, 8))
    np.testing.assert_allclose(
        scipy.ndimage.correlate(image, make("laplacian"), mode="wrap"), scipy.ndimage.laplace(image, mode="wrap")
    )


# Specs


def test_the_families() -> None:
    assert families.names() == sorted(
        ["airy", "box", "delta", "disk", "gaussian", "laplacian", "moffat", "motion", "random", "sobel-x", "sobel-y"]
    )
    for name in families.names():
        summary = families.summary(name)
        assert 20 < len(summary) < 110
        assert not summary.endswith(".")


def test_what_is_a_spec() -> None:
    assert is_spec("gaussian:sigma=1.6")
    assert is_spec("sobel-x")
    for file in ("k.npy", "gaussian.npy", "folder/box", "_grid", "solvers", ""):
        assert not is_spec(file)


def test_commas_part_settings_and_numbers() -> None:
    np.testing.assert_array_equal(
        make("gaussian:sigma=1,2,size=9,15"), gaussian.make(gaussian.Options(sigma=(1.0, 2.0), size=(9, 15)))
    )
    np.testing.assert_array_equal(make("gaussian:size=9,15,sigma=1,2"), make("gaussian:sigma=1,2,size=9,15"))
    assert make("gaussian:sigma=1,size=auto").shape == (9, 9)


REFUSED = {
    "gaussian": "needs sigma=",
    "gaussian:1.6": "expected name=value",
    "gaussian:sigma=": "expected name=value",
    "gaussian:sigma=0": "above 0",
    "gaussian:sigma=-1": "above 0",
    "gaussian:sigma=nan": "finite",
    "gaussian:sigma=inf": "finite",
    "gaussian:sigma=1,0": "above 0",
    "gaussian:sigma=wide": "a number",
    "gaussian:sigma=1,,2": "numbers joined by commas",
    "gaussian:sigma=1,sigma=2": "set twice",
    "gaussian:sigma=1,width=2": "no option 'width'",
    "gaussian:sigma=1,2,3,4": "4 numbers",
    "gaussian:sigma=1,2,size=3,4,5": "1 number or 3",
    "gaussian:sigma=1,2,3,size=3,4": "1 number or 3",
    "gaussian:sigma=1,size=0": "1 or more",
    "gaussian:sigma=1,size=5,-5": "1 or more",
    "gaussian:sigma=1,size=2.5": "a whole number",
    "gaussian:sigma=1,size=100000": "more than 134217728",
    "gaussian:sigma=1e6": "more than 134217728",
    "gaussian:sigma=1e308": "more than 134217728",
    "gaussian:sigma=1,integrate=maybe": "true or false",
    "box:size=0": "1 or more",
    "box:size=3,3,3,3": "4 numbers",
    "box:size=99999": "more than 134217728",
    "disk": "needs radius=",
    "disk:radius=0": "above 0",
    "disk:radius=nan": "finite",
    "disk:radius=1e9": "more than 134217728",
    "motion:length=-3": "above 0",
    "motion:length=nan": "finite",
    "motion:length=5,angle=inf": "finite",
    "motion:length=1e300,angle=40": "more than 134217728",
    "airy:radius=0.05": "at least 0.1",
    "airy:radius=2,size=3,3,3": "1 number or 2",
    "airy:radius=1e5": "more than 134217728",
    "moffat:fwhm=0": "at least 0.1",
    "moffat:fwhm=3,beta=1": "above 1",
    "moffat:fwhm=3,beta=nan": "above 1",
    "laplacian:neighbours=5": "4, 8, 6 or 26",
    "delta:shift=9,size=3": "does not fit",
    "delta:shift=-2,0,size=3": "does not fit",
    "delta:size=0": "1 or more",
    "random:seed=-1": "0 or more",
    "random:size=0": "1 or more",
    "sobel-x:size=5": "no option 'size'",
    "bokeh:radius=3": "unknown kernel 'bokeh'",
}


@pytest.mark.parametrize("spec", REFUSED)
def test_bad_settings_get_one_line_that_names_the_kernel(spec: str) -> None:
    with pytest.raises(SettingError) as caught:
        make(spec)
    text = str(caught.value)
    assert REFUSED[spec] in text
    assert f"kernel {spec.partition(':')[0]}" in text or "unknown kernel" in text
    assert "\n" not in text
    assert len(text) < 200


def test_the_library_is_as_strict_as_the_specs() -> None:
    from convtool.kernels import laplacian

    with pytest.raises(SettingError, match="neighbours must be"):
        laplacian.make(laplacian.Options(neighbours=5))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="size"):
        gaussian.make(gaussian.Options(sigma=1.0, size=-3))


@pytest.mark.parametrize("name", families.names())
def test_examples_of_the_docstrings(name: str) -> None:
    module = families.load(name)
    results = doctest.testmod(module)
    assert results.failed == 0
    assert results.attempted > 0 or name.startswith("sobel")


def test_listing_the_families_does_not_import_numpy() -> None:
    code = (
        "import sys; from convtool.kernels import families; from convtool.registry import fields;"
        "[fields(families.load(n).Options) and families.summary(n) for n in families.names()];"
        "assert not {'numpy', 'scipy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
