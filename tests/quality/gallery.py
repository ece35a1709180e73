"""A contact sheet: for each case the input, every result and the truth, and below them what is wrong with each.

Differences are result - truth, four times amplified around mid-grey (a sixteenth of the scale off is a step from grey
to three quarters). Drawn with Pillow, which comes with imageio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .case import Case

_GAP, _LINE, _AMPLIFIED = 6, 16, 4.0
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True, eq=False)
class Picture:
    """An estimate of a case, and the contender's name."""

    name: str
    x: np.ndarray


def sheet(rows: Sequence[tuple[Case, Sequence[Picture]]], path: Path) -> None:
    """Write the contact sheet as a PNG: two bands a case, one column each for input, pictures and truth."""
    bands = [band for case, pictures in rows for band in _bands(case, pictures)]
    width = max(band.width for band in bands)
    page = Image.new("RGB", (width, sum(band.height for band in bands)), _PAPER)
    top = 0
    for band in bands:
        page.paste(band, (0, top))
        top += band.height
    is_grey = not any("C" in case.axes for case, _ in rows)
    (page.convert("L") if is_grey else page).save(path, optimize=True)


def _bands(case: Case, pictures: Sequence[Picture]) -> list[Image.Image]:
    """The band of images, with the case's name above, and the band of differences; all as they are scored."""
    estimates = [Picture("input", case.data), *pictures]
    labels = [f"{p.name}  {case.psnr(p.x):.2f} dB" for p in estimates] + ["truth"]
    shown = [_plane(case, x) for x in (*(case.scored(p.x)[0] for p in estimates), case.scored(case.truth)[1])]
    low, high = _scale(case, shown[0], shown[-1])
    tiles = [_tile(case, (x - low) / (high - low)) for x in shown]
    tiles[0] = _with_kernel(tiles[0], case.kernel)
    differences = [_picture(127.5 + 255 * _AMPLIFIED * (x - shown[-1]) / (high - low)) for x in shown[:-1]]
    return [_band(case.name, labels, tiles), _band("", [""] * len(differences), differences)]


def _band(title: str, labels: Sequence[str], tiles: Sequence[Image.Image]) -> Image.Image:
    heading = _LINE + 4 if title else 0
    caption = _LINE if any(labels) else 0
    width, height = tiles[0].size
    band = Image.new("RGB", (len(tiles) * (width + _GAP), heading + caption + height + _GAP), _PAPER)
    draw = ImageDraw.Draw(band)
    draw.text((2, 4), title, _INK, font=ImageFont.load_default())
    for n, (label, tile) in enumerate(zip(labels, tiles, strict=True)):
        draw.text((n * (width + _GAP) + 2, heading), label, _INK, font=ImageFont.load_default())
        band.paste(tile, (n * (width + _GAP), heading + caption))
    return band


def _tile(case: Case, share: np.ndarray) -> Image.Image:
    """Photons are shown as square roots, so that the faint is seen."""
    share = np.clip(share, 0, 1)
    return _picture(255 * (share if case.peak == 255 else np.sqrt(share)))


def _scale(case: Case, data: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """What is black and what is white."""
    if case.peak == 255:
        return 0.0, 255.0
    return float(np.percentile(data, 1)), float(max(np.percentile(data, 99.8), np.percentile(truth, 99)))


def _plane(case: Case, x: np.ndarray) -> np.ndarray:
    """A volume as its maxima along Z."""
    return x.max(axis=0) if case.axes.startswith("Z") else x


def _picture(values: np.ndarray) -> Image.Image:
    """Small ones twice or more as large."""
    image = Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8)).convert("RGB")
    factor = max(1, 192 // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _with_kernel(tile: Image.Image, kernel: np.ndarray) -> Image.Image:
    """The kernel, twice as large and framed, in the lower left corner."""
    taps = kernel.max(axis=0) if kernel.ndim == 3 else kernel
    inset = Image.fromarray(np.kron(np.round(255 * taps / taps.max()), np.ones((2, 2))).astype(np.uint8)).convert("RGB")
    tile = tile.copy()
    frame = (0, tile.height - inset.height - 2, inset.width + 1, tile.height - 1)
    ImageDraw.Draw(tile).rectangle(frame, outline=_PAPER)
    tile.paste(inset, (1, tile.height - inset.height - 1))
    return tile
