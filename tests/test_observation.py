"""Which data count: masks of every shape, saturation, NaN; boundaries and their frames; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convtool
from convtool import deconvolution, model, observation
from convtool.deconvolution import tv
from convtool.errors import ConvtoolError
from convtool.observation import Rounding, counted, spread, unsaturated

RNG = np.random.default_rng(31)
KERNEL = np.array([[0.05, 0.10, 0.00], [0.10, 1.00, 0.30], [0.00, 0.05, 0.02]])


def test_a_mask_of_the_spatial_axes_counts_for_every_channel_and_image() -> None:
    plane = RNG.random((4, 5)) > 0.5
    for axes, shape in (("YX", (4, 5)), ("YXC", (4, 5, 3)), ("CYX", (3, 4, 5)), ("NYXC", (2, 4, 5, 3)), ("XY", (5, 4))):
        found = spread(plane, axes, shape)
        assert found.shape == shape
        for place in np.ndindex(shape):
            at = dict(zip(axes, place, strict=True))
            assert found[place] == plane[at["Y"], at["X"]]
    volume = RNG.random((2, 4, 5)) > 0.5
    np.testing.assert_array_equal(spread(volume, "ZYX", (2, 4, 5)), volume)
    np.testing.assert_array_equal(spread(255 * plane.astype("u1"), "YX", (4, 5)), plane)


@pytest.mark.parametrize("shape", [(4, 6), (5, 4), (4,), (3, 4, 5), (1, 1, 4, 5), ()])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConvtoolError, match="give a mask"):
        spread(np.ones(shape), "YX", (4, 5))
    with pytest.raises(ConvtoolError, match="leaves nothing"):
        spread(np.zeros((4, 5)), "YX", (4, 5))


def test_saturation_is_a_share_of_the_dtypes_maximum() -> None:
    y = np.array([[0, 252, 253, 255]], np.uint8)
    np.testing.assert_array_equal(unsaturated(y, 0.99), [[True, True, False, False]])
    np.testing.assert_array_equal(unsaturated(y, 1.0), [[True, True, True, False]])
    np.testing.assert_array_equal(unsaturated(np.array([0.1, 7.0, 6.5]), 0.95), [True, False, True])
    for share in (0, 1.01, -1, np.nan):
        with pytest.raises(ConvtoolError, match=r"0\.99"):
            unsaturated(y, share)


def test_infinities_are_no_maximum() -> None:
    y = np.array([[1.0, 5.0, 9.9, 10.0, np.inf]])
    np.testing.assert_array_equal(unsaturated(y, 0.99), [[True, True, False, False, False]])
    with pytest.raises(ConvtoolError, match="no data lie below"):
        unsaturated(np.full((2, 2), 7.0), 0.99)
    with pytest.raises(ConvtoolError, match="NaN"):
        convtool.deconvolve(np.where(scene() == scene()[3, 4], np.nan, scene()), KERNEL, method="tv", saturation=0.99)


def test_what_is_no_number_and_does_not_count_is_filled() -> None:
    y = np.array([[1.0, 3.0], [np.nan, np.inf]])
    mask = np.array([[1, 1], [0, 0]])
    filled, found = counted(y, "YX", mask, None)
    np.testing.assert_array_equal(filled, [[1, 3], [2, 2]])
    np.testing.assert_array_equal(found, mask)
    same, none = counted(y, "YX", None, None)
    assert same is y
    assert none is None
    filled, found = counted(np.array([[1.0, 10.0, np.nan]]), "YX", np.array([[1, 1, 0]]), 0.9)
    np.testing.assert_array_equal(found, [[True, False, False]])


def test_the_rounding_of_whole_numbers() -> None:
    assert Rounding.to(np.dtype(np.uint8)) == (12**-0.5, 8, 12**-0.5, False)
    assert Rounding.to(np.dtype(np.uint16)) == (12**-0.5, 16, 12**-0.5, False)
    assert Rounding.to(np.dtype(np.float32)) is None


def scene() -> np.ndarray:
    y, x = np.mgrid[:40, :52]
    return 100 + 60.0 * ((y // 9 + x // 7) % 2) + y


@pytest.mark.parametrize("operation", ["convolve", "correlate"])
@pytest.mark.parametrize("kernel", [KERNEL, np.pad(KERNEL, ((0, 1), (3, 0)))], ids=["odd", "even"])
def test_unknown_surroundings_are_a_part_of_a_larger_scene(operation: str, kernel: np.ndarray) -> None:
    """The frame of the operator's scene lies under the data: blurring the scene gives them without any border."""
    whole = getattr(convtool, operation)(scene(), kernel, boundary="periodic")
    y = whole[10:30, 11:40]
    built = model.build(y, kernel, boundary="unknown", operation=operation, is_data=True)
    assert built.operator.in_shape[1:] == tuple(n + k - 1 for n, k in zip(y.shape, kernel.shape, strict=True))
    assert built.input_shape == y.shape
    starts = [part.start for part in built.frame or ()]
    around = scene()[
        10 - starts[0] : 10 - starts[0] + built.operator.in_shape[1],
        11 - starts[1] : 11 - starts[1] + built.operator.in_shape[2],
    ]
    np.testing.assert_allclose(built.operator.forward(around[None, None])[0, 0], y)
    np.testing.assert_array_equal(built.framed(around[None, None]), scene()[10:30, 11:40])
    kept = model.build(y, kernel, boundary="unknown", operation=operation, is_data=True, keep_extension=True)
    assert kept.input_shape == built.operator.in_shape[1:]


