"""`convtool verify-equivariance` as a command: what holds is 0, what is broken is 1 and says why, trouble is 2.

Broken operators come in three ways: as a user's function, as claims that are wrong, and as convtool itself with an
engine that was broken in its process (`sitecustomize`), which is the mutation test of the command.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from command import Outcome, contents, environment, notes, refused, report, run, succeed, value

LOPSIDED = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [-7.0, 8.0, 9.0]])
ROUND = np.array([[1.0, 2.0, 1.0], [2.0, 5.0, 2.0], [1.0, 2.0, 1.0]])
VERIFY = "verify-equivariance"
CORRELATE = ("--operation", "correlate", "--kernel", "k.npy")
SMALL = ("--image-shape", "24,30")

MODULE = """
import sys
import numpy as np

TAPS = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [-7.0, 8.0, 9.0]])
number = 3


def correlated(x, mode, origin=(0, 0)):
    padded = np.pad(x, 2, mode=mode)
    rows, columns = x.shape
    return sum(
        TAPS[i, j] * padded[1 + i + origin[0] :][:rows, 1 + j + origin[1] :][:, :columns]
        for i in range(3) for j in range(3)
    )


def right(x):
    return correlated(x, "wrap")


def talks(x):
    print("a line that is no result")
    return x


def outside_zero(x):
    return correlated(x, "constant")


def origin_off(x):
    return correlated(x, "constant", (0, 1))


