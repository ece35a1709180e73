"""Little address space: what libraries take of it, and what is done where it has a limit. See test_batch_faults too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import environment

from convtool import memory, model, process
from convtool.cli.scarcity import ROOM

resource = pytest.importorskip("resource")
MIB = 1 << 20
LIMITED = (
    "import resource, sys; from convtool import process; from convtool.cli import scarcity\n"
    "resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), resource.RLIM_INFINITY)); scarcity.prepare()\n"
)


def said(code: str, *arguments: str, **changes: str) -> str:
    """What a program prints."""
    env = {name: value for name, value in environment().items() if name != "OPENBLAS_NUM_THREADS"} | changes
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="asks Linux for the address space")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [name for name, room in ROOM.items() if room[0]])
def test_libraries_take_the_room_that_is_kept_for_them(name: str, threads: int) -> None:
    """With the buffer that BLAS takes at its first product. OpenBLAS begins no more threads than there are CPUs."""
    pytest.importorskip(name)
    code = (
        "import sys\n"
        "def size(): return [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmPeak')][0]\n"
        "if sys.argv[1] != 'numpy': import numpy as np; x = np.ones((256, 256)); x @ x\n"
        "if sys.argv[1] == 'pyfftw': import scipy.fft\n"
        "before = int(size()); module = __import__(sys.argv[1])\n"
        "if sys.argv[1] == 'numpy': x = module.ones((256, 256)); x @ x\n"
        "if sys.argv[1] == 'scipy.linalg': import scipy.fft; module.linalg.blas.dgemm(1.0, x, x)\n"
        "if sys.argv[1] == 'astropy': import astropy.io.fits\n"
        "print((int(size()) - before) * 1024)"
    )
    taken = int(said(code, name, OPENBLAS_NUM_THREADS=str(threads)))
    once, each = ROOM[name]
    told = once + (min(threads, process.usable_cpus()) - 1) * each
    assert taken <= told <= 3 * taken


@pytest.mark.parametrize(
    ("mebibytes", "asked", "threads", "most"),
    [(300, "", 1, 1), (300, "2", 1, 1), (900, "", 1, 1), (100_000, "", 4, 4), (100_000, "3", 3, 4), (1600, "", 3, 3)],
)
def test_threads_are_as_many_as_there_is_room_for(mebibytes: int, asked: str, threads: int, most: int) -> None:
    code = "from convtool import process; process.usable_cpus = lambda: 4\n" + LIMITED
    code += "import os; print(os.environ['OPENBLAS_NUM_THREADS'], process.policy.most_threads, process.workers())"
    changes = {"OPENBLAS_NUM_THREADS": asked} if asked else {}
    assert said(code, str(mebibytes * MIB), **changes) == f"{threads} {most} {most}"


def test_without_a_limit_nothing_is_done() -> None:
    code = (
        "import os, sys; before = dict(os.environ), list(sys.meta_path), set(sys.modules)\n"
        "from convtool.cli import scarcity; from convtool import process; scarcity.prepare()\n"
        "is_same = before[:2] == (dict(os.environ), list(sys.meta_path))\n"
        "print(is_same, process.policy.most_threads, 'numpy' in sys.modules)"
    )
    assert said(code) == "True None False"


def test_a_library_that_does_not_fit_is_not_begun() -> None:
    code = LIMITED + (
        "import numpy\n"
        "try: import scipy.fft\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print('openblas-' in open('/proc/self/maps').read())"
    )
    error, loaded = said(code, str(300 * MIB)).splitlines()
    assert error.startswith("NoRoomError loading scipy takes ")
    assert error.endswith(" are free: raise the limit (ulimit -v)")
    assert loaded == "False"


@pytest.mark.parametrize(("mebibytes", "is_sparing"), [(1600, "True"), (3000, "False")])
def test_opencv_is_left_aside_where_it_would_take_the_room_of_images(mebibytes: int, is_sparing: str) -> None:
    assert said(LIMITED + "print(process.policy.is_sparing)", str(mebibytes * MIB)) == is_sparing


def test_who_is_to_spare_memory_takes_another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    kernel, found = np.random.default_rng(3).random((5, 6)), []
    for is_sparing in (False, True):
        monkeypatch.setattr(process.policy, "is_sparing", is_sparing)
        found.append(model.build(np.ones((900, 800), np.float32), kernel).operator.engine_name)
    assert found[0] == "opencv" != found[1]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libx.so: failed to map segment from shared object"),
        OSError("x.so: cannot open shared object file: Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
)
def test_want_of_memory_has_many_names(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = SystemError("something")
    outer.__cause__ = error
    assert memory.is_lack_of_memory(outer)
    assert not memory.is_lack_of_memory(ZeroDivisionError("division by zero"))
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 20)
    assert memory.is_lack_of_memory(ZeroDivisionError("division by zero"))


def test_what_is_loaded_for_threads_is_there_before_they_begin(tmp_path: Path) -> None:
    code = LIMITED + "scarcity.load_for_threads(); print('scipy.linalg' in sys.modules)"
    assert said(code, str(2048 * MIB)) == "True"
    assert said(code, str(300 * MIB)) == "False"
    assert said("import sys; from convtool.cli import scarcity; " + code.splitlines()[-1]) == "False"
