"""The fuzz targets run, see what they are there to see, and find nothing in their first inputs."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz import __main__ as program
from fuzz import corpus, targets, watch

from convtool.errors import ConvtoolError, DataError
from convtool.images.reading import decode

INPUTS = {"images": 400, "headers": 400, "copies": 200, "kernels": 400, "specs": 400, "axes": 400, "lists": 400}


@pytest.mark.parametrize("name", targets.NAMES)
def test_the_first_inputs_of_every_target(name: str, tmp_path: Path) -> None:
    target = targets.targets(tmp_path)[name]
    inputs = [program.made(name, target, seed) for seed in range(INPUTS[name])]
    assert len(set(inputs)) > 0.6 * len(inputs)
    assert inputs[:9] == [program.made(name, target, seed) for seed in range(9)]
    with watch.alarm():
        found = {seed: why for seed, given in enumerate(inputs) if (why := watch.broken(target.read, given))}
    assert not found


def test_the_corpus_is_read_and_mutations_are_refused(tmp_path: Path) -> None:
    """Else the targets would try one first check over and over."""
    target = targets.targets(tmp_path)["images"]
    formats = {decode(raw, "it").format for raw in corpus.image_files(tmp_path)}
    assert formats == {"png", "jpeg", "tiff", "fits", "npy", "gif", "bmp", "webp"}
    refusals = 0
    for seed in range(300):
        try:
            decode(program.made("images", target, seed), "it")
        except ConvtoolError:
            refusals += 1
    assert 60 < refusals < 270


def wrong_key(_: object) -> None:
    {}["key"]


def warned(_: object) -> None:
    warnings.warn("beware", stacklevel=1)


def refused(_: object) -> None:
    raise DataError("this is why")


def refused_silently(_: object) -> None:
    raise DataError("")


def slow(_: object) -> None:
    end = time.monotonic() + 10 * watch.SECONDS
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except Exception:  # as codecs have it
            continue


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (wrong_key, "KeyError"),
        (warned, "beware"),
        (refused_silently, "without a message"),
        (slow, "it hangs"),
        (refused, ""),
        (len, ""),
    ],
)
def test_what_is_seen(read: Callable[[object], object], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SECONDS", 0.2)
    with watch.alarm():
        why = watch.broken(read, b"given")
    assert words in why
    assert bool(why) == bool(words)


def test_memory_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    target = targets.Target([b""], lambda raw, *_: raw, len)
    assert program.judged(target, b"") == "" or watch.memory() > watch.BYTES
    monkeypatch.setattr(program, "BYTES", 1_000_000)
    assert "memory has grown" in program.judged(target, b"")


def test_lists_that_do_not_come_back_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(targets.lists, "names", lambda raw, source, null: ["other"])
    assert "AssertionError" in watch.broken(targets.targets(tmp_path)["lists"].read, b"a\nb\n")


def test_the_command_says_what_it_did_and_names_what_it_found(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "tests.fuzz", "--most", "20", "--targets"]
    done = subprocess.run([*command, "axes,lists"], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" in ")[0] for line in done.stdout.splitlines()] == ["axes: 20 inputs", "lists: 20 inputs"]
    wrong = subprocess.run([*command, "other"], cwd=root, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no target is named other: use images" in wrong.stderr


def test_what_breaks_a_reader_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = targets.Target([b"abc"], lambda raw, *_: raw, wrong_key)
    with pytest.raises(SystemExit) as left:
        program.fuzzed("wrong", target, program.Span(7, 5, 60), tmp_path)
    assert left.value.code == 1
    assert "wrong, seed 7, saved as" in capsys.readouterr().err
    assert (tmp_path / "fuzz-wrong").read_bytes() == b"abc"