def strided(x, step=2):
    y = correlated(x, "wrap")
    return y[np.ix_(*(np.arange(n // 2) * step % n for n in y.shape))]


def wrong_stride(x):
    return strided(x, 3)


def one_pixel(x):
    y = right(x)
    y[4, 5] += 1e-6
    return y


def raises(x):
    raise RuntimeError("first line\\nsecond line")


def leaves(x):
    sys.exit(0)


def text(x):
    return "hello"


def nothing(x):
    return None


def ragged(x):
    return [[1.0], [1.0, 2.0]]


def flat(x):
    return x.ravel()


def empty(x):
    return x[:0]
"""

# One of convtool's own parts, broken before the command runs.
MUTATIONS = {
    "origin": """
from convtool import kernel
right = kernel.origin_of
kernel.origin_of = lambda origin, extent: tuple(max(o - 1, 0) for o in right(origin, extent))
""",
    "padding": """
from convtool import boundary
right = boundary.piece
boundary.piece = lambda x, starts, mode, out: right(x, [start - 1 for start in starts], mode, out)
""",
    "wrap": """
from convtool import boundary
right = boundary.source
boundary.source = lambda positions, n, mode: right(positions - (positions < 0), n, mode)
""",
    "stride": """
from convtool import direct
right = direct._phases
def wrong(each, first, rows):
    phases = right(each, first, rows)
    phases[:, 1::3] = phases[::-1, 1::3].copy()
    return phases
direct._phases = wrong
""",
}
DIRECT = "from convtool import choice\nchoice.fastest = lambda *_: 'direct'\n"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    furnish(tmp_path)
    return tmp_path


def furnish(folder: Path) -> None:
    """A lopsided kernel k.npy, a symmetric one r.npy, and a module mine.py."""
    np.save(folder / "k.npy", LOPSIDED)
    np.save(folder / "r.npy", ROUND)
    (folder / "mine.py").write_text(MODULE)


# For speed: many command lines in one process, which gives the status, standard output and standard error of each.
BATCH = """
import contextlib, io, json, sys
from convtool.cli import run
results = []
for arguments in json.load(sys.stdin):
    out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(arguments)
    results.append([status, out.buffer.getvalue().decode(), err.getvalue()])
json.dump(results, sys.stdout)
"""


def batch(folder: Path, lines: list[tuple[str, ...]], hook: str = "") -> dict[tuple[str, ...], Outcome]:
    """The outcome of every command line, in a folder like `here`; `hook` has a sitecustomize.py."""
    furnish(folder)
    done = subprocess.run(
        [sys.executable, "-c", BATCH],
        input=json.dumps([[VERIFY, *line] for line in lines]),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(PYTHONDONTWRITEBYTECODE="1", **({"PYTHONPATH": hook} if hook else {})),
    )
    assert done.returncode == 0, done.stderr
    results = [Outcome(status, out.encode(), err) for status, out, err in json.loads(done.stdout)]
    return dict(zip(lines, results, strict=True))


def spelled(each: object) -> str:
    """A case as the name of its test."""
    return re.sub(r"[^\w:,=-]+", " ", " ".join(map(str, each)) if isinstance(each, tuple) else "")[:60]


def verify(here: Path, *arguments: str | Path, env: dict[str, str] | None = None) -> Outcome:
    quiet = environment(PYTHONDONTWRITEBYTECODE="1") if env is None else env
    return run(VERIFY, *arguments, cwd=here, env=quiet)


def holds(here: Path, *arguments: str | Path) -> str:
    """What the command says of what holds."""
    outcome = verify(here, *arguments)
    assert outcome.status == 0, (outcome.stdout, outcome.stderr)
    return outcome.stdout.decode()


def violated(here: Path, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
    """What the command says of what does not hold."""
    outcome = verify(here, *arguments, env=env)
    assert outcome.status == 1, (outcome.status, outcome.stdout, outcome.stderr)
    assert "Traceback" not in outcome.stderr
    assert b"does not hold" in outcome.stdout
    return outcome.stdout.decode()


def trouble(here: Path, *arguments: str | Path) -> str:
    return refused(here, VERIFY, *arguments, cwd=here, env=environment(PYTHONDONTWRITEBYTECODE="1"))


# What holds -----------------------------------------------------------------------------------------------------------


RIGHT: list[tuple[tuple[str, ...], str]] = [
    (("--operation", "convolve", "--kernel", "k.npy"), "everywhere for an output shift of 4,-6"),
    ((*CORRELATE, "--boundary", "zero"), "inside a border of 5:1,1:7 for"),
    ((*CORRELATE, "--set", "stride=2"), "everywhere for an output shift of 2,-3"),
    ((*CORRELATE, "--stride", "2,3", "--padding", "valid"), "output shift of 2,-2"),
    (("--operation", "maxpool", "--window", "2,3", "--stride", "window"), "everywhere for an output shift of"),
    (("--operation", "edges"), "inside a border of 5:1,1:7"),
    (("--operation", "edges", "--set", "operator=scharr", "--set", "boundary=periodic"), "everywhere"),
    (("--operation", "deconvolve", "--kernel", "gaussian:sigma=1"), "everywhere"),
    (("--operation", "deconvolve", "--kernel", "r.npy", "--method", "pinv"), "everywhere"),
    (("--chain", "correlate:k.npy,stride=2 edges:sobel"), "output shift of 2,-3"),
    (("--chain", "convolve:gaussian:sigma=1,size=5,boundary=edge maxpool:2,stride=2"), "output shift of 2,-3"),
    (("--chain", "correlate:k.npy,padding=1:2,0:1,boundary=zero"), "output shift of 4,-6"),
    (("--function", "mine:right"), "everywhere for an output shift of 4,-6"),
    (("--function", "mine:outside_zero", "--border", "1"), "inside a border of 5:1,1:7"),
    (("--function", "mine:strided"), "output shift of 2,-3"),
    (("--function", "mine:strided", "--stride", "2"), "output shift of 2,-3"),
]


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Outcome]:
    """The outcomes of everything that holds."""
    return batch(tmp_path_factory.mktemp("right"), [(*arguments, *SMALL, "--shift", "4,-6") for arguments, _ in RIGHT])


@pytest.mark.parametrize(("arguments", "said"), RIGHT, ids=spelled)
def test_what_is_right_holds(right: dict[tuple[str, ...], Outcome], arguments: tuple[str, ...], said: str) -> None:
    outcome = right[*arguments, *SMALL, "--shift", "4,-6"]
    line = outcome.stdout.decode()
    assert (outcome.status, line.count("\n")) == (0, 1), outcome.stderr
    assert line.startswith("shift 4,-6: holds ")
    assert said in line


@pytest.mark.parametrize("arguments", [CORRELATE, ("--function", "mine:strided")], ids=spelled)
def test_what_is_right_holds_in_a_process_of_its_own(here: Path, arguments: tuple[str, ...]) -> None:
    holds(here, *arguments, *SMALL, "--shift", "4,-6")


def test_images_of_any_kind(here: Path) -> None:
    """A colour image in its axes, and what was assumed; its integers are computed in float32."""
    (here / "photo.png").write_bytes(
        imagecodecs.png_encode(np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8))
    )
    holds(here, "photo.png", *CORRELATE, "--shift", "3,-5", "--report", "r.json")
    found = report(here / "r.json")
    assert (found["input"]["axes"], found["input"]["dtype"]) == ("YXC", "uint8")
    assert 1e-7 < found["result"]["findings"][0]["tolerance"] / (255 * np.abs(LOPSIDED).sum()) < 1e-4
    np.save(here / "stack.npy", np.random.default_rng(0).random((5, 12, 14)))
    assert "shift 1,2,3" in holds(here, "stack.npy", "--axes", "ZYX", *CORRELATE, "--shift", "1,2,3")


def test_a_function_prints_no_results(here: Path) -> None:
    outcome = verify(here, "--function", "mine:talks", "--shift", "1,1", *SMALL)
    assert (outcome.status, outcome.stdout.count(b"\n")) == (0, 1)
    assert "a line that is no result" in outcome.stderr


# What is broken -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--function", "mine:origin_off", "--border", "1"), "the windows lie off their centre"),
        (("--function", "mine:wrong_stride"), "no output shift nearby"),
        (("--function", "mine:wrong_stride", "--set", "stride=2"), "no output shift nearby"),
        (("--function", "mine:outside_zero"), "say how wide the border is (--border 1, border=1 in Python)"),
        (("--function", "mine:one_pixel"), "worst at Y="),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_broken_functions_are_caught(here: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in violated(here, *arguments, *SMALL, "--shift", "4,-6")


BROKEN_BY = {
    "origin": [("r.npy", "--group", "flips"), ("r.npy", "--set", "boundary=reflect", "--group", "rot90")],
    "padding": [
        ("k.npy", "--set", "boundary=zero", "--shift", "4,-6"),
        ("k.npy", "--set", "boundary=edge", "--trials", "3"),
        ("r.npy", "--group", "flips"),
    ],
    "wrap": [("k.npy", "--shift", "4,-6"), ("k.npy", "--set", "padding=full", "--trials", "2")],
    "stride": [
        ("k.npy", "--set", "stride=2", "--shift", "4,-6"),
        ("k.npy", "--set", "stride=2", "--set", "boundary=zero", "--trials", "2"),
    ],
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_convtool_is_caught(here: Path, mutation: str) -> None:
    """The operator of another process has its origin, padding or stride wrong; the right one holds there."""
    hook = here / "hook"
    hook.mkdir()
    lines = [("--operation", "correlate", *SMALL, "--kernel", *more) for more in BROKEN_BY[mutation]]
    (hook / "sitecustomize.py").write_text(DIRECT)
    assert [each.status for each in batch(here, lines, str(hook)).values()] == [0] * len(lines)
    (hook / "sitecustomize.py").write_text(DIRECT + MUTATIONS[mutation])
    for outcome in batch(here, lines, str(hook)).values():
        assert (outcome.status, outcome.stderr) == (1, "")
        assert b"does not hold" in outcome.stdout


def test_a_broken_convtool_is_caught_by_the_program(here: Path) -> None:
    hook = here / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(DIRECT + MUTATIONS["stride"])
    env = environment(PYTHONPATH=str(hook), PYTHONDONTWRITEBYTECODE="1")
    violated(here, *CORRELATE, "--set", "stride=2", "--shift", "4,-6", *SMALL, env=env)


# Strides and claims ---------------------------------------------------------------------------------------------------


def test_a_shift_that_is_no_multiple_of_the_stride_is_refused(here: Path) -> None:
    said = trouble(here, *CORRELATE, "--set", "stride=2", "--shift", "3,4")
    assert "a shift of 3 pixels along Y is no multiple of the stride 2" in said
    assert "move by 1.5 of its samples: use a multiple of 2" in said
    said = trouble(here, "--chain", "correlate:k.npy,stride=2 maxpool:2,stride=3", "--shift", "4,6")
    assert "a shift of 4 pixels along Y is no multiple of the stride 6" in said
    assert "no multiple of the stride 2" in trouble(here, "--function", "mine:strided", "--shift", "1", *SMALL)


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
def test_the_usual_mistake(here: Path, boundary: str) -> None:
    """100 pixels before and 100 after a stride of 2."""
    arguments = (*CORRELATE, "--set", "stride=2", "--set", f"boundary={boundary}", "--image-shape", "256,300")
    claim = ("--shift", "100,100", "--output-shift", "100,100")
    assert "holds for an output shift of 50, not 100: the stride is 2" in violated(here, *arguments, *claim)
    holds(here, *arguments, "--shift", "100,100", "--output-shift", "50,50")


def test_a_periodic_stride_that_does_not_divide_the_size(here: Path) -> None:
    arguments = (*CORRELATE, "--set", "stride=2", "--shift", "4,-6", "--image-shape")
    assert "holds everywhere" in holds(here, *arguments, "24,30")
    assert "holds inside a border of 2:0,0:0" in holds(here, *arguments[:-2], "4,0", "--image-shape", "25,30")
    assert "holds inside a border of 2:0,0:3" in holds(here, *arguments, "25,31")


def test_a_sidecar_is_honoured(here: Path) -> None:
    """What merge-kernels writes beside a kernel are its settings; what contradicts them is refused."""
    steps = ("--stride", "2", "--stride", "1", "--padding", "1", "--operation", "correlate", "--boundary", "zero")
    succeed("merge-kernels", "k.npy", "r.npy", *steps, "-o", "merged.npy", "--require", "interior", cwd=here)
    settings = json.loads((here / "merged.npy.json").read_text())
    assert (settings["operation"], settings["stride"], settings["boundary"]) == ("correlate", [2, 2], "zero")
    given = ("--shift", "4,-6", "--image-shape", "40,44")
    chains = ("", ",stride=2,boundary=zero", ",stride=1", ",boundary=periodic")
    lines: list[tuple[str, ...]] = [(*given, "--operation", "correlate", "--kernel", "merged.npy")]
    lines += [(*given, "--chain", f"correlate:merged.npy{more}") for more in chains]
    lines += [(*given, "--chain", "convolve:merged.npy")]
    alone, chain, again, stride, boundary, operation = batch(here, lines).values()
    assert b"output shift of 2,-3" in alone.stdout
    assert b"border" in alone.stdout
    assert alone.stdout == chain.stdout == again.stdout
    assert [each.status for each in (stride, boundary, operation)] == [2, 2, 2]
    assert "merged.npy.json" in stride.stderr
    assert "merged.npy.json" in boundary.stderr
    assert "use correlate" in operation.stderr
    np.save(here / "merged.npy", ROUND)
    assert "hash" in trouble(here, *lines[0])


def test_a_sidecar_bias_is_part_of_the_layer(here: Path) -> None:
    """With a bias, the largest value and so the tolerance are those of the sum."""
    content = {"convtool_kernel": 1, "sha256": hashlib.sha256((here / "k.npy").read_bytes()).hexdigest()}
    (here / "k.npy.json").write_text(json.dumps(content | {"operation": "correlate", "bias": [1e9]}))
    holds(here, *CORRELATE, "--shift", "3,4", *SMALL, "--report", "r.json")
    assert report(here / "r.json")["result"]["findings"][0]["tolerance"] > 1e-7


# Flips and quarter turns ----------------------------------------------------------------------------------------------


MOVES: list[tuple[tuple[str, ...], int, list[str]]] = [
    (("r.npy", "flips"), 0, ["flip Y: holds everywhere", "flip X: holds everywhere", "flip YX: holds everywhere"]),
    (("r.npy", "rot90"), 0, ["turn 90: holds everywhere", "turn 180: holds", "turn 270: holds"]),
    (
        ("k.npy", "flips"),
        1,
        ["does not hold: the kernels are symmetric under none of flip Y, flip X, flip YX"],
    ),
    (
        ("sobel-x", "flips"),
        0,
        ["flip Y: holds everywhere", "not tried: flip X, flip YX, under which the kernels are not"],
    ),
    (("r.npy", "flips", "origin=first"), 1, ["flip Y: does not hold", "the origin is not central"]),
    (("r.npy", "flips", "stride=2"), 1, ["flip Y: holds", "flip X: does not hold", "the stride 2 does not divide"]),
    (("r.npy", "flips", "stride=4"), 1, ["flip Y: holds", "flip X: does not hold"]),
    (("r.npy", "rot90", "stride=3"), 1, ["turn 180: does not hold", "the stride 3 does not divide"]),
]


def moved(kernel: str, group: str, *settings: str) -> tuple[str, ...]:
    """An image of 25 x 30: N - 1 is a multiple of 2 and 4 along Y alone."""
    more = [item for each in settings for item in ("--set", each)]
    return ("--operation", "correlate", "--kernel", kernel, "--group", group, *more, "--image-shape", "25,30")


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Outcome]:
    """The outcomes of all flips and turns."""
    return batch(tmp_path_factory.mktemp("moves"), [moved(*arguments) for arguments, _, _ in MOVES])


@pytest.mark.parametrize(("arguments", "status", "said"), MOVES, ids=spelled)
def test_flips_and_turns(
    moves: dict[tuple[str, ...], Outcome], arguments: tuple[str, ...], status: int, said: list[str]
) -> None:
    outcome = moves[moved(*arguments)]
    assert outcome.status == status, outcome.stderr
    for words in said:
        assert words in outcome.stdout.decode()


def test_flips_of_the_other_operations(here: Path) -> None:
    lines = [
        ("--operation", "edges", "--group", "rot90"),
        ("--operation", "maxpool", "--window", "3", "--group", "rot90"),
        ("--operation", "deconvolve", "--kernel", "r.npy", "--group", "flips", "--set", "method=pinv"),
        ("--operation", "deconvolve", "--kernel", "r.npy", "--group", "flips", "--set", "origin=first"),
        ("--operation", "edges", "--set", "operator=forward", "--group", "flips"),
    ]
    *right, off_centre, forward = batch(here, [(*line, *SMALL) for line in lines]).values()
    assert [each.status for each in right] == [0, 0, 0], right
    assert (off_centre.status, forward.status) == (1, 1)
    assert b"the origin is not central" in off_centre.stdout
    assert b"symmetric under none of" in forward.stdout


# What is written ------------------------------------------------------------------------------------------------------


def test_the_map_shows_the_violation(here: Path) -> None:
    """White where one pixel is wrong, grey where its trace is, black elsewhere, dark blue in the border."""
    outcome = verify(here, "--function", "mine:one_pixel", "--shift", "4,6", *SMALL, "--map", "m.png")
    assert outcome.status == 1
    picture = imagecodecs.png_decode((here / "m.png").read_bytes())
    assert picture.shape == (24, 30, 3)
    lit = np.argwhere(picture.any(axis=-1))
    assert {tuple(place) for place in lit} == {(4, 5), (8, 11)}
    assert picture[4, 5].max() >= 254
    violated(here, "--function", "mine:origin_off", "--border", "1", "--shift", "4,6", *SMALL, "--map", "m.png")
    picture = imagecodecs.png_decode((here / "m.png").read_bytes())
    assert (picture[:5] == (0, 0, 96)).all()
    assert (picture[:, :7] == (0, 0, 96)).all()
    inside = picture[5:23, 7:29].max(axis=-1)
    assert inside.any(axis=0).tolist() == [False] * 21 + [True]  # the column whose windows reach two pixels out


def test_the_map_of_what_holds_is_dark(here: Path) -> None:
    holds(here, *CORRELATE, "--shift", "3,4", *SMALL, "--map", "m.png")
    assert not imagecodecs.png_decode((here / "m.png").read_bytes()).any()


def test_the_report(here: Path) -> None:
    claim = ("--shift", "4,-6", "--output-shift", "4,-6", "--set", "stride=2")
    violated(here, *CORRELATE, *claim, "--image-shape", "40,60", "--report", "r.json")
    found = report(here / "r.json")
    assert (found["result"]["operation"], found["result"]["verdict"]) == ("correlate", "does not hold")
    (finding,) = found["result"]["findings"]
    assert (finding["transformation"], finding["holds"], finding["output_shift"]) == ("shift 4,-6", False, [4, -6])
    assert finding["largest"] > finding["tolerance"] > 0
    assert len(finding["where"]) == 2
    assert finding["region"] in ("inside", "in the border")
    assert finding["explanation"] == "holds for an output shift of 2,-3, not 4,-6: the stride is 2"
    assert (finding["expected"], finding["border"]) == ("everywhere", [[0, 0], [0, 0]])
    assert "error" not in finding
    assert (value(found, "shift"), value(found, "axes"), value(found, "seed")) == ([4, -6], "YX", 0)
    assert found["seconds"]["computing"] >= 0


def test_trials_are_drawn_from_the_seed(here: Path) -> None:
    def drawn(*arguments: str) -> list[str]:
        text = holds(here, *CORRELATE, "--set", "stride=2", *SMALL, *arguments)
        assert all("holds" in line for line in text.splitlines())
        return [re.match(r"shift ([-\d,]+):", line)[1] for line in text.splitlines()]  # type: ignore[index]

    first = drawn("--trials", "5", "--seed", "3")
    assert len(first) == 5
    assert len(set(first)) > 2
    assert all(int(t) % 2 == 0 for shift in first for t in shift.split(","))
    assert "0,0" not in first
    assert drawn("--trials", "5", "--seed", "3") == first
    assert drawn("--trials", "5", "--seed", "4") != first


def test_quiet_and_tolerance(here: Path) -> None:
    outcome = verify(here, "--function", "mine:one_pixel", "--shift", "4,6", *SMALL, "--quiet")
    assert (outcome.status, outcome.stdout) == (1, b"")
    holds(here, "--function", "mine:one_pixel", "--shift", "4,6", *SMALL, "--tolerance", "1e-5")


def test_a_constant_image_is_no_evidence(here: Path) -> None:
    np.save(here / "flat.npy", np.ones((20, 20)))
    outcome = verify(here, "flat.npy", *CORRELATE, "--shift", "1,1")
    assert any("constant" in note for note in notes(outcome))


# Trouble --------------------------------------------------------------------------------------------------------------

SHIFT = ("--shift", "1,1", "--map", "m.png", "--report", "r.json")
BAD_INPUT: list[tuple[tuple[str, ...], str]] = [
    (("--chain", "correlate:nope.npy", *SHIFT), "nope.npy"),
    (("--chain", "blur:3", *SHIFT), "unknown operation 'blur': use convolve, correlate, maxpool, edges"),
    (("--chain", "correlate:k.npy,strid=2", *SHIFT), "correlate has no setting 'strid'"),
    (("--chain", "correlate:k.npy,stride=2,stride=3", *SHIFT), "set twice"),
    (("--chain", "correlate:k.npy,stride=", *SHIFT), "name=value"),
    (("--chain", "correlate:k.npy,stride=x", *SHIFT), "whole numbers"),
    (("--chain", "correlate", *SHIFT), "needs a kernel"),
    (("--chain", "maxpool", *SHIFT), "needs a window"),
    (("--chain", "maxpool:2,op=median", *SHIFT), "median"),
    (("--chain", "maxpool:2,ceil-mode=perhaps", *SHIFT), "ceil_mode"),
    (("--chain", "edges:sobel,operator=scharr", *SHIFT), "no setting 'operator'"),
    (("--chain", "", *SHIFT), "empty"),
    (("--chain", "correlate:'k.npy", *SHIFT), "quotation"),
    (("--chain", "deconvolve:k.npy,method=magic", *SHIFT), "magic"),
    (("--chain", "maxpool:2", "--set", "stride=2", *SHIFT), "--set belongs to --operation"),
    (("--chain", "maxpool:2", "--stride", "2", *SHIFT), "--stride belongs to --operation"),
    ((*CORRELATE, "--stride", "2", "--set", "stride=3", *SHIFT), "say it twice"),
    (("--operation", "edges", "--padding", "1", *SHIFT), "no setting 'padding'"),
    (("--chain", "maxpool:40", *SHIFT, *SMALL), "no output"),
    (("--operation", "correlate", *SHIFT), "needs --kernel"),
    (("--operation", "maxpool", "--kernel", "k.npy", *SHIFT), "--kernel says nothing"),
    (("--operation", "edges", "--border", "1", *SHIFT), "--border belongs to --function"),
    (SHIFT, "one of --operation, --chain or --function"),
    (("--operation", "edges", "--chain", "edges", *SHIFT), "one of --operation, --chain or --function"),
    (("--operation", "edges"), "one of --shift, --trials or --group"),
    (("--operation", "edges", "--group", "flips", *SHIFT), "one of --shift, --trials or --group"),
    (("--operation", "edges", "--trials", "2", "--output-shift", "1,1"), "--output-shift belongs to --shift"),
    (("--operation", "edges", "--shift", "1,2,3"), "1 to 2 numbers"),
    (("--operation", "edges", "--shift", "1.5"), "whole numbers"),
    (("--operation", "edges", "--shift", "63,1"), "use a larger image, a smaller shift or boundary periodic"),
    (("nope.png", "--operation", "edges", *SHIFT), "nope.png"),
    (("nope.png", "--operation", "edges", *SHIFT, *SMALL), "--image-shape is that of random pixels"),
    (("--function", "mine", *SHIFT), "MODULE:NAME"),
    (("--function", "absent:f", *SHIFT), "cannot import absent"),
    (("--function", "mine:absent", *SHIFT), "no function 'absent'"),
    (("--function", "mine:number", *SHIFT), "no function 'number'"),
    (("--function", "mine:right", "--kernel", "k.npy", *SHIFT), "--kernel belongs to --operation"),
    (("--function", "mine:right", "--set", "padding=1", *SHIFT), "no setting 'padding'"),
    (("--function", "mine:right", "--set", "stride=0", *SHIFT), "at least 1"),
    (("--function", "mine:text", *SHIFT), "the function gave"),
    (("--function", "mine:nothing", *SHIFT), "the function gave"),
    (("--function", "mine:ragged", *SHIFT), "no array"),
    (("--function", "mine:flat", *SHIFT), "expected real numbers with the 2 axes (YX)"),
    (("--function", "mine:empty", *SHIFT), "the function gave"),
    (("--function", "mine:leaves", *SHIFT), "SystemExit"),
    (("--function", "mine:raises", *SHIFT), "shape (64, 96), float64: RuntimeError: first line second line"),
    (("--function", "broken:f", *SHIFT), "cannot import broken (for --function broken:f): ValueError: two lines"),
    (("--function", "leaving:f", *SHIFT), "cannot import leaving"),
    (("--function", "unfinished:f", *SHIFT), "cannot import unfinished"),
    (("--chain", "correlate:k.npy", "--shift", "1,1", "--map", "k.npy"), "k.npy"),
]
BROKEN = {"broken": "raise ValueError('two\\nlines')", "leaving": "import sys; sys.exit(3)", "unfinished": "def f(:"}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Outcome]:
    """The outcome of every bad input; nothing of them is left behind."""
    folder = tmp_path_factory.mktemp("bad")
    for name, source in BROKEN.items():
        (folder / f"{name}.py").write_text(source)
    furnish(folder)
    before = contents(folder)
    found = batch(folder, [arguments for arguments, _ in BAD_INPUT])
    assert contents(folder) == before
    return found


@pytest.mark.parametrize(("arguments", "said"), BAD_INPUT, ids=spelled)
def test_bad_input_is_one_line(refusals: dict[tuple[str, ...], Outcome], arguments: tuple[str, ...], said: str) -> None:
    outcome = refusals[arguments]
    assert (outcome.status, outcome.stdout, outcome.stderr.count("\n")) == (2, b"", 1), outcome.stderr
    assert outcome.stderr.startswith("convtool: ")
    assert said in outcome.stderr


@pytest.mark.parametrize(
    "arguments", [("--chain", "correlate:nope.npy", *SHIFT), ("--function", "mine:raises", *SHIFT)]
)
def test_bad_input_is_one_line_in_a_process_of_its_own(here: Path, arguments: tuple[str, ...]) -> None:
    trouble(here, *arguments)
