"""What goes wrong around a long job, for real: kills, signals, full disks, limits, and files that change under it.

Here in a short form; `make faults` does it with as many images and kills as FAULT_IMAGES and FAULT_KILLS say.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from command import PROGRAM, TIMEOUT, Outcome, environment, run

resource = pytest.importorskip("resource")  # these are a POSIX system's faults

IMAGES, KILLS = int(os.environ.get("FAULT_IMAGES", "30")), int(os.environ.get("FAULT_KILLS", "3"))
RNG = np.random.default_rng(21)
METHODS = tuple(f"deconvolve --method {name}" for name in ("pinv", "wiener", "rl", "tv", "least-squares"))
CONVOLVE = ("convolve", "in", "-k", "gaussian:sigma=2", "--reproducible")


def images(folder: Path, count: int, side: int = 96) -> None:
    """A folder of different images, by names of one length."""
    folder.mkdir()
    for number in range(count):
        iio.imwrite(folder / f"{number:04}.png", RNG.integers(0, 256, (side, side + 7, 3), dtype=np.uint8))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path there, hidden ones too."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def started(here: Path, *arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=here,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **settings,
    )


def ended(process: subprocess.Popen[bytes]) -> Outcome:
    out, err = process.communicate(timeout=TIMEOUT)
    return Outcome(process.returncode, out, err.decode(errors="surrogateescape"))


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come to pass."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def some(folder: Path, count: int = 1) -> bool:
    return not count or (folder.exists() and len(list(folder.glob("*.png"))) >= count)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images `in`, and what an undisturbed run makes of them in `whole`."""
    here = tmp_path_factory.mktemp("faults")
    images(here / "in", IMAGES)
    outcome = run(*CONVOLVE, "--output-dir", "whole", cwd=here)
    assert outcome.status == 0, outcome.stderr
    assert len(list((here / "whole").glob("*.png"))) == IMAGES
    return here


@pytest.fixture
def out(scene: Path) -> Iterator[Path]:
    """An output folder that is not there yet."""
    folder = scene / "out"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def is_right(scene: Path, out: Path, complete: bool = False) -> bool:
    """Whether every result is that of the undisturbed run; `complete`: and nothing else is there."""
    whole, found = tree(scene / "whole"), tree(out)
    if complete:
        return found == whole
    return all(found[name] == whole[name] for name in found if not name.endswith(".tmp"))


def kill(process: subprocess.Popen[bytes], out: Path, count: int = 0, pause: float = 0.0) -> None:
    """SIGKILL so many seconds after so many results have appeared."""
    until(lambda: some(out, count) or process.poll() is not None)
    time.sleep(pause)
    process.kill()
    process.communicate()


# Kills ----------------------------------------------------------------------------------------------------------------


def test_a_killed_batch_has_lost_nothing_and_is_gone_on_with(scene: Path, out: Path) -> None:
    """SIGKILL at random moments: what is there is right, and the next run makes the rest, and clears up."""
    chance, partly, left = random.Random(5), 0, 0
    for _ in range(KILLS):
        process = started(scene, *CONVOLVE, "--output-dir", "out", "--skip-existing")
        kill(process, out, chance.randrange(IMAGES), chance.uniform(0, 0.05))
        done = len(list(out.glob("*.png"))) if out.exists() else 0
        partly += 0 < done < IMAGES
        left += sum(name.endswith(".tmp") for name in tree(out)) if out.exists() else 0
        assert is_right(scene, out)
        again = run(*CONVOLVE, "--output-dir", "out", "--skip-existing", cwd=scene)
        assert again.status == 0, again.stderr
        assert is_right(scene, out, complete=True)
        shutil.rmtree(out)
    print(f"{KILLS} kills of batches of {IMAGES}: {partly} in the midst, {left} temporary files left and swept")


def test_a_kill_in_the_midst(scene: Path, out: Path) -> None:
    process = started(scene, *CONVOLVE, "--output-dir", "out")
    kill(process, out, 3)
    assert is_right(scene, out)
    again = run(*CONVOLVE, "--output-dir", "out", "--skip-existing", cwd=scene)
    assert int(again.stderr.partition(" skipped")[0].rpartition(" ")[2]) >= 2  # the last may lack its record
    assert is_right(scene, out, complete=True)


