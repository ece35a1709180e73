"""How much memory this process may still take, before it tries."""

from __future__ import annotations

from pathlib import Path

from convtool.errors import DataError

_UNLIMITED = 1 << 62
_SCARCE = 16 << 20  # bytes, with fewer of which anything may fail in any way
# How the system's loader, the C library and Python say that there is none.
_SIGNS = ("failed to map segment", "cannot allocate memory", "can't start new thread", "bad_alloc")
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this process may still take: what the machine, its control group and its own limit leave."""
    return max(0, min(_free_on_machine(), _free_in_cgroup(), free_address_space()))


def check_room(needed: int, what: str, advice: str) -> None:
    """Raises DataError, with the bytes needed and free, where there is no room for them."""
    free = available_memory()
    if needed > free:
        raise DataError(f"{what} takes {needed} bytes of memory, and only {free} are free: use {advice}")


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error that nobody expected is one of too little memory, whatever it says."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or any(sign in str(cause).lower() for sign in _SIGNS):
            return True
        cause = cause.__cause__ or cause.__context__
    return available_memory() < _SCARCE


def _free_on_machine() -> int:
    for line in _lines(_PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED


def _free_in_cgroup() -> int:
    """The least that any group above this process leaves; the page cache counts as free, since it is given back."""
    free = _UNLIMITED
    for line in _lines(_PROC / "self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage, cache = _CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = _CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        inside = root / path.lstrip("/")
        for folder in (inside, *inside.parents):
            if folder == root or root in folder.parents:
                free = min(free, _left(folder, limit, usage, cache))
    return free


def _left(folder: Path, limit: str, usage: str, cache: str) -> int:
    most, used = "".join(_lines(folder / limit)).strip(), "".join(_lines(folder / usage)).strip()
    if not most.isdigit() or not used.isdigit():
        return _UNLIMITED
    statistics = dict(line.split()[:2] for line in _lines(folder / "memory.stat") if " " in line)
    return int(most) - int(used) + int(statistics.get(cache, 0))


def free_address_space() -> int:
    """Bytes below the process's own limit of its address space; very many where it has none."""
    try:
        import resource
    except ImportError:  # Windows
        return _UNLIMITED
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = "".join(_lines(_PROC / "self/statm")).split()
    if limit == resource.RLIM_INFINITY or not pages:
        return _UNLIMITED
    return limit - int(pages[0]) * resource.getpagesize()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
