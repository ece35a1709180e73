"""Words of a command line as values: exactly as Typer converts them, and without what it imports to do so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import typer
from command import environment, run
from hypothesis import given, settings
from hypothesis import strategies as st

from convtool.cli.words import _plain, converted_here

WORDS = [
    *("", " ", "1", "0", "-1", "+1", "007", "1_000", "1.5", "-0.25", ".5", "5.", "1e3", "1e-3", "1e400", "nan", "inf"),
    *("auto", "Auto", "none", "low", "high", "yes", "true", "x.png", "-", "ä", "１", "9" * 15, "9" * 16, "0x10", "1,2"),
]


def test_a_shell_completes_commands_and_options() -> None:
    for words, completed in (("convtool conv", "convolve"), ("convtool convolve --bound", "--boundary")):
        env = environment(_CONVTOOL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
        assert run(env=env).stdout.decode().split() == [completed]


def command(
    word: Annotated[str, typer.Argument()],
    words: Annotated[list[str] | None, typer.Option("--words")] = None,
    choice: Annotated[Literal["auto", "low", "high"], typer.Option("--choice")] = "auto",
    count: Annotated[int, typer.Option("--count")] = 1,
    threads: Annotated[int | None, typer.Option("--threads", min=1)] = None,
    bounded: Annotated[float | None, typer.Option("--bounded", min=0, max=1)] = None,
    share: Annotated[float | None, typer.Option("--share")] = None,
    parsed: Annotated[str, typer.Option("--parsed", parser=str.upper)] = "a",
    flag: Annotated[bool, typer.Option("--flag")] = False,
) -> None:
    """Takes one of each kind of parameter."""


def parameters() -> dict[str, Any]:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return {parameter.name: parameter for parameter in typer.main.get_command(app).params}


PLAIN, OURS = parameters(), {p.name: p for p in converted_here(list(parameters().values()))}
NAMES = [name for name in PLAIN if name != "words"]


def outcome(convert: Callable[..., Any], value: Any) -> Any:
    try:
        found = convert(None, value)
    except typer.BadParameter as error:
        return error.message
    return type(found), repr(found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("word", [None, *WORDS])
def test_a_word_is_what_typer_makes_of_it(name: str, word: str | None) -> None:
    if word is None and PLAIN[name].required:
        pytest.skip("Typer says that it is missing")
    assert outcome(OURS[name].process_value, word) == outcome(PLAIN[name].process_value, word)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.one_of(st.text(max_size=6), st.floats().map(str), st.integers().map(str)))
def test_any_word_is_what_typer_makes_of_it(name: str, word: str) -> None:
    found = outcome(OURS[name].process_value, word)
    assert found == outcome(PLAIN[name].process_value, word)


@pytest.mark.parametrize("value", [None, [], ["a"], ["a", "b"], ("a=1", "b=")])
def test_repeated_words(value: Any) -> None:
    assert outcome(OURS["words"].process_value, value) == outcome(PLAIN["words"].process_value, value)


def test_nearly_all_words_are_plain() -> None:
    words = {"word": "x.png", "choice": "low", "count": "3", "threads": "2", "share": "0.25"}
    for name, word in words.items():
        assert _plain(word, PLAIN[name]) is not ..., name
    assert _plain("0", PLAIN["threads"]) is ...
    assert _plain("nonsense", PLAIN["choice"]) is ...


def test_another_typer_is_left_alone() -> None:
    class Other:
        pass

    found = converted_here([Other()])
    assert vars(found[0]) == {}


@pytest.mark.parametrize(
    "words",
    [
        "deconvolve x.png -k box --method tikhonov --set weight=1 --threads 2 --boundary periodic -o y.png",
        "convolve x.png -k box:size=3 --boundary zero --groups 1 --quiet -o y.png",
        "deconvolve --help",
        "--help",
    ],
)
def test_a_command_imports_what_it_needs(tmp_path: Path, words: str) -> None:
    """Neither what Typer converts with, nor a codec's other formats, nor the transforms of large images."""
    from convtool import images
    from convtool.files import Staging

    with Staging() as staging:
        images.write(np.ones((40, 50)) * 7, "YX", str(tmp_path / "x.png"), staging, like=None, dtype="uint8")
    line = [sys.executable, "-X", "importtime", "-m", "convtool", *words.split()]
    done = subprocess.run(line, capture_output=True, env=environment(), timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-300:]
    imported = set(re.findall(r"^import time:.*\|\s*(\S+)$", done.stderr.decode(), re.MULTILINE))
    needless = {"pydantic", "imageio", "scipy.fft", "pyfftw", "tifffile", "PIL.PngImagePlugin", "convtool.merging"}
    assert needless & imported == set()