def test_what_was_left_by_the_dead_is_swept_and_what_is_in_hand_is_not(scene: Path, out: Path) -> None:
    import fcntl

    (out / ".convtool").mkdir(parents=True)
    dead = [out / f".{'0' * 16}.tmp", out / ".convtool" / f".{'a' * 16}.tmp"]
    others = [out / ".notes.tmp", out / f".{'g' * 16}.tmp"]
    for file in (*dead, *others):
        file.write_bytes(b"half")
    alive = out / f".{'1' * 16}.tmp"
    with open(alive, "wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert run(*CONVOLVE, "--output-dir", "out", cwd=scene).status == 0
    assert [file.exists() for file in (*dead, *others, alive)] == [False, False, True, True, True]


# Signals --------------------------------------------------------------------------------------------------------------


def test_one_interrupt_finishes_what_is_in_hand(scene: Path, out: Path) -> None:
    process = started(scene, *CONVOLVE, "--output-dir", "out", "-j", "1", "--report", "r.jsonl")
    until(lambda: some(out, 2))
    process.send_signal(signal.SIGINT)
    outcome = ended(process)
    assert outcome.status == 130
    assert "once more Ctrl-C stops at once" in outcome.stderr
    assert "not begun in" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert is_right(scene, out)
    assert not [name for name in tree(out) if name.endswith(".tmp")]
    lines = [json.loads(line) for line in (scene / "r.jsonl").read_text().splitlines()]
    assert len(lines) == len(list(out.glob("*.png")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_ends_a_batch_at_once_leaves_nothing_half_written(scene: Path, out: Path, number: int) -> None:
    process = started(scene, *CONVOLVE, "--output-dir", "out")
    until(lambda: some(out, 2))
    for _ in range(2 if number == signal.SIGINT else 1):
        process.send_signal(number)
        time.sleep(0.02)
    outcome = ended(process)
    assert outcome.status == 128 + number
    assert "Traceback" not in outcome.stderr
    assert " done" in outcome.stderr
    assert is_right(scene, out)
    assert not [name for name in tree(out) if name.endswith(".tmp")]


def test_interrupts_at_any_moment(scene: Path, out: Path) -> None:
    for seconds in (0.05, 0.15, 0.3, 0.45, 0.6):
        process = started(scene, *CONVOLVE, "--output-dir", "out")
        time.sleep(seconds)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.005)
        outcome = ended(process)
        if "init_import_site" in outcome.stderr:  # of Python, which was beginning
            continue
        assert outcome.status in (130, -signal.SIGINT, 0)  # before there are handlers, and at the end
        if outcome.status == 130:
            assert "Traceback" not in outcome.stderr
        if out.exists():
            assert is_right(scene, out)
            assert not [name for name in tree(out) if name.endswith(".tmp")]
            shutil.rmtree(out)


def test_a_reader_of_the_lines_that_goes_away(scene: Path, out: Path) -> None:
    process = started(scene, *CONVOLVE, "--output-dir", "out", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read().decode()
    assert process.wait(TIMEOUT) == 141
    assert "Traceback" not in err
    assert is_right(scene, out)


def test_a_target_that_nobody_reads_does_not_keep_the_process(scene: Path, out: Path) -> None:
    """A named pipe blocks who opens it; the other images are done, and the process ends when it is told to."""
    out.mkdir()
    os.mkfifo(out / "0003.png")
    process = started(scene, *CONVOLVE, "--output-dir", "out", "-j", "2")
    until(lambda: len([file for file in out.glob("*.png") if file.is_file()]) >= IMAGES - 1)
    process.send_signal(signal.SIGTERM)
    outcome = ended(process)
    assert outcome.status == 128 + signal.SIGTERM
    assert "Traceback" not in outcome.stderr
    os.unlink(out / "0003.png")
    assert is_right(scene, out)
    assert not [name for name in tree(out) if name.endswith(".tmp")]


# Disks and limits -----------------------------------------------------------------------------------------------------


def lines_of(outcome: Outcome) -> list[str]:
    """What was said, on lines that a user may see."""
    assert "Traceback" not in outcome.stderr
    assert all(line.startswith("convtool: ") and line.isprintable() for line in outcome.stderr.splitlines())
    return outcome.stderr.splitlines()


def test_files_larger_than_the_system_allows(scene: Path, out: Path) -> None:
    images(scene / "odd", 3, side=40)
    try:
        shutil.copy(scene / "in/0000.png", scene / "odd/large.png")
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000))  # noqa: E731
        command = ("convolve", "odd", "-k", "random:size=3", "--output-dir", "out")
        outcome = run(*command, cwd=scene, before=limit)
        assert outcome.status == 1
        failed = [line for line in lines_of(outcome) if "failed: " in line]
        assert len(failed) == 1
        assert "odd/large.png: cannot write out/large.png" in failed[0]
        assert "file too large" in failed[0]
        assert sorted(tree(out)) == sorted(
            f"{d}{n:04}.png{e}" for n in range(3) for d, e in (("", ""), (".convtool/", ".json"))
        )
    finally:
        shutil.rmtree(scene / "odd")


@pytest.fixture
def small_disk(scene: Path) -> Iterator[Path]:
    """A file system with little room, where that may be mounted."""
    folder = scene / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_ends_the_batch_and_keeps_what_is_there(scene: Path, small_disk: Path) -> None:
    outcome = run(*CONVOLVE, "--output-dir", "disk/out", "-j", "1", cwd=scene)
    assert outcome.status == 1
    (failed,) = [line for line in lines_of(outcome) if "failed: " in line]
    assert "the disk is full" in failed
    assert "not begun in" in outcome.stderr
    assert len(list((small_disk / "out").glob("*.png"))) >= 2
    assert is_right(scene, small_disk / "out")
    assert not [name for name in tree(small_disk) if name.endswith(".tmp")]


def test_a_report_on_a_full_disk_is_one_line(scene: Path, out: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    outcome = run(*CONVOLVE, "--output-dir", "out", "--report", "/dev/full", "-q", cwd=scene)
    assert outcome.status == 2
    (line,) = lines_of(outcome)
    assert "cannot write /dev/full: the disk is full" in line
    assert is_right(scene, out)


def test_a_disk_that_is_read_only(scene: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    outcome = run(*CONVOLVE, "--output-dir", "disk/out", cwd=scene)
    assert outcome.status == 1
    assert "cannot create the folder disk/out: read-only file system" in lines_of(outcome)[0]
    assert "not begun in" in outcome.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="permissions do not apply to root")
def test_an_output_folder_that_is_closed_to_us(scene: Path, out: Path) -> None:
    out.mkdir()
    os.chmod(out, 0o555)
    outcome = run(*CONVOLVE, "--output-dir", "out", cwd=scene)
    assert outcome.status == 1
    assert "out" in lines_of(outcome)[0]
    assert tree(out) == {}


def test_an_output_folder_that_is_removed_under_it(scene: Path, out: Path) -> None:
    process = started(scene, *CONVOLVE, "--output-dir", "out")
    for _ in range(4):
        until(lambda: some(out) or process.poll() is not None)
        shutil.rmtree(out, ignore_errors=True)
    outcome = ended(process)
    assert outcome.status in (0, 1)
    lines_of(outcome)
    if out.exists():
        assert is_right(scene, out)


def test_inputs_that_change_while_they_are_read(scene: Path, out: Path) -> None:
    """Each result is that of the file as it was, or there is none."""
    shutil.copytree(scene / "in", scene / "moving")
    names = sorted(os.listdir(scene / "moving"))
    stop = threading.Event()

    def disturb() -> None:
        chance = random.Random(3)
        while not stop.is_set():
            name = chance.choice(names)
            content = (scene / "in" / name).read_bytes()
            (scene / "moving" / name).write_bytes(content[: chance.randrange(len(content))])
            (scene / "moving" / name).write_bytes(content)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        command = ("convolve", "moving", *CONVOLVE[2:], "--output-dir", "out")
        for _ in range(2):
            outcome = run(*command, cwd=scene)
            assert outcome.status in (0, 1)
            lines_of(outcome)
            assert all(
                tree(scene / "whole")[name] == found for name, found in tree(out).items() if "convtool" not in name
            )
    finally:
        stop.set()
        thread.join()
        shutil.rmtree(scene / "moving")


@pytest.mark.parametrize("most", [16, 24])
def test_few_file_descriptors(scene: Path, out: Path, most: int) -> None:
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # noqa: E731
    outcome = run(*CONVOLVE, "--output-dir", "out", "-j", "8", cwd=scene, before=limit)
    assert outcome.status in (0, 1, 2)
    lines_of(outcome)
    if out.exists():
        assert is_right(scene, out)


def address_spaces() -> list[int]:
    """Limits in MiB: so many as FAULT_LIMITS says, where libraries begin to fit."""
    count = int(os.environ.get("FAULT_LIMITS", "5"))
    return [190 + 710 * n // (count - 1) for n in range(count)]


@pytest.mark.parametrize("megabytes", address_spaces())
def test_little_address_space(scene: Path, out: Path, megabytes: int) -> None:
    """A batch works, or says in a line for each image, or one for all, what it has too little of; at once."""
    size = megabytes << 20
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))  # noqa: E731
    env = environment()
    env.pop("OPENBLAS_NUM_THREADS", None)  # as users have it
    since = time.monotonic()
    outcome = run(*CONVOLVE, "--output-dir", "out", "-j", "2", cwd=scene, before=limit, env=env)
    assert time.monotonic() - since < 30
    assert outcome.status in ((0,) if megabytes > 400 else (0, 1, 2))
    lines = lines_of(outcome)
    assert outcome.status == 0 or all(re.search("bytes|failed in|not begun in", line) for line in lines)
    if out.exists():
        assert is_right(scene, out)


@pytest.mark.parametrize("words", ["convolve", "edges", "maxpool -w 3", "deconvolve", *METHODS])
@pytest.mark.parametrize("megabytes", address_spaces())
def test_one_image_in_little_address_space(scene: Path, tmp_path: Path, words: str, megabytes: int) -> None:
    command, *more = words.split()
    more += ["-k", "gaussian:sigma=1"] if "convolve" in command else []
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))  # noqa: E731
    env = environment()
    env.pop("OPENBLAS_NUM_THREADS", None)
    iio.imwrite(tmp_path / "x.png", iio.imread(scene / "in/0000.png")[:40, :40])
    outcome = run(command, "x.png", *more, "-q", "-o", "y.png", cwd=tmp_path, before=limit, env=env)
    assert outcome.status in ((0,) if megabytes > 400 else (0, 2))
    lines = lines_of(outcome)
    assert (len(lines) == 1 and "bytes of address space" in lines[0]) == (outcome.status == 2)


