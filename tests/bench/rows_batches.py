"""Rows: many files, beside what people write in a shell: a loop of single commands, and `xargs` with a script.

The script takes any number of files, so that it loads its libraries once a process, and `xargs -P2` starts one for each
half of them: the fewest, which is the fastest. All convolve with a Gaussian on a torus and round to 8 bits; the last
pictures agree within one grey level.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import machine
from .row import Call, Contender, Row, Target
from .rows_commands import grey_levels, ran
from .vips_and_magick import Output

_FILES, _SIDE, _SIGMA = 200, 1024, 2
_LOOP, _XARGS = "shell loop of single commands", "scikit-image script, xargs -P2"
_CONVOLVE = ("-m", "convtool", "convolve", "-k", f"gaussian:sigma={_SIGMA}", "--quiet")

_SCRIPT = """
import pathlib, sys, numpy as np
from skimage import filters, io
for name in sys.argv[2:]:
    x = filters.gaussian(io.imread(name), SIGMA, mode="wrap", truncate=4, channel_axis=-1, preserve_range=True)
    target = pathlib.Path(sys.argv[1]) / pathlib.Path(name).name
    io.imsave(target, np.clip(np.rint(x), 0, 255).astype(np.uint8), check_contrast=False)
"""


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder with images `in/000.png` ..., and places for results."""

    output: Output = field(repr=False)

    def results(self, name: str) -> Path:
        """A new folder for one contender's results."""
        made = self.output.path / name
        made.mkdir()
        return made

    def last(self, results: Path) -> Path:
        """The result of the last image."""
        return results / f"{_FILES - 1:03}.png"


def folder() -> Folder:
    """Colour pictures with a little noise, as photographs have, each one different."""
    import imageio.v3 as iio

    made = Folder(Output())
    (made.output.path / "in").mkdir()
    found = iio.imread(machine.ROOT / "sample_images" / "chelsea.png")
    pads = [(0, max(0, _SIDE - n)) for n in found.shape[:2]]
    large = np.pad(found, [*pads, (0, 0)], mode="symmetric")[:_SIDE, :_SIDE].astype(np.int16)
    for number in range(_FILES):
        noise = np.random.default_rng(number).integers(-1, 2, large.shape, np.int16)
        pixels = np.clip(np.roll(large, number, axis=1) + noise, 0, 255).astype(np.uint8)
        iio.imwrite(made.output.path / f"in/{number:03}.png", pixels, compress_level=1)
    return made


def batch(data: Folder) -> Call:
    """One command with the folder."""
    results = data.results("convtool")
    line = [sys.executable, *_CONVOLVE, data.output.path / "in", "--output-dir", results]
    return ran(line, data.last(results))


def loop(data: Folder) -> Call:
    """One command for each image, one after the other."""
    results = data.results("loop")
    command = " ".join([sys.executable, *_CONVOLVE])
    text = f'for f in "$1"/in/*; do {command} "$f" -o "$2/${{f##*/}}" || exit; done'
    return ran(["sh", "-c", text, "sh", data.output.path, results], data.last(results))


def script(data: Folder) -> Call:
    """Two processes with half of the images each."""
    results, path = data.results("script"), data.output.path / "smooth.py"
    path.write_text(_SCRIPT.replace("SIGMA", str(_SIGMA)))
    text = f'printf "%s\\\\0" "$1"/in/* | xargs -0 -P2 -n{-(-_FILES // 2)} {sys.executable} "$2" "$3"'
    return ran(["sh", "-c", text, "sh", data.output.path, path, results], data.last(results))


def rewriting(data: Folder) -> Call:
    """Pillow decodes and encodes all pictures, on one thread."""
    results = data.results("rewritten")
    code = (
        "import pathlib, sys, PIL.Image\n"
        "for file in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    PIL.Image.open(file).save(pathlib.Path(sys.argv[2]) / file.name, compress_level=1)\n"
    )
    return ran([sys.executable, "-c", code, data.output.path / "in", results], data.last(results))


def folder_of_pictures() -> Row:
    """A file of 200."""
    return Row(
        name="batch-200",
        work=f"a file in a batch of {_FILES} RGB PNGs of {_SIDE}², convolve",
        data=folder,
        ours=batch,
        peers=tuple(
            Contender(name, prepare, needs, times=1 / _FILES)
            for name, prepare, needs in ((_LOOP, loop, ()), (_XARGS, script, ("skimage", "command:xargs")))
        ),
        floors=(Contender("Pillow, in and out", rewriting, times=1 / _FILES),),
        targets=(
            Target(1 / 1.8, "the shell loop", (_LOOP,)),
            Target(1 / 1.2, "the script under xargs", (_XARGS,)),
        ),
        difference=grey_levels,
        tolerance=1.0,
        times=1 / _FILES,
        most_rounds=2,
    )


ROWS: tuple[Callable[[], Row], ...] = (folder_of_pictures,)
