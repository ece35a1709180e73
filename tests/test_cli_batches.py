"""Many images through one command: which are meant, where results go, what failures cost, and what is done again."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from command import PROGRAM, Outcome, contents, environment, peak, refused, run, succeed

from convtool import cli
from convtool.cli import progress
from convtool.cli.batches.places import Task
from convtool.cli.batches.tally import Tally

RNG = np.random.default_rng(20)
K = ("-k", "gaussian:sigma=1")
CENTRE = np.multiply.outer(np.eye(3), np.pad([[1.0]], 1))  # [O, I, Y, X]


def photo(file: Path, shape: tuple[int, ...] = (24, 37, 3)) -> None:
    """An image file with noise in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(file, RNG.integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder `scans` with images at two depths, and with files that are no images."""
    for name in ("a.png", "b.png", "deep/c.png", "deep/er/d.tif", ".hidden.png", ".cache/e.png"):
        photo(tmp_path / "scans" / name)
    (tmp_path / "scans" / "notes.txt").write_text("no image")
    return tmp_path


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path there, hidden ones too."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def results(folder: Path) -> list[str]:
    """The paths of all files below a folder, but for records."""
    return [name for name in tree(folder) if ".convtool" not in name]


def batch(here: Path, *arguments: str, status: int = 0, **settings: Any) -> Outcome:
    """A batch in a folder, with its exit status."""
    outcome = run(*arguments, cwd=here, **settings)
    assert outcome.status == status, outcome.stderr
    assert "Traceback" not in outcome.stderr
    return outcome


# Which images are meant -----------------------------------------------------------------------------------------------


def test_a_folder_is_its_images_and_its_tree_is_mirrored(scans: Path) -> None:
    batch(scans, "convolve", "scans", *K, "--output-dir", "flat")
    assert results(scans / "flat") == ["a.png", "b.png"]
    batch(scans, "convolve", "scans", "-r", *K, "--output-dir", "out")
    assert results(scans / "out") == ["a.png", "b.png", "deep/c.png", "deep/er/d.tif"]
    succeed("convolve", "scans/deep/c.png", *K, "-o", "one.png", "--reproducible", cwd=scans)
    batch(scans, "convolve", "scans", "-r", *K, "--output-dir", "again", "--reproducible")
    assert (scans / "again/deep/c.png").read_bytes() == (scans / "one.png").read_bytes()


def test_patterns_lists_and_standard_input_name_images(scans: Path) -> None:
    batch(scans, "convolve", "scans/**/*.png", *K, "--output-dir", "pattern")
    assert results(scans / "pattern") == ["a.png", "b.png", "c.png"]
    (scans / "list.txt").write_bytes(b"scans/b.png\r\n\nscans/deep/c.png\n")
    batch(scans, "convolve", "@list.txt", *K, "--output-dir", "list")
    batch(scans, "convolve", "--files-from", "list.txt", *K, "--output-dir", "from")
    batch(scans, "convolve", "--files-from", "-", *K, "--output-dir", "lines", stdin=b"scans/b.png\nscans/deep/c.png\n")
    batch(
        scans, "convolve", "--files-from", "-", "-0", *K, "--output-dir", "nul", stdin=b"scans/b.png\0scans/deep/c.png"
    )
    for folder in ("list", "from", "lines", "nul"):
        assert results(scans / folder) == ["b.png", "c.png"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    photo(tmp_path / "x[1].png")
    photo(tmp_path / "x1.png")
    batch(tmp_path, "convolve", "x[1].png", "x1.png", *K, "--output-dir", "out")
    assert results(tmp_path / "out") == ["x1.png", "x[1].png"]


def test_odd_names_are_read_and_written_and_never_echoed_raw(tmp_path: Path) -> None:
    names = [
        b"-k.png",
        b"a\nb.png",
        b"\x1b[31mred.png",
        b"\xff\xfe.png",
        "schön 日本.png".encode(),
        b"~.png",
        b"{stem}.png",
    ]
    for name in names:
        photo(tmp_path / "in" / "x.png")
        os.rename(tmp_path / "in" / "x.png", os.path.join(os.fsencode(tmp_path / "in"), name))
    (tmp_path / "in" / "bad\x1b[2J.png").write_bytes(b"\x89PNG")
    outcome = batch(tmp_path, "convolve", "in", *K, "--output-dir", "out", "--json", status=1)
    written = {name for name in os.listdir(os.fsencode(tmp_path / "out")) if name != b".convtool"}
    assert written == set(names)
    assert "\x1b" not in outcome.stderr
    assert b"\x1b" not in outcome.stdout
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert {os.fsencode(line["input"]["name"]) for line in lines[:-1]} >= {b"in/" + name for name in names}


def test_links_and_dots_in_lists_write_nothing_elsewhere(tmp_path: Path) -> None:
    photo(tmp_path / "far/x.png")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/link.png").symlink_to(tmp_path / "far/x.png")
    (tmp_path / "work/loop").symlink_to(tmp_path / "work")
    (tmp_path / "work/nothing.png").symlink_to("gone.png")
    before = tree(tmp_path / "far")
    names = b"../far/x.png\nlink.png\nloop/link.png\n"
    outcome = batch(
        tmp_path / "work", "convolve", "--files-from", "-", *K, "--output-dir", "out", stdin=names, status=2
    )
    assert "two results would go to out/link.png" in outcome.stderr
    batch(tmp_path / "work", "convolve", "--files-from", "-", *K, "--output-dir", "out", stdin=names[:-14])
    assert results(tmp_path / "work/out") == ["link.png", "x.png"]
    outcome = batch(tmp_path / "work", "convolve", ".", "-r", *K, "--output-dir", "all", status=1)
    assert "nothing.png: no such file" in outcome.stderr
    assert results(tmp_path / "work/all") == ["link.png", "out/link.png", "out/x.png"]
    assert tree(tmp_path / "far") == before


def test_the_kernel_and_the_output_folder_are_no_images_of_the_folder(scans: Path) -> None:
    np.save(scans / "scans/k.npy", np.ones((3, 3)) / 9)
    shutil.rmtree(scans / "scans/deep")
    for _ in range(2):
        batch(scans, "convolve", "scans", "-r", "-k", "scans/k.npy", "--output-dir", "scans/out")
        assert results(scans / "scans/out") == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scans"], "the results of the folder scans need a folder of their own: say --output-dir DIR"),
        (["none", "--output-dir", "out"], "the folder none holds no image (folders in it are for --recursive)"),
        (["none", "-r", "--output-dir", "out"], "the folder none holds no image: names must end in .png"),
        (["scans/*.jpg"], "no file is named like scans/*.jpg"),
        (["@empty.txt"], "empty.txt names no image: give one name a line"),
        (["@gone.txt"], "cannot read gone.txt: no such file"),
        (["--files-from", "nul.txt"], "line 1 of nul.txt holds a NUL byte: say -0"),
        (["-", "scans/a.png"], "standard input (-) is one image"),
        ([], "no image was named"),
        (["--output-dir", "out"], "no image was named"),
        (["scans/a.png", "scans/b.png", "-o", "x.png"], "-o names one file, and this is a batch of 2"),
        (["scans/a.png", "link/a.png", "--output-dir", "out"], "scans/a.png and link/a.png are one file: name it once"),
        (["scans", "--output-dir", "out", "--output-name", "x.png"], "is one name for 2 results: put {stem} in it"),
        (["scans", "--output-dir", "out", "--output-name", "{suffix}"], "two results would go to out/.png"),
        (["scans", "--output-dir", "out", "--output-name", "{name}.png"], "has the field {name}, expected {stem}"),
        (["scans", "--output-dir", "out", "--output-name", "{stem!r}"], "has the field {stem!r}, expected"),
        (["scans", "--output-dir", "out", "--output-name", "{stem.x}"], "has the field {stem.x}"),
        (["scans", "--output-dir", "out", "--output-name", "{stem"], "is no template"),
        (["scans", "--output-dir", "out", "--output-name", "../{stem}.png"], "leads elsewhere"),
        (["scans", "--output-dir", "out", "--output-name", "/{stem}.png"], "leads elsewhere"),
        (["scans", "--output-dir", "scans"], "the result of scans/a.png would replace scans/a.png, which is read"),
        (["scans", "--output-dir", "out", "--memory-limit", "many"], "--memory-limit must be a size such as 800M"),
        (["scans", "--output-dir", "out", "--memory-limit", "0"], "--memory-limit must be a size"),
        (["scans", "--output-dir", "empty.txt"], "--output-dir empty.txt is a file: name a folder"),
        (["@-", "--files-from", "-"], "only one input can come from standard input"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(scans: Path, arguments: list[str], says: str) -> None:
    (scans / "none/inner").mkdir(parents=True)
    (scans / "link").symlink_to("scans")
    (scans / "empty.txt").write_text("\n")
    (scans / "nul.txt").write_bytes(b"a\0b")
    before = tree(scans)
    assert says in refused(scans, "convolve", *arguments, *K, cwd=scans)
    assert tree(scans) == before


def test_nothing_that_is_read_or_written_is_replaced_by_something_else(scans: Path) -> None:
    (scans / "list.png").write_text("scans/a.png\nscans/b.png\n")
    rl = ["deconvolve", "--method", "rl", "--set", "iterations=1", "--set", "snapshots=1"]
    shutil.copy(scans / "scans/a.png", scans / "scans/b.it001.png")
    for arguments, says in (
        (["edges", "scans", "--output-dir", "out", "--report", "scans/a.png"], "the report would replace scans/a.png"),
        (["edges", "@list.png", "--output-dir", "out", "--report", "list.png"], "the report would replace list.png"),
        (["edges", "scans", "--output-dir", "out", "--report", "out/b.png"], "the report would replace out/b.png"),
        (["edges", "--files-from", "list.png", "--output-dir", ".", "--output-name", "list.png"], "one name for 2"),
    ):
        before = tree(scans)
        assert says in refused(scans, *arguments, cwd=scans)
        assert tree(scans) == before
    (scans / "one.png").write_text("scans/a.png\n")
    says = refused(
        scans, "edges", "--files-from", "one.png", "--output-dir", ".", "--output-name", "one.png", cwd=scans
    )
    assert "the result of scans/a.png would replace one.png, which is read" in says
    (scans / "out").mkdir()
    for report in ("out/b.png", "out/.convtool/b.png.json"):
        (scans / report).parent.mkdir(exist_ok=True)
        assert "the report would replace" in refused(
            scans, "edges", "scans", "--output-dir", "out", "--report", report, cwd=scans
        )
    outcome = batch(scans, *rl, "scans", *K, "--output-dir", "out", status=1)
    assert "the snapshot out/b.it001.png would replace another image or result" in outcome.stderr
    assert results(scans / "out") == ["a.it001.png", "a.png", "b.it001.it001.png", "b.it001.png"]


def test_links_do_not_hide_what_is_read(scans: Path) -> None:
    (scans / "list.txt").write_text("scans/a.png\nscans/b.png\n")
    os.link(scans / "scans/a.png", scans / "a.jsonl")
    os.link(scans / "list.txt", scans / "list.jsonl")
    for report in ("a.jsonl", "list.jsonl"):
        before = tree(scans)
        says = refused(scans, "edges", "@list.txt", "--output-dir", "out", "--report", report, cwd=scans)
        assert f"the report would replace {report}" in says
        assert tree(scans) == before
    (scans / "out/.convtool").mkdir(parents=True)
    (scans / "out/.convtool/a.png.json").symlink_to(scans / "scans/b.png")
    before = tree(scans / "scans")
    outcome = batch(scans, "edges", "scans", "--output-dir", "out", status=1)
    assert "out/.convtool/a.png.json: the record of a result is a file, and that is none" in outcome.stderr
    assert tree(scans / "scans") == before


def test_the_settings_beside_a_kernel_are_read_too(scans: Path) -> None:
    np.save(scans / "k.npy", np.ones((3, 3)) / 9)
    succeed("merge-kernels", "k.npy", "k.npy", "-o", "m.npy", cwd=scans)
    before = tree(scans)
    for words in (
        ["scans/a.png", "-o", "x.png", "--report", "m.npy.json"],
        ["scans/a.png", "-o", "m.npy.json", "--format", "npy"],
        ["scans", "--output-dir", "out", "--report", "m.npy.json"],
        ["scans/a.png", "--output-dir", ".", "--output-name", "m.npy.json", "--format", "npy"],
    ):
        says = refused(scans, "convolve", *words, "-k", "m.npy", cwd=scans)
        assert "m.npy.json" in says
        assert tree(scans) == before


def test_an_earlier_report_stays_where_nothing_is_begun(scans: Path) -> None:
    (scans / "r.jsonl").write_text("earlier\n")
    batch(scans, "convolve", "scans", "-k", "gone.npy", "--output-dir", "out", "--report", "r.jsonl", status=2)
    assert (scans / "r.jsonl").read_text() == "earlier\n"


def test_standard_error_is_not_begun_anew(scans: Path) -> None:
    for words in (["scans", "--output-dir", "out"], ["scans/a.png", "-o", "x.png"]):
        with open(scans / "log", "w") as log:
            log.write("earlier\n")
            log.flush()
            line = [*PROGRAM, "convolve", *words, *K, "--report", "/dev/stderr"]
            assert subprocess.run(line, cwd=scans, env=environment(), stderr=log).returncode == 0
        told = (scans / "log").read_text()
        assert told.startswith("earlier\n")
        assert '"command": "convolve"' in told


def test_files_that_claim_endless_sizes_cost_only_themselves(scans: Path) -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (" + 2 * ("9" * 4200 + ",") + "), }\n"
    (scans / "scans/evil.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    (scans / "scans/evil.fits").write_bytes(b"SIMPLE  =                    T".ljust(80) + b"BITPIX  = " + b"9" * 5000)
    outcome = batch(scans, "convolve", "scans", *K, "--output-dir", "out", status=1)
    assert results(scans / "out") == ["a.png", "b.png"]
    assert "2 done, 2 failed" in outcome.stderr
    assert "--memory-limit must be a size" in refused(
        scans, "convolve", "scans", *K, "--output-dir", "out", "--memory-limit", "9" * 400, cwd=scans
    )
    os.mkfifo(scans / "pipe")
    (scans / "scans/c.png").symlink_to(scans / "pipe")
    assert "2 done, 2 failed" in batch(scans, "convolve", "scans", *K, "--output-dir", "out", status=1).stderr
    assert "a file name is empty" in refused(scans, "convolve", "scans/a.png", *K, "--output-dir", "", cwd=scans)


def test_what_cannot_be_written_is_said_before_it_is_computed(scans: Path) -> None:
    for words, says in (
        (["--dtype", "uint7"], "unknown --dtype 'uint7'"),
        (["--scale", "much"], "--scale must be FACTOR"),
        (["--format", "png", "--dtype", "float32"], "a PNG holds 8- or 16-bit integers, got float32"),
        (["--format", "gif"], "unknown format 'gif'"),
    ):
        for where in (["scans", "--output-dir", "out"], ["scans/a.png"]):
            before = tree(scans)
            assert says in refused(scans, "deconvolve", *where, *K, *words, cwd=scans)
            assert tree(scans) == before
    for name in ("{stem}", "{stem}.bmp"):
        says = refused(scans, "edges", "scans", "--output-dir", "out", "--output-name", name, cwd=scans)
        assert "cannot tell the format of out/" in says
    assert "cannot tell the format of x.bmp" in refused(scans, "edges", "scans/a.png", "-o", "x.bmp", cwd=scans)
    says = refused(scans, "edges", "scans", "--output-dir", "out", "--direction", "{stem}{suffix}", cwd=scans)
    assert "the image itself and what another option names for" in says


def test_results_of_the_same_batch_are_not_taken_for_images(scans: Path) -> None:
    for arguments in (
        ["scans/*.png"],
        ["scans/**/*.png", "--output-dir", "scans/deep/out"],
        ["scans", "--output-dir", "scans", "--output-name", "{stem}_soft{suffix}"],
    ):
        first = batch(scans, "convolve", *arguments, *K, "--skip-existing")
        again = batch(scans, "convolve", *arguments, *K, "--skip-existing")
        done = int(first.stderr.partition(" done")[0].rpartition(" ")[2])
        assert f"convtool: {done} skipped" in again.stderr
    photo(scans / "mine/a.png")
    photo(scans / "mine/a.convolved.png")  # not of ours
    says = refused(scans, "convolve", "mine/*.png", *K, cwd=scans)
    assert "the result of mine/a.png would replace mine/a.convolved.png, which is read" in says


def test_named_results_are_left_out_and_it_is_said(scans: Path) -> None:
    """As an unquoted pattern or `find` names them on the second run."""
    photo(scans / "x.png")
    photo(scans / "y.png")
    for _ in range(2):
        names = sorted(name for name in os.listdir(scans) if name.endswith(".png"))
        outcome = batch(scans, "convolve", *names, *K, "--skip-existing")
    assert "convtool: 2 skipped" in outcome.stderr
    says = "note: x.convolved.png and 1 more: left out, since it is a result of this command for another of the images"
    assert says in outcome.stderr
    assert sorted(os.listdir(scans)) == [".convtool", "scans", "x.convolved.png", "x.png", "y.convolved.png", "y.png"]
    batch(scans, "convolve", "x.convolved.png", *K)  # by itself it is an image
    assert (scans / "x.convolved.convolved.png").exists()


def test_what_was_written_beside_results_is_no_image(scans: Path) -> None:
    folder = scans / "scans"
    for words in (
        ("deconvolve", *K, "--method", "rl", "--set", "iterations=2", "--set", "snapshots=1"),
        ("maxpool", "--window", "3", "--indices", "{stem}.at.npy"),
        ("edges", "--direction", "{stem}.d.tif", "--scale", "fit"),
    ):
        for without_option in (False, True):
            command = [word for word in words if not (without_option and word in ("--indices", "{stem}.at.npy"))]
            batch(scans, *command, "scans/[ab].*", "--output-name", "{stem}.made{suffix}")
        for name in os.listdir(folder):
            if ".made" in name or ".at" in name or ".d." in name:
                os.remove(folder / name)
        assert {name for name in os.listdir(folder) if not name.startswith(".")} == {
            "a.png",
            "b.png",
            "deep",
            "notes.txt",
        }
        shutil.rmtree(folder / ".convtool")


def test_an_image_that_is_named_twice_is_one(scans: Path) -> None:
    batch(scans, "convolve", "scans", "scans/a.png", "./scans/a.png", *K, "--output-dir", "out")
    assert results(scans / "out") == ["a.png", "b.png"]


# Where results go -----------------------------------------------------------------------------------------------------


def test_results_lie_beside_their_images_without_an_output_folder(scans: Path) -> None:
    batch(scans, "correlate", "scans/a.png", "scans/deep/c.png", *K)
    assert (scans / "scans/a.correlated.png").exists()
    assert (scans / "scans/deep/c.correlated.png").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--output-name", "{stem}_{command}{suffix}"], ["a_convolve.png", "b_convolve.png"]),
        (["--output-name", "{parent}/{stem}.tif"], ["scans/a.tif", "scans/b.tif"]),
        (["--format", "tiff"], ["a.tif", "b.tif"]),
        (
            ["--format", "npy", "--output-name", "{parent}-{stem}-soft{suffix}"],
            ["scans-a-soft.npy", "scans-b-soft.npy"],
        ),
    ],
)
def test_names_of_results(scans: Path, arguments: list[str], expected: list[str]) -> None:
    batch(scans, "convolve", "scans", *K, "--output-dir", "out", *arguments)
    assert results(scans / "out") == expected
    reader = np.load if expected[0].endswith("npy") else iio.imread
    assert reader(scans / "out" / expected[0]).shape[-2:] != ()


def test_images_that_differ_in_their_endings_alone_can_be_told_apart(tmp_path: Path) -> None:
    for name in ("in/c.png", "in/c.jpg", "other/c.png", "far/in/c.png"):
        photo(tmp_path / name)
    words = ("convolve", *K, "--output-dir", "out", "--output-name")
    batch(tmp_path, *words, "{stem}_{ext}{suffix}", "in")
    assert results(tmp_path / "out") == ["c_jpg.png", "c_png.png"]
    for first, second, template in (
        ("in/c.png", "in/c.jpg", "'{stem}_{ext}{suffix}'"),
        ("in/c.png", "other/c.png", "'{parent}_{stem}{suffix}'"),
    ):
        says = refused(tmp_path, *words[:-1], first, second, cwd=tmp_path)
        assert says.endswith(f"tell them apart with --output-name, such as {template}")
        batch(tmp_path, *words, template.strip("'"), first, second)
    says = refused(tmp_path, *words[:-1], "in/c.png", "far/in/c.png", cwd=tmp_path)
    assert "name a folder that holds both with --recursive" in says


def test_a_field_is_told_as_it_was_written(scans: Path) -> None:
    says = refused(scans, "convolve", "scans", *K, "--output-dir", "o", "--output-name", "{stem!r:>10}.png", cwd=scans)
    assert says.startswith("--output-name has the field {stem!r:>10}, expected {stem}, {ext}, {suffix}, ")


def test_an_ending_that_says_nothing_is_told_by_the_content(tmp_path: Path) -> None:
    photo(tmp_path / "x.jpg")
    photo(tmp_path / "y.png")
    os.rename(tmp_path / "y.png", tmp_path / "y.scan")
    batch(tmp_path, "convolve", "x.jpg", "y.scan", *K, "--output-dir", "out")
    assert results(tmp_path / "out") == ["x.png", "y.png"]


def test_further_files_have_names_of_their_own_for_each_image(scans: Path) -> None:
    says = refused(scans, "edges", "scans", "--output-dir", "out", "--direction", "d.tif", cwd=scans)
    assert "--direction 'd.tif' is one name for 2 results" in says
    batch(scans, "edges", "scans", "--output-dir", "out", "--direction", "{stem}_direction.tif")
    assert results(scans / "out") == ["a.png", "a_direction.tif", "b.png", "b_direction.tif"]
    batch(scans, "maxpool", "scans", "--window", "3", "--output-dir", "pool", "--indices", "{stem}_at.npy")
    assert results(scans / "pool") == ["a.png", "a_at.npy", "b.png", "b_at.npy"]


# Every command --------------------------------------------------------------------------------------------------------

COMMANDS = {
    "convolve": ["convolve", *K],
    "correlate": ["correlate", "-k", "random:size=5,seed=3", "--boundary", "reflect"],
    "edges": ["edges"],
    "local": ["local", "-k", "box:size=3", "--combine", "add", "--reduce", "max"],
    "maxpool": ["maxpool", "--window", "3"],
    **{
        method: ["deconvolve", *K, "--method", method]
        for method in ("auto", "pinv", "wiener", "tikhonov", "rl", "tv", "non-local", "least-squares")
    },
    "least-squares at zeros": ["deconvolve", *K, "--method", "least-squares", "--boundary", "zero"],
    **{
        f"{method} of channels": ["deconvolve", "-k", "channels.npy", "--method", method]
        for method in ("pinv", "wiener", "auto")
    },
}


@pytest.mark.parametrize("name", COMMANDS)
def test_bytes_do_not_depend_on_jobs_and_are_those_of_single_commands(tmp_path: Path, name: str) -> None:
    for number, shape in enumerate([(40, 52, 3), (40, 52, 3), (33, 47), (64, 64, 3), (40, 52, 3), (33, 47)]):
        photo(tmp_path / f"in/{number}.png", shape)
    if "channels.npy" in COMMANDS[name]:
        for number in (2, 5):  # without colours
            os.remove(tmp_path / f"in/{number}.png")
        np.save(tmp_path / "channels.npy", np.random.default_rng(1).normal(size=(3, 3, 3, 3)) + 9 * CENTRE)
    command = [*COMMANDS[name], "--reproducible"]
    for jobs in ("1", "4"):
        batch(tmp_path, *command, "in", "--output-dir", f"out{jobs}", "-j", jobs, "--report", f"{jobs}.jsonl")
    assert tree(tmp_path / "out1") == tree(tmp_path / "out4")
    ours, theirs = ((tmp_path / f"{jobs}.jsonl").read_text().replace(f"out{jobs}/", "") for jobs in ("1", "4"))
    assert ours == theirs
    for number in (1, 3):
        run(*command, f"in/{number}.png", "-o", "one.png", "-q", cwd=tmp_path)
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / f"out1/{number}.png").read_bytes()


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_done_is_not_done_again(tmp_path: Path, name: str) -> None:
    for number in range(2):
        photo(tmp_path / f"in/{number}.png", (24, 31, 3))
    np.save(tmp_path / "channels.npy", np.random.default_rng(1).normal(size=(3, 3, 3, 3)) + 9 * CENTRE)
    command = [*COMMANDS[name], "in", "--output-dir", "out", "--skip-existing", "--json"]
    for expected in ({"done": 2, "skipped": 0}, {"done": 0, "skipped": 2}):
        ended = json.loads(batch(tmp_path, *command).stdout.splitlines()[-1])
        assert {what: ended[what] for what in expected} == expected
    photo(tmp_path / "in/1.png", (24, 31, 3))
    ended = json.loads(batch(tmp_path, *command).stdout.splitlines()[-1])
    assert (ended["done"], ended["skipped"]) == (1, 1)
    if name == "rl":
        ended = json.loads(batch(tmp_path, *command, "--set", "iterations=3").stdout.splitlines()[-1])
        assert (ended["done"], ended["skipped"]) == (2, 0)
        ended = json.loads(batch(tmp_path, *command, "--set", "iterations=3").stdout.splitlines()[-1])
        assert (ended["done"], ended["skipped"]) == (0, 2)


@pytest.mark.parametrize("name", [name for name in COMMANDS if "channels" not in name])
def test_modules_that_need_each_other_are_not_imported_by_several_threads(tmp_path: Path, name: str) -> None:
    """Python then gives some threads modules that are half made, such as those of SciPy."""
    for number in range(4):
        photo(tmp_path / f"in/{number}.png", (24, 31))
    code = (
        "import sys, threading\n"
        "from convtool import cli\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if threading.current_thread() is not threading.main_thread(): print(name)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "sys.exit(cli.run(sys.argv[1:]))\n"
    )
    words = [*COMMANDS[name], "in", "--output-dir", "out", "-j", "4", "-q"]
    words += [] if "deconvolve" in words else ["--nan", "nearest"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not [module for module in done.stdout.split() if module.startswith(b"scipy")]


def test_without_reproducible_bytes_do_not_depend_on_jobs_either(tmp_path: Path) -> None:
    for number in range(6):
        photo(tmp_path / f"in/{number}.png", (300, 311, 3))
    for jobs in ("1", "3"):
        batch(tmp_path, "convolve", "in", "-k", "disk:radius=5", "--output-dir", f"out{jobs}", "-j", jobs)
    assert tree(tmp_path / "out1") == tree(tmp_path / "out3")


# What failures cost ---------------------------------------------------------------------------------------------------


def spoil(folder: Path) -> None:
    """Among good images, one that is cut, one that is none, and one that is not there."""
    (folder / "aa_cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "none.png").write_text("these are no pixels")


def test_a_bad_file_costs_only_itself(scans: Path) -> None:
    spoil(scans / "scans")
    outcome = batch(scans, "convolve", "scans", *K, "--output-dir", "out", "--report", "r.jsonl", status=1)
    assert results(scans / "out") == ["a.png", "b.png"]
    lines = outcome.stderr.splitlines()
    assert lines[0].startswith("convtool: failed: cannot read scans/aa_cut.png: the PNG file is truncated or damaged")
    assert lines[1].startswith("convtool: failed: cannot read scans/none.png")
    assert lines[2].startswith("convtool: 2 done, 2 failed in ")
    assert len(lines) == 3
    found = [json.loads(line) for line in (scans / "r.jsonl").read_text().splitlines()]
    assert [line["status"] for line in found] == ["done", "failed", "done", "failed"]
    assert "truncated" in found[1]["error"]
    assert found[0]["output"]["name"] == "out/a.png"
    assert found[0]["kernel"]["condition"] > 1


def test_a_bug_is_told_with_one_traceback_and_a_status_of_its_own(scans: Path) -> None:
    code = (
        "import convtool.cli, convtool.linear as linear\n"
        "def broken(*arguments, **settings): return 1 // 0\n"
        "linear.apply = broken\n"
        "convtool.cli.main()\n"
    )
    words = [sys.executable, "-c", code, "convolve", "scans", *K, "--output-dir", "out"]
    done = subprocess.run(words, cwd=scans, env=environment(), capture_output=True, text=True)
    assert done.returncode == 70
    assert done.stderr.count("Traceback") == 1
    says = "this is a bug in convtool (ZeroDivisionError: integer division or modulo by zero): please report it"
    assert [line for line in done.stderr.splitlines() if line.startswith("convtool: failed")] == [
        f"convtool: failed: scans/{name}.png: {says}" for name in "ab"
    ]
    assert results(scans / "out") == []


def test_on_error_stop_begins_no_other(scans: Path) -> None:
    spoil(scans / "scans")
    outcome = batch(scans, "convolve", "scans", *K, "--output-dir", "out", "--on-error", "stop", "-j", "1", status=1)
    assert "1 done, 1 failed, 2 not begun in" in outcome.stderr
    assert results(scans / "out") == ["a.png"]


def test_what_is_wrong_for_all_is_said_once_and_ends_the_batch(scans: Path) -> None:
    for arguments, says in (
        (["-k", "gone.npy"], "cannot read kernel gone.npy"),
        (["-k", "gaussian"], "sigma"),
        ([*K, "--bias", "gone.npy"], "cannot read gone.npy: no such file"),
        ([*K, "--padding", "some"], "--padding must be"),
    ):
        outcome = batch(scans, "convolve", "scans", *arguments, "--output-dir", "out", status=2)
        told = [line for line in outcome.stderr.splitlines() if " in 0" not in line]
        assert len(told) == 1
        assert says in told[0]
        assert not (scans / "out").exists() or results(scans / "out") == []


@pytest.mark.parametrize(
    "words",
    [
        "convolve --stride 0",
        "convolve --dilation 2,0",
        "convolve --padding 1:-1",
        "convolve --origin -1",
        "convolve --groups 0",
        "convolve --axes QQ",
        "convolve --kernel-axes IX",
        "maxpool --window 0",
        "maxpool --window 2 --stride 0",
        "maxpool --window 2 --indices {stem}.png",
        "edges --direction {stem}.png",
        "deconvolve --method tikhonov --set weight=-3",
        "deconvolve --method non-local --set patch=65",
        "deconvolve --method rl --set tol=1",
        "deconvolve --spacing 1,0",
        "deconvolve --saturation 1.5",
        "deconvolve --peak 0",
    ],
)
def test_settings_that_fit_no_image_whatever_begin_nothing(scans: Path, words: str) -> None:
    command, *more = words.split()
    kernel = () if command in ("maxpool", "edges") else K
    outcome = batch(scans, command, "scans", *kernel, *more, "--output-dir", "out", status=2)
    assert len(outcome.stderr.splitlines()) == 1
    assert not (scans / "out").exists()


def test_settings_that_fit_not_these_images_fail_each(scans: Path) -> None:
    outcome = batch(scans, "convolve", "scans", *K, "--padding", "1,2,3", "--output-dir", "out", status=1)
    assert outcome.stderr.count("failed: scans/") == 2


def test_quiet_says_failures_alone(scans: Path) -> None:
    assert batch(scans, "convolve", "scans", *K, "--output-dir", "out", "-q").stderr == ""
    spoil(scans / "scans")
    lines = batch(scans, "convolve", "scans", *K, "--output-dir", "out", "-q", status=1).stderr.splitlines()
    assert [line[:16] for line in lines] == ["convtool: failed"] * 2


def test_existing_results_are_refused_one_by_one_with_no_clobber(scans: Path) -> None:
    batch(scans, "convolve", "scans/a.png", *K, "--output-dir", "out")
    outcome = batch(scans, "convolve", "scans", *K, "--output-dir", "out", "--no-clobber", status=1)
    assert "failed: scans/a.png: cannot write out/a.png: it exists and --no-clobber was given" in outcome.stderr
    assert results(scans / "out") == ["a.png", "b.png"]


def test_an_image_beyond_the_memory_limit_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.png", (20, 30))
    photo(tmp_path / "in/large.png", (900, 1100, 3))
    outcome = batch(tmp_path, "convolve", "in", *K, "--output-dir", "out", "--memory-limit", "20M", status=1)
    assert "failed: in/large.png: it would take about" in outcome.stderr
    assert "bytes of memory, and the limit is 20971520: raise --memory-limit" in outcome.stderr
    assert results(tmp_path / "out") == ["a.png"]


def test_the_peak_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Nor with that of their shapes, each of which has an operator with a spectrum of its own."""
    for number in range(48):
        photo(tmp_path / f"many/{number:02}.png", (500 + 8 * number, 600, 3))
    few = [f"many/{number:02}.png" for number in range(40, 48)]
    command = ["convolve", "-k", "random:size=31", "--engine", "fft", "-j", "2", "--output-dir"]
    assert peak(tmp_path, *command, "out", "many") < 1.3 * peak(tmp_path, *command, "some", *few)


# What is done again ---------------------------------------------------------------------------------------------------


def test_skip_existing_goes_by_content(scans: Path) -> None:
    command = ["convolve", "scans", "-r", *K, "--output-dir", "out", "--skip-existing"]
    assert "4 done in" in batch(scans, *command).stderr
    first = tree(scans / "out")
    assert "4 skipped in" in batch(scans, *command).stderr
    os.utime(scans / "scans/a.png")
    assert "4 skipped" in batch(scans, *command, "-j", "3", "--threads", "1").stderr
    (scans / "out/a.png").write_bytes(first["a.png"][:-20])  # cut
    (scans / "out/b.png").unlink()
    (scans / "out/deep/.convtool/c.png.json").write_text("{")
    assert "3 done, 1 skipped" in batch(scans, *command).stderr
    assert tree(scans / "out") == first
    shutil.copy(scans / "scans/b.png", scans / "scans/a.png")
    assert "1 done, 3 skipped" in batch(scans, *command).stderr
    assert "4 done" in batch(scans, *command, "--boundary", "reflect").stderr
    assert "4 skipped" in batch(scans, *command, "--boundary", "reflect").stderr


def test_skip_existing_knows_the_kernel_by_its_content(scans: Path) -> None:
    np.save(scans / "k.npy", np.ones((3, 3)) / 9)
    command = ["convolve", "scans", "-k", "k.npy", "--output-dir", "out", "--skip-existing"]
    batch(scans, *command)
    assert "2 skipped" in batch(scans, *command).stderr
    np.save(scans / "k.npy", np.ones((3, 5)) / 15)
    assert "2 done" in batch(scans, *command).stderr
    (scans / "k.npy.json").write_text("{}")
    assert "2 done" in batch(scans, *command).stderr


def test_skip_existing_does_not_guess_what_standard_input_holds(scans: Path) -> None:
    np.save(scans / "k.npy", np.ones((3, 3)) / 9)
    command = ["convolve", "scans", "-k", "-", "--output-dir", "out"]
    batch(scans, *command, stdin=(scans / "k.npy").read_bytes())
    assert results(scans / "out") == ["a.png", "b.png"]
    says = refused(scans, *command, "--skip-existing", cwd=scans, stdin=(scans / "k.npy").read_bytes())
    assert "that of standard input is not known before: name a file" in says
    os.mkfifo(scans / "pipe")
    assert "that of pipe is not known" in refused(
        scans, "convolve", "scans", "-k", "pipe", "--output-dir", "out", "--skip-existing", cwd=scans
    )


def test_skip_existing_is_for_files(scans: Path) -> None:
    """What is no file in the place of a result, or of its record, is not waited for."""
    words = ("convolve", "scans", *K, "--output-dir", "out", "--skip-existing")
    (scans / "out/.convtool").mkdir(parents=True)
    os.mkfifo(scans / "out/a.png")
    os.mkfifo(scans / "out/.convtool/b.png.json")
    says = batch(scans, *words, status=1).stderr
    assert "scans/a.png: out/a.png is no file, and --skip-existing is for results that stay" in says
    assert "cannot write out/.convtool/b.png.json: the record of a result is a file, and that is none" in says
    says = refused(scans, "convolve", "-", *K, "--skip-existing", "-o", "y.png", cwd=scans)
    assert says == "--skip-existing goes by content, that of standard input is not known before: name a file"
    says = refused(scans, "convolve", "scans/a.png", *K, "--skip-existing", "-o", "{stem}.png", cwd=scans)
    assert "is a template for the results of many images: name a file" in says


def test_damaged_records_are_none(scans: Path) -> None:
    words = ("convolve", "scans", *K, "--output-dir", "out", "--skip-existing")
    batch(scans, *words)
    good = json.loads((scans / "out/.convtool/a.png.json").read_text())
    for damage in ("[]", "{}", "\xff", '{"convtool_result": 2, "results": 3}', "[" * 100_000):
        (scans / "out/.convtool/a.png.json").write_bytes(damage.encode("latin1"))
        assert "1 done, 1 skipped" in batch(scans, *words).stderr
    for name in ("/dev/zero", "../../scans/b.png", "gone.png", "a\0b", "\ud800"):  # no file, or not as it was
        record = {**good, "results": {**good["results"], name: "0" * 64}}
        (scans / "out/.convtool/a.png.json").write_text(json.dumps(record))
        assert "1 done, 1 skipped" in batch(scans, *words).stderr
    assert json.loads((scans / "out/.convtool/a.png.json").read_text()) == good


def test_a_record_has_no_say_over_files_elsewhere(scans: Path) -> None:
    batch(scans, "convolve", "scans", *K, "--output-dir", "out")
    record = json.loads((scans / "out/.convtool/a.png.json").read_text())
    record["results"]["../scans/b.png"] = "0" * 64
    (scans / "out/.convtool/a.png.json").write_text(json.dumps(record))
    assert "2 done" in batch(scans, "convolve", "scans", *K, "--output-dir", "out").stderr


def test_skip_existing_misses_lost_snapshots(scans: Path) -> None:
    command = ["deconvolve", "scans", *K, "--method", "rl", "--set", "iterations=2", "--set", "snapshots=1"]
    command += ["--output-dir", "out", "--skip-existing"]
    batch(scans, *command)
    assert "2 skipped" in batch(scans, *command).stderr
    (scans / "out/a.it001.png").unlink()
    assert "1 done, 1 skipped" in batch(scans, *command).stderr
    assert (scans / "out/a.it001.png").exists()


def test_names_as_long_as_the_system_allows(tmp_path: Path) -> None:
    photo(tmp_path / "in" / f"{'x' * 250}.png")
    batch(tmp_path, "convolve", "in", *K, "--output-dir", "out")
    assert "1 skipped" in batch(tmp_path, "convolve", "in", *K, "--output-dir", "out", "--skip-existing").stderr


def test_records_hold_no_times_and_no_paths(scans: Path) -> None:
    batch(scans, "convolve", "scans", *K, "--output-dir", "out")
    shutil.copytree(scans / "scans", scans / "other")
    batch(scans, "convolve", "other", *K, "--output-dir", "elsewhere", "-j", "1", "--report", "r.jsonl")
    assert tree(scans / "out") == tree(scans / "elsewhere")


# What is said ---------------------------------------------------------------------------------------------------------


def test_json_is_a_line_for_each_image_and_one_for_all(scans: Path) -> None:
    spoil(scans / "scans")
    outcome = batch(scans, "convolve", "scans", *K, "--output-dir", "out", "--json", status=1)
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [line["input"]["name"] for line in lines[:-1]] == [f"scans/{n}.png" for n in ("a", "aa_cut", "b", "none")]
    whole = {key: lines[-1][key] for key in ("status", "images", "done", "skipped", "failed", "not_begun")}
    assert whole == {"status": "ended", "images": 4, "done": 2, "skipped": 0, "failed": 2, "not_begun": 0}


def test_json_of_one_image_is_that_of_a_batch_of_one(scans: Path) -> None:
    for words, status in ((("scans/a.png",), "done"), (("scans/notes.txt",), "failed")):
        one = run("convolve", *words, *K, "-o", "y.png", "--json", cwd=scans)
        many = run("convolve", *words, *K, "--output-dir", "out", "--json", cwd=scans)
        assert (one.status, many.status) == ((0, 0) if status == "done" else (2, 1))
        ours, theirs = ([json.loads(line) for line in each.stdout.splitlines()] for each in (one, many))
        assert [line["status"] for line in ours] == [line["status"] for line in theirs] == [status, "ended"]
        assert [line.keys() for line in ours] == [line.keys() for line in theirs]
    closed = run("convolve", "scans/a.png", *K, "-o", "z.png", "--json", cwd=scans, before=lambda: os.close(1))
    assert (closed.status, (scans / "z.png").exists()) == (2, False)
    assert "cannot write standard output, which --json is for: it is closed" in closed.stderr


def test_the_command_of_an_image_of_a_batch_does_the_same(scans: Path) -> None:
    words = ("deconvolve", "scans", "-k", "gaussian:sigma=1.5", "--effort", "low", "--output-dir", "out", "--json")
    first = json.loads(batch(scans, *words).stdout.splitlines()[0])
    before = (scans / "out/a.png").read_bytes()
    (scans / "out/a.png").unlink()
    program, *again = shlex.split(first["result"]["command"])
    assert program == "convtool"
    succeed(*again, cwd=scans)
    assert (scans / "out/a.png").read_bytes() == before


def test_notes_that_differ_in_numbers_alone_are_told_once(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / f"in/{number}.png", (20, 30 + number))
    outcome = batch(tmp_path, "convolve", "in", "-k", "box:size=3", "--output-dir", "out", "--scale", "3")
    (note,) = [line for line in outcome.stderr.splitlines() if "note:" in line]
    assert "in/0.png: " in note
    assert "did not fit into uint8 and were clipped" in note
    assert note.endswith("(and 2 others alike)")


def test_verbose_shows_a_table_of_what_was_measured(scans: Path) -> None:
    lines = batch(
        scans, "deconvolve", "scans", *K, "--method", "wiener", "--output-dir", "out", "-v"
    ).stderr.splitlines()
    assert lines[0].split(maxsplit=2) == ["of", "all", "median (least to greatest)"]
    (found,) = [line for line in lines if line.strip().startswith("relative residual")]
    assert re.fullmatch(r" *relative residual  0\.\d+ \(0\.\d+ to 0\.\d+\)", found)


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(200, "convolve", "1.0")
    for number in range(3):
        tally.add(Task(number, f"{number}.png", {"output": "x"}), None, "it is cut" if number == 1 else None)
    monkeypatch.setattr(tally, "_since", time.monotonic() - 6)
    with progress.Watch(tally.progress, 200, is_quiet=False) as watch:
        watch.tick(3, "2.png")  # a moment after the beginning
        monkeypatch.setattr(watch, "_last", time.monotonic() - 6)
        watch.tick(3, "a\x1b[0m.png")
        watch.tick(3)
    err = capsys.readouterr().err
    assert re.fullmatch(r"convtool: 3 of 200, 1 failed, 0\.[45]\d* a second, 6 min \d+ s left, a.*\.png\n", err)
    assert err.rstrip("\n").isprintable()
    with progress.Watch(tally.progress, 200, is_quiet=True) as watch:
        monkeypatch.setattr(watch, "_last", 0.0)
        watch.tick(3)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(scans: Path) -> None:
    import pty

    master, slave = pty.openpty()
    for number in range(8):
        photo(scans / f"scans/large{number}.png", (400, 300, 3))
    command = [*PROGRAM, "deconvolve", "scans", "-r", *K, "--method", "rl", "--output-dir", "out"]
    process = subprocess.Popen(command, cwd=scans, env=environment(TERM="xterm"), stdout=slave, stderr=slave)
    os.close(slave)
    seen = b""
    with suppress(OSError):  # which the end is, there
        while found := os.read(master, 1 << 16):
            seen += found
    os.close(master)
    assert process.wait(60) == 0
    assert re.search(rb"\d of 12", seen)
    assert b"12 done in" in seen
    assert b"output rounding error" in seen  # the table


def test_only_this_folder_was_touched(scans: Path) -> None:
    before = contents(scans)
    batch(scans, "convolve", "scans", *K, "--output-dir", "out")
    assert set(contents(scans)) - set(before) == {"out"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_closed_folder_costs_only_what_is_in_it(scans: Path) -> None:
    (scans / "scans/deep").chmod(0)
    outcome = batch(scans, "convolve", "scans", "-r", *K, "--output-dir", "out", "--json", status=1)
    (scans / "scans/deep").chmod(0o755)
    assert outcome.stderr.count("failed: cannot read the folder scans/deep: permission denied") == 1
    assert results(scans / "out") == ["a.png", "b.png"]


def test_a_folder_that_cannot_be_listed_costs_only_what_is_in_it(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(folder: str) -> Any:
        if folder.endswith("deep"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
        return listed(folder)

    listed = os.scandir
    monkeypatch.setattr(os, "scandir", closed)
    monkeypatch.chdir(scans)
    command = ["convolve", "scans", "-r", *K, "--output-dir", "out", "--report", "r.jsonl"]
    assert cli.run(command) == 1
    lines = [json.loads(line) for line in (scans / "r.jsonl").read_text().splitlines()]
    assert [(line["status"], line["input"]["name"]) for line in lines] == [
        ("done", "scans/a.png"),
        ("done", "scans/b.png"),
        ("failed", "scans/deep"),
    ]
    assert lines[-1]["error"] == "cannot read the folder scans/deep: permission denied"
    assert cli.run(["convolve", "scans/deep", "-r", *K, "--output-dir", "out"]) == 2


# One image, and what is said of many ----------------------------------------------------------------------------------


def test_the_memory_limit_holds_for_one_image_too(tmp_path: Path) -> None:
    photo(tmp_path / "x.png", (900, 1100, 3))
    says = refused(tmp_path, "convolve", "x.png", *K, "-o", "y.png", "--memory-limit", "20M", cwd=tmp_path)
    assert says.startswith("x.png: it would take about ")
    assert says.endswith("the limit is 20971520: raise --memory-limit, cut the image up, or use a machine with more")
    assert "--memory-limit must be a size" in refused(
        tmp_path, "convolve", "x.png", *K, "-o", "y.png", "--memory-limit", "much", cwd=tmp_path
    )
    succeed("convolve", "x.png", *K, "-o", "y.png", "--memory-limit", "2G", "--jobs", "4", cwd=tmp_path)


@pytest.mark.parametrize("name", ["--output", "--indices"])
def test_a_template_is_no_name_for_the_result_of_one(tmp_path: Path, name: str) -> None:
    photo(tmp_path / "x.png")
    given = {"--output": "y.png"} | {name: "{stem}_new.npy"}
    words = [word for pair in given.items() for word in pair]
    says = refused(tmp_path, "maxpool", "x.png", "--window", "2", *words, cwd=tmp_path)
    assert says == f"{name} '{{stem}}_new.npy' is a template for the results of many images: name a file"


def test_one_image_is_skipped_where_its_named_result_exists(tmp_path: Path) -> None:
    photo(tmp_path / "x.png")
    words = ("maxpool", "x.png", "--window", "2", "-o", "y.png", "--indices", "y.npy", "--skip-existing")
    assert "1 done" in batch(tmp_path, *words).stderr
    before = tree(tmp_path)
    assert "1 skipped" in batch(tmp_path, *words).stderr
    assert tree(tmp_path) == before
    photo(tmp_path / "x.png")
    assert "1 done" in batch(tmp_path, *words).stderr
    says = refused(tmp_path, "maxpool", "x.png", "--window", "2", "-o", "-", "--skip-existing", cwd=tmp_path)
    assert says == "--skip-existing is for results that stay: name a file with -o"


def test_a_name_that_may_be_a_file_or_a_list_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "@x.png")
    says = refused(tmp_path, "edges", "@x.png", "--output-dir", "out", cwd=tmp_path)
    assert (
        says
        == "@x.png is a file, and also says that x.png lists names: say ./@x.png for the image, or --files-from x.png"
    )
    batch(tmp_path, "edges", "./@x.png", "--output-dir", "out")
    assert results(tmp_path / "out") == ["@x.png"]


def test_a_report_may_lie_in_the_output_folder_that_is_made(scans: Path) -> None:
    batch(scans, "convolve", "scans", *K, "--output-dir", "new/out", "--report", "new/out/log/r.jsonl")
    assert results(scans / "new/out") == ["a.png", "b.png", "log/r.jsonl"]
    says = refused(scans, "convolve", "scans", *K, "--output-dir", "new/more", "--report", "log/r.jsonl", cwd=scans)
    assert says.startswith("cannot write log/r.jsonl: there is no folder ")


def test_nothing_is_left_beside_the_target_of_a_link(scans: Path) -> None:
    (scans / "far").mkdir()
    (scans / "out").mkdir()
    (scans / "out/a.png").symlink_to(scans / "far/kept.png")
    (scans / "far" / f".{'0' * 16}.tmp").write_bytes(b"half")
    batch(scans, "convolve", "scans", *K, "--output-dir", "out")
    assert results(scans / "far") == ["kept.png"]
    assert (scans / "out/a.png").is_symlink()