# Others at the same time ----------------------------------------------------------------------------------------------


def test_two_batches_with_one_output_folder(scene: Path, out: Path) -> None:
    both = [started(scene, *CONVOLVE, "--output-dir", "out", "--skip-existing") for _ in range(2)]
    for process in both:
        outcome = ended(process)
        assert outcome.status == 0, outcome.stderr
    assert is_right(scene, out, complete=True)


def test_two_processes_that_learn_at_once(tmp_path: Path) -> None:
    """Whoever reads what was learned finds one of the writers' whole file, or nothing."""
    code = (
        "import sys\n"
        "from convtool import wisdom\n"
        "blobs = {bytes([n]) * 300_000 for n in (65, 66)}\n"
        "for _ in range(150):\n"
        "    wisdom.write('test', bytes([int(sys.argv[1])]) * 300_000)\n"
        "    assert wisdom.read('test') in blobs\n"
    )
    env = environment(CONVTOOL_CACHE_DIR=str(tmp_path / "cache"))
    both = [subprocess.Popen([sys.executable, "-c", code, n], env=env, stderr=subprocess.PIPE) for n in ("65", "66")]
    for process in both:
        _, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, err
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("spoil", ["damaged", "foreign", "folder", "closed"])
def test_a_cache_that_is_of_no_use_changes_nothing(scene: Path, out: Path, tmp_path: Path, spoil: str) -> None:
    cache = tmp_path / "cache"
    env = environment(CONVTOOL_CACHE_DIR=str(cache))
    cache.mkdir()
    code = (
        "from convtool import costs, fft, wisdom\n"
        "for name in (fft.library_version(), costs.name(2)): print(wisdom.path(name))"
    )
    names = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in names:
        if spoil == "folder":
            os.mkdir(name)
        elif spoil == "foreign":
            Path(name).write_bytes(b"0" * 64 + b"\nwisdom of another library")
        else:
            Path(name).write_bytes(b"\xff\x00")
    if spoil == "closed":
        os.chmod(cache, 0)
    plain = tuple(word for word in CONVOLVE if word != "--reproducible")
    outcome = run(*plain, "--output-dir", "out", cwd=scene, env=env)
    os.chmod(cache, 0o755)
    assert outcome.status == 0
    assert len(lines_of(outcome)) <= 2  # the summary, and one warning at most
