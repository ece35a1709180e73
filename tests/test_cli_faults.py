"""What a user can do wrong, and what goes wrong around the program: one line, the right status, nothing left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from command import PROGRAM, contents, environment, refused, run, succeed

resource = pytest.importorskip("resource")  # these are a POSIX system's faults

RNG = np.random.default_rng(15)


def npy(values: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version=version)
    return stream.getvalue()


def header(shape: str, descr: str = "'<f8'") -> bytes:
    """An .npy file's beginning, whatever it promises."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    values = RNG.integers(0, 256, (40, 50), dtype=np.uint8)
    if kind == "tiff":
        tifffile.imwrite(stream, values)
    else:
        PIL.Image.fromarray(values).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a good image, a good kernel, and what is needed to go wrong."""
    np.save(tmp_path / "x.npy", RNG.random((20, 31)))
    np.save(tmp_path / "k.npy", RNG.random((3, 4)))
    np.save(tmp_path / "rgb.npy", RNG.random((3, 20, 31)))
    np.save(tmp_path / "oiyx.npy", RNG.random((2, 3, 3, 3)))
    (tmp_path / "x.png").write_bytes(encoded("png"))
    return tmp_path


# Bad files --------------------------------------------------------------------------------------------------------

BAD_IMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.png": (lambda: b"", "empty"),
    "head.png": (lambda: encoded("png")[:30], "truncated or damaged"),
    "half.png": (lambda: encoded("png")[:700], "truncated or damaged"),
    "tail.png": (lambda: encoded("png")[:-14], "truncated or damaged"),
    "half.jpg": (lambda: encoded("jpeg")[:600], "truncated or damaged"),
    "half.tif": (lambda: encoded("tiff")[:900], "truncated or damaged"),
    "notes.png": (lambda: b"these are no pixels", "PNG"),
    "pickle.npy": (lambda: npy(np.array([[1, None]], dtype=object)), "pickle"),
    "bare-pickle.npy": (lambda: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94.", "PNG"),
    "half.npy": (lambda: npy(RNG.random((20, 31)))[:-8], "4960 bytes"),
    "promises.npy": (lambda: header("(1000000, 1000000)") + bytes(80), "promises"),
    "overflow.npy": (lambda: header("(4294967296, 4294967296)") + bytes(80), "promises"),
    "negative.npy": (lambda: header("(-1, 4)") + bytes(80), "damaged"),
    "code.npy": (lambda: header("(2, 2)", "__import__('os').system('touch owned')") + bytes(32), "damaged"),
    "records.npy": (lambda: npy(np.zeros((3, 3), [("a", "f4")])), "records"),
    "complex.npy": (lambda: npy(np.ones((3, 3)) * 1j), "complex"),
    "text.npy": (lambda: npy(np.array([["a"]])), "text"),
    "nan.npy": (
        lambda: npy(np.where(np.eye(5, 7) > 0, [[np.nan]], 1.0)),
        "5 NaN or infinite values, first at Y=0, X=0",
    ),
    "inf.npy": (lambda: npy(np.where(np.eye(5, 7, 2) > 0, [[-np.inf]], 1.0)), "first at Y=0, X=2"),
    "nothing.npy": (lambda: npy(np.zeros((0, 4))), "0x4"),
    "scalar.npy": (lambda: npy(np.array(3.0)), "axes"),
    "colours.npy": (lambda: npy(np.zeros((20, 30, 3))), "--axes YXC or CYX"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images(here: Path, name: str) -> None:
    make, says = BAD_IMAGES[name]
    (here / name).write_bytes(make())
    line = refused(here, "convolve", name, "-k", "k.npy", cwd=here)
    assert name in line
    assert says in line


BAD_KERNELS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero.npy": (lambda: npy(np.zeros((3, 3))), "zero"),
    "empty.npy": (lambda: npy(np.zeros((0, 3))), "0x3"),
    "blank.txt": (lambda: b"", "empty"),
    "nan.npy": (lambda: npy(np.array([[1, np.nan]])), "NaN"),
    "complex.npy": (lambda: npy(np.ones((3, 3)) * 1j), "complex"),
    "pickle.npy": (lambda: npy(np.array([[1, None]], dtype=object)), "pickle"),
    "scalar.npy": (lambda: npy(np.array(3.0)), "axes"),
    "ragged.csv": (lambda: b"1,2\n3\n", "line 2"),
    "words.csv": (lambda: b"1,2\n3,four\n", "four"),
    "half.png": (lambda: encoded("png")[:300], "damaged"),
}


@pytest.mark.parametrize("name", BAD_KERNELS)
def test_bad_kernels(here: Path, name: str) -> None:
    make, says = BAD_KERNELS[name]
    (here / name).write_bytes(make())
    for command in ("convolve", "deconvolve"):
        line = refused(here, command, "x.npy", "-k", name, cwd=here)
        assert says in line
        assert "kernel" in line or name in line


def test_missing_and_unreadable_files(here: Path) -> None:
    assert "gone.png: no such file" in refused(here, "convolve", "gone.png", "-k", "k.npy", cwd=here)
    assert "gone.npy: no such file" in refused(here, "convolve", "x.npy", "-k", "gone.npy", cwd=here)
    assert "gone.npy: no such file" in refused(here, "convolve", "x.npy", "-k", "k.npy", "--bias", "gone.npy", cwd=here)
    assert "folder" in refused(here, "convolve", here, "-k", here / "k.npy")
    assert "standard input" in refused(here, "convolve", "-", "-k", here / "k.npy", "-o", here / "y.npy")
    if os.geteuid() != 0:
        (here / "x.npy").chmod(0)
        outcome = run("convolve", here / "x.npy", "-k", here / "k.npy")
        assert (outcome.status, "permission denied" in outcome.stderr) == (2, True)


def test_more_than_memory_can_take(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    big = tmp_path_factory.mktemp("sparse") / "big.npy"
    with big.open("wb") as stream:
        stream.write(header("(400000, 400000)"))
        stream.truncate(stream.tell() + 8 * 400000**2)
    line = refused(here, "convolve", big, "-k", here / "k.npy", "-o", here / "y.npy")
    assert "memory" in line
    big.unlink()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    huge = ("convolve", here / "x.npy", "-k", here / "k.npy", "--padding", "40000", "-o", here / "y.npy")
    assert "memory" in refused(here, *huge, before=limit)


# Settings that do not fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("x.npy --axes QX", "QX"),
        ("x.npy --axes YXC", "2"),
        ("x.npy --axes YY", "YY"),
        ("x.npy --kernel-axes FOO", "FOO"),
        ("x.npy --kernel-axes ZYX", "ZYX"),
        ("x.npy -k oiyx.npy", "3 input channels"),
        ("rgb.npy -k rgb.npy --axes ZYX --kernel-axes CYX", "channel"),
        ("rgb.npy -k oiyx.npy --groups 2", "channels"),
        ("rgb.npy -k oiyx.npy --groups 3", "groups"),
        ("x.npy --groups 2", "OIYX"),
        ("x.npy --boundary mirror", "reflect"),
        ("x.npy --padding most", "valid"),
        ("x.npy --padding -1", "padding"),
        ("x.npy --padding 1:2", "padding"),
        ("x.npy --padding 1,2,3", "padding"),
        ("x.npy --padding 100000000000000000000", ""),
        ("x.npy --dilation 1000000000000", ""),
        ("x.npy -k box:size=40 --padding valid", "40x40"),
        ("x.npy --stride 0", "stride"),
        ("x.npy --stride 1,2,3", "stride"),
        ("x.npy --dilation x", "dilation"),
        ("x.npy --origin 3,0", "3x4"),
        ("x.npy --origin middle", "center"),
        ("x.npy --precision half", "single"),
        ("x.npy --engine gpu", "direct"),
        ("x.npy --dtype int", "int32"),
        ("x.npy --dtype complex64", "float32"),
        ("x.npy --scale 0", "--scale"),
        ("x.npy --scale 1,2,3", "--scale"),
        ("x.npy --scale nan", "--scale"),
        ("x.npy --format gif", "png"),
        ("x.npy --nan ignore", "nearest"),
        ("x.npy --linear", "--linear"),
        ("x.npy --bias k.npy", "bias"),
        ("x.npy --bias x.png", ".npy"),
        ("x.npy -k sobel-x --normalize", "--normalize"),
        ("x.npy --threads 0", "--threads"),
        ("x.npy --quiet --verbose", "--verbose"),
        ("- -k -", "standard input"),
        ("x.npy --report -", "--report"),
        ("x.npy -o y.npy --report y.npy", "y.npy"),
        ("x.npy -o y.npy --report ./y.npy", "y.npy"),
        ("x.npy -o y", "--format"),
        ("x.npy -o y.tif --dtype int64 --format jpeg", "jpeg"),
        ("rgb.npy -o y.jpg --axes ZYX --dtype uint8", "Z"),
        ("x.npy --unknown", "--unknown"),
        ("", "IMAGE"),
    ],
)
def test_settings_that_do_not_fit(here: Path, arguments: str, says: str) -> None:
    kernel = () if "-k" in arguments.split() else ("-k", "k.npy")
    line = refused(here, "convolve", *arguments.split(), *kernel, cwd=here)
    assert says.lower() in line.lower()


def test_usage_errors_name_what_is_missing(here: Path) -> None:
    assert "--kernel" in refused(here, "convolve", "x.npy", cwd=here)
    assert "convolv" in refused(here, "convolv", "x.npy", cwd=here)
    for empty in (("", "-k", "k.npy"), ("x.npy", "-k", ""), ("x.npy", "-k", "k.npy", "-o", "")):
        refused(here, "convolve", *empty, cwd=here)
    refused(here, "convolve", "x.npy", "-k", "k.npy", "--report", "", cwd=here)


@pytest.mark.parametrize(
    "words",
    [
        "convolve -k gaussian:sigma=1e-300",
        "convolve -k disk:radius=1e-300",
        "deconvolve -k box --set weight=1e308",
        "deconvolve -k box --method wiener --set noise_to_signal=1e300 --precision single",
    ],
)
def test_extreme_numbers_work_or_are_refused(here: Path, words: str) -> None:
    """No warning of the libraries comes through, and no NaN."""
    outcome = run(*words.split(), "x.npy", "-o", "y.npy", cwd=here)
    assert outcome.status in (0, 2)
    assert all(line.startswith("convtool: ") for line in outcome.stderr.splitlines())
    assert (here / "y.npy").exists() == (outcome.status == 0)
    assert outcome.status == 2 or np.isfinite(np.load(here / "y.npy")).all()


def test_names_with_escapes_are_not_echoed(here: Path) -> None:
    for name in ("\x1b[31mgone.png", "gone\r\nconvtool: all is well.png", "gone\x9b31m.png"):
        line = refused(here, "convolve", name, "-k", "k.npy", cwd=here)
        assert "gone" in line


# Outputs that cannot be written -----------------------------------------------------------------------------------


def test_outputs_that_cannot_be(here: Path) -> None:
    common = ("convolve", "x.npy", "-k", "k.npy")
    assert "there is no folder" in refused(here, *common, "-o", "gone/y.npy", cwd=here)
    assert "there is no folder" in refused(here, *common, "-o", "k.npy/y.npy", cwd=here)
    assert "gone" in refused(here, *common, "--report", "gone/r.json", cwd=here)
    (here / "folder.npy").mkdir()
    assert "folder" in refused(here, *common, "-o", "folder.npy", cwd=here)
    assert "folder" in refused(here, *common, "-o", f"{here}/", cwd=here)
    if os.geteuid() != 0:
        (here / "closed").mkdir(mode=0o500)
        assert "not writable" in refused(here, *common, "-o", "closed/y.npy", cwd=here)


def test_inputs_are_never_overwritten(here: Path) -> None:
    (here / "soft.npy").symlink_to(here / "x.npy")
    os.link(here / "x.npy", here / "hard.npy")
    common = ("convolve", "x.npy", "-k", "k.npy")
    for target in ("x.npy", "soft.npy", "hard.npy", f"../{here.name}/x.npy", str(here / "x.npy"), "k.npy"):
        for option in ("-o", "--report"):
            assert "never overwritten" in refused(here, *common, option, target, cwd=here)
    np.save(here / "b.npy", np.ones(1))
    assert "never" in refused(here, *common, "--bias", "b.npy", "-o", "b.npy", cwd=here)
    assert "never" in refused(here, "deconvolve", *common[1:], "--reference", "rgb.npy", "-o", "rgb.npy", cwd=here)
    (here / "x.convolved.npy").symlink_to(here / "k.npy")  # the default output
    assert "never" in refused(here, *common, cwd=here)
    files = contents(here)
    with (here / "x.npy").open("rb") as stream:
        command = [*PROGRAM, "convolve", "-", "-k", "k.npy", "-o", "x.npy"]
        done = subprocess.run(command, stdin=stream, capture_output=True, cwd=here, env=environment())
    assert (done.returncode, b"standard input" in done.stderr) == (2, True)
    assert contents(here) == files


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", [False, True])
def test_full_devices(here: Path, unbuffered: bool) -> None:
    env = environment(PYTHONUNBUFFERED="1") if unbuffered else environment()
    (here / "old.npy").write_bytes(b"old")
    line = refused(here, "convolve", "x.npy", "-k", "k.npy", "-o", "/dev/full", "--format", "npy", cwd=here, env=env)
    assert "full" in line
    refused(here, "convolve", "x.npy", "-k", "k.npy", "-o", "old.npy", "--report", "/dev/full", cwd=here, env=env)
    with open("/dev/full", "wb") as full:
        for words in ("convolve x.npy -k k.npy -o -", "compare x.npy x.npy", "make-kernel box -o -", "--help"):
            command = [*PROGRAM, *words.split()]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=here, env=env)
            assert done.returncode == 2, words
            assert done.stderr.count(b"\n") == 1, words
        # A full log is no verdict and no bug.
        command = [*PROGRAM, "compare", "x.npy", "x.npy", "--max-abs", "0", "--verbose"]
        assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=full, cwd=here, env=env).returncode in (0, 2)


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_disk_that_fills_up(here: Path, unbuffered: bool) -> None:
    np.save(here / "big.npy", RNG.random((200, 300)))
    (here / "old.npy").write_bytes(b"old")
    env = environment(PYTHONUNBUFFERED="1") if unbuffered else environment()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    for target in ("old.npy", "new.npy"):
        line = refused(
            here, "convolve", "big.npy", "-k", "k.npy", "-o", target, "--report", "r.json", cwd=here, env=env,
            before=limit,
        )  # fmt: skip
        assert target in line
    with (here / "stdout").open("wb") as stream:
        command = [*PROGRAM, "convolve", "big.npy", "-k", "k.npy", "-o", "-", "--report", "r.json"]
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, cwd=here, env=env, preexec_fn=limit)
    assert done.returncode == 2  # the shell has opened the file: only the status can say that it is not whole
    assert done.stderr.count(b"\n") == 1
    assert not (here / "r.json").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
def test_a_folder_that_takes_no_files(here: Path) -> None:
    line = refused(here, "convolve", "x.npy", "-k", "k.npy", "-o", "/proc/y.npy", cwd=here)
    assert line.startswith("cannot write /proc/y.npy: ")


def test_a_library_s_warning_is_one_line(here: Path) -> None:
    code = (
        "import warnings, convtool.linear as linear; from convtool.cli import run; made = linear.apply\n"
        "def warned(*values, **more):\n    warnings.warn('mind\\nthe gap', stacklevel=1)\n"
        "    return made(*values, **more)\n"
        "linear.apply = warned; raise SystemExit(run('convolve x.npy -k k.npy -o y.npy'.split()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=here, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr == b"convtool: warning: mind the gap\n"


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_closed_standard_streams(here: Path, stream: int) -> None:
    words = {0: "convolve - -k k.npy -o y.npy", 1: "convolve x.npy -k k.npy -o -", 2: "convolve x.npy -k k.npy -v"}
    outcome = run(*words[stream].split(), cwd=here, before=lambda: os.close(stream))
    assert outcome.status == (0 if stream == 2 else 2)
    if stream < 2:
        assert outcome.stderr.startswith("convtool: ")
        assert outcome.stderr.count("\n") == 1
    beside = run("convolve", "x.npy", "-k", "k.npy", "-o", "z.npy", cwd=here, before=lambda: os.close(stream))
    assert (beside.status, beside.stderr) == (0, "")  # it needs none of them


def test_a_failure_keeps_the_older_result(here: Path) -> None:
    succeed("convolve", "x.npy", "-k", "k.npy", "--report", "r.json", cwd=here)
    np.save(here / "x.npy", np.full((4, 4), np.nan))
    refused(here, "convolve", "x.npy", "-k", "k.npy", "--report", "r.json", cwd=here)


# Signals ----------------------------------------------------------------------------------------------------------

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def started(here: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=here,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("number", SIGNALS, ids=[number.name for number in SIGNALS])
def test_a_signal_in_the_middle_of_the_work(here: Path, number: signal.Signals) -> None:
    (here / "y.npy").write_bytes(b"old")
    files = contents(here)
    process = started(
        here, "convolve", "-", "-k", "random:size=61", "--engine", "direct", "-o", "y.npy", "--report", "r"
    )
    assert process.stdin is not None
    process.stdin.write(npy(RNG.random((1600, 1600))))  # 3721 taps take far longer than this test
    process.stdin.close()
    process.stdin = None
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (128 + number, b"", b"")
    assert contents(here) == files


def test_a_signal_while_results_are_on_their_way(here: Path) -> None:
    os.mkfifo(here / "pipe")
    process = started(here, "convolve", "x.npy", "-k", "k.npy", "-o", "pipe", "--format", "npy", "--report", "r.json")
    deadline = time.monotonic() + 30
    while not any(name.endswith(".tmp") for name in contents(here)) and time.monotonic() < deadline:
        time.sleep(0.02)  # until it waits for a reader of the pipe
    time.sleep(0.1)
    process.terminate()
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 143
    assert set(contents(here)) == {"x.npy", "k.npy", "rgb.npy", "oiyx.npy", "x.png", "pipe"}


def ended_by(here: Path, number: signal.Signals, moment: str, happens: str) -> None:
    """A command in which something happens, by which a signal comes, when a module is about to be imported."""
    code = (
        "import os, signal, sys\n"
        "from convtool.cli import main\n"
        "moment, number = sys.argv[1], int(sys.argv[2])\n"
        "class Field:\n"
        "    def __set_name__(self, owner, name): os.kill(os.getpid(), number)\n"
        "class Sender:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == moment: {happens}\n"
        "sys.meta_path.insert(0, Sender())\n"
        "sys.argv[1:3] = []\n"
        "main()\n"
    )
    words = [sys.executable, "-c", code, moment, str(int(number)), "convolve", "x.npy", "-k", "k.npy", "-o", "y.npy"]
    done = subprocess.run(words, cwd=here, env=environment(), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (128 + number, b"")
    assert not (here / "y.npy").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", ["typer", "convtool.cli.app", "numpy", "convtool.direct"])
def test_a_signal_while_the_program_starts(here: Path, number: signal.Signals, moment: str) -> None:
    ended_by(here, number, moment, "os.kill(os.getpid(), number)")


def test_a_signal_while_a_class_is_made(here: Path) -> None:
    """Python 3.11 makes another error of what is raised there."""
    ended_by(here, signal.SIGTERM, "convtool.direct", "type('Owner', (), {'field': Field()})")


def test_an_impatient_user(here: Path) -> None:
    """Ctrl-C again and again: whatever the moment, no traceback and nothing half written."""
    files = contents(here)
    process = started(here, "convolve", "-", "-k", "k.npy", "-o", "y.npy")
    time.sleep(0.6)  # it waits for its input
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)  # the interpreter's own end has no handlers any more
    assert (out, err) == (b"", b"")
    assert contents(here) == files


def test_an_interrupt_that_python_loses_is_not_the_last(here: Path) -> None:
    """What a signal raises while an object is finalised is lost; the next one ends the program all the same."""
    code = (
        "import os, signal, time, convtool.linear, convtool.cli\n"
        "class Last:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGINT); time.sleep(0.01)\n"
        "def apply(*arguments):\n"
        "    Last()\n"
        "    print('lost', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
        "convtool.linear.apply = apply\n"
        "convtool.cli.main()\n"
    )
    files = contents(here)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "convolve", "x.npy", "-k", "k.npy"],
        cwd=here, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"lost\n"
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert contents(here) == files


def test_nohup(here: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "convolve", "-", "-k", "k.npy", "-o", "y.npy"],
        cwd=here,
        env=environment(),
        stdin=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    time.sleep(0.5)
    process.send_signal(signal.SIGHUP)
    process.communicate((here / "x.npy").read_bytes(), timeout=30)
    assert process.returncode == 0
    assert (here / "y.npy").exists()


# Bugs -------------------------------------------------------------------------------------------------------------


def test_a_bug_shows_its_traceback_and_is_70(here: Path) -> None:
    code = (
        "import convtool.linear, convtool.cli\n"
        "def apply(*arguments): raise KeyError('planted')\n"
        "convtool.linear.apply = apply\n"
        "convtool.cli.main()\n"
    )
    files = contents(here)
    done = subprocess.run(
        [sys.executable, "-c", code, "convolve", "x.npy", "-k", "k.npy"],
        cwd=here, env=environment(), capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (70, b"")
    assert b"Traceback" in done.stderr
    assert b"planted" in done.stderr
    assert b"bug in convtool" in done.stderr.splitlines()[-1]
    assert contents(here) == files