def test_the_extension_is_kept_on_demand() -> None:
    y = convtool.convolve(scene(), KERNEL)[5:25, 5:30]
    options = tv.Options(weight=0.01)
    framed = convtool.deconvolve(y, KERNEL, method=options, boundary="unknown")
    kept = convtool.deconvolve(y, KERNEL, method=options, boundary="unknown", keep_extension=True)
    assert framed.x.shape == y.shape
    assert kept.x.shape == (22, 27)
    np.testing.assert_array_equal(kept.x[1:-1, 1:-1], framed.x)
    assert framed.metrics["relative_residual"] == kept.metrics["relative_residual"] < 0.01


def test_what_does_not_count_changes_nothing() -> None:
    y = convtool.convolve(scene(), KERNEL)[5:25, 5:30]
    mask = np.ones(y.shape, bool)
    mask[6:9, 4:11] = False
    options = tv.Options(weight=0.01)
    found = [
        convtool.deconvolve(np.where(mask, y, lost), KERNEL, method=options, boundary="unknown", mask=mask)
        for lost in (150.0, np.nan, -np.inf)
    ]
    for other in found[1:]:
        assert np.linalg.norm(other.x - found[0].x) < 0.02 * np.linalg.norm(found[0].x)
        assert other.metrics["relative_residual"] < 0.01
    spoilt = convtool.deconvolve(np.where(mask, y, 1e4), KERNEL, method=options, boundary="unknown").x
    assert np.linalg.norm(spoilt - found[0].x) > 0.2 * np.linalg.norm(found[0].x)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"boundary": "mirror"}, "unknown boundary 'mirror': use auto, unknown, periodic"),
        ({"boundary": "unknown", "padding": "valid"}, "boundary unknown needs padding same"),
        ({"boundary": "unknown", "stride": 2}, "boundary unknown needs padding same and stride 1"),
        ({"method": "tv", "stride": 2, "shape": (40, 58)}, "boundary auto is for padding same"),
        ({"method": "pinv", "boundary": "unknown"}, "method pinv inverts periodic data"),
        ({"method": "pinv", "saturation": 0.9}, "pinv cannot leave pixels out"),
        ({"method": "least-squares", "mask": np.eye(20, 29)}, "least-squares cannot leave pixels out"),
        ({"spacing": (1, 2, 3)}, "spacing must be 2 numbers"),
        ({"spacing": (0, 1)}, "spacing must be 2 numbers above 0"),
        ({"effort": "heroic"}, "unknown effort 'heroic': use low, normal or high"),
    ],
)
def test_settings_that_do_not_fit_are_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ConvtoolError, match=said):
        convtool.deconvolve(scene()[:20, :29], KERNEL, **how)


def test_every_boundary_has_a_name() -> None:
    for name in observation.BOUNDARIES:
        observation.check_boundary(name)
    assert set(observation.BOUNDARIES) > {"auto", "unknown", "zero"}
    assert deconvolution.pinv.AUTO_BOUNDARY == "periodic"
