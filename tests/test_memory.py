"""Free memory, read from a made-up machine's files and from this process's own limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convtool import memory
from convtool.errors import DataError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up machine with 1 MB free and no control group."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 1000 kB\n")
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    return tmp_path


def test_memory_of_the_machine(machine: Path) -> None:
    assert memory.available_memory() == 1000 * 1024


def test_no_room_is_told_in_bytes(machine: Path) -> None:
    memory.check_room(1000 * 1024, "the result", "a smaller --padding")
    what = "the result takes 1024001 bytes of memory, and only 1024000 are free: use a smaller --padding"
    with pytest.raises(DataError, match=what):
        memory.check_room(1000 * 1024 + 1, "the result", "a smaller --padding")


def test_memory_of_a_control_group(machine: Path) -> None:
    (machine / "proc/self/cgroup").write_text("0::/user/job\n")
    inner = machine / "cgroup/user/job"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("1\n")
    outer = machine / "cgroup/user"
    (outer / "memory.max").write_text("500000\n")
    (outer / "memory.current").write_text("300000\n")
    (outer / "memory.stat").write_text("anon 5\ninactive_file 100000\n")
    assert memory.available_memory() == 500000 - 300000 + 100000


def test_memory_of_an_old_control_group(machine: Path) -> None:
    (machine / "proc/self/cgroup").write_text("3:cpu,memory:/job\n")
    inner = machine / "cgroup/memory/job"
    inner.mkdir(parents=True)
    (inner / "memory.limit_in_bytes").write_text("400000\n")
    (inner / "memory.usage_in_bytes").write_text("100000\n")
    assert memory.available_memory() == 300000


def test_memory_below_the_own_limit() -> None:
    code = (
        "import resource; from convtool.memory import available_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)); print(available_memory())"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert 0 < int(done.stdout) < 1 << 29
