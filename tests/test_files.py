"""Whole inputs, and outputs that arrive completely or not at all."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from convtool import files, temporaries
from convtool.errors import FileError, SettingError
from convtool.files import Staging, beside, check_target, read_bytes


class Standard:
    """A stand-in for sys.stdin or sys.stdout with the given bytes."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BytesIO(content)


class Gone(io.BytesIO):
    """Standard output whose reader has gone away."""

    def write(self, content: object) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def write_all(target: str | Path, content: bytes) -> None:
    stage([target], content)


def stage(targets: list[str | Path], content: bytes, error: BaseException | None = None) -> None:
    """Write the same to several targets, and then raise."""
    with Staging() as staging:
        for target in targets:
            staging.open(str(target)).write(content)
        if error is not None:
            raise error


def test_reads_files_pipes_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 40000  # more than one chunk
    (tmp_path / "a").write_bytes(content)
    assert read_bytes(str(tmp_path / "a")) == content
    monkeypatch.setattr(sys, "stdin", Standard(content))
    assert read_bytes("-") == content
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    assert read_bytes(str(tmp_path / "pipe")) == content
    writer.join()


def test_unreadable_inputs_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match=r"^cannot read .*gone.png: no such file$"):
        read_bytes(str(tmp_path / "gone.png"))
    with pytest.raises(FileError, match=r"^cannot read .*: it is a folder$"):
        read_bytes(str(tmp_path))
    with pytest.raises(FileError, match="cannot read"):
        read_bytes("a\0b")
    (tmp_path / "large").write_bytes(b"x" * 1000)
    monkeypatch.setattr(files, "available_memory", lambda: 999)
    with pytest.raises(FileError, match="takes 1000 bytes of memory and only 999 are free"):
        read_bytes(str(tmp_path / "large"))
    monkeypatch.setattr(sys, "stdin", Standard(b"x" * 1000))
    with pytest.raises(FileError, match="standard input"):
        read_bytes("-")


def test_a_new_file_has_the_mode_of_a_plain_open(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_all(tmp_path / "new", b"x")
        (tmp_path / "plain").write_bytes(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o640


def test_an_existing_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere/real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o604)
    link.symlink_to(real)
    write_all(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o604
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "elsewhere/later")
    write_all(dangling, b"made")
    assert dangling.is_symlink()
    assert (tmp_path / "elsewhere/later").read_bytes() == b"made"


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), SystemExit(143)])
def test_an_error_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "old").write_bytes(b"old")
    monkeypatch.setattr(sys, "stdout", output := Standard())
    with pytest.raises(type(error)):
        stage([tmp_path / "old", tmp_path / "fresh", "-"], b"new", error)
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"
    assert output.buffer.getvalue() == b""


def test_nothing_is_visible_before_the_end_and_temporaries_are_hidden(tmp_path: Path) -> None:
    with Staging() as staging:
        staging.open(str(tmp_path / "a")).write(b"x")
        (name,) = os.listdir(tmp_path)
        assert name.startswith(".")
        assert name.endswith(".tmp")
    assert os.listdir(tmp_path) == ["a"]


def test_a_killed_run_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    code = (
        "import os, signal, sys; from convtool.files import Staging\n"
        "with Staging() as staging:\n"
        "    stream = staging.open(sys.argv[1]); stream.write(b'n' * 10**6); stream.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], cwd=root, check=False)
    assert done.returncode == -9
    assert (tmp_path / "a").read_bytes() == b"old"


def test_streams_are_seekable_and_standard_output_is_sent_at_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdout", output := Standard())
    with Staging() as staging:
        for target in ("-", str(tmp_path / "a")):
            stream = staging.open(target)
            stream.write(b"abcdef")
            stream.seek(2)
            stream.write(b"X")
        assert output.buffer.getvalue() == b""
    assert output.buffer.getvalue() == b"abXdef"
    assert (tmp_path / "a").read_bytes() == b"abXdef"


def test_pipes_and_devices_are_written_directly(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_all(tmp_path / "pipe", b"through")
    reader.join()
    assert received == [b"through"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    write_all("/dev/null", b"away")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_reader_that_has_gone_is_a_broken_pipe_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Standard()
    output.buffer = Gone()
    monkeypatch.setattr(sys, "stdout", output)
    with pytest.raises(BrokenPipeError) as caught:
        stage([tmp_path / "report.json", "-"], b"{}")
    assert not isinstance(caught.value, FileError)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("size", [10, 10**6])
def test_a_full_disk_is_one_line(size: int) -> None:
    with pytest.raises(FileError, match=r"^cannot write /dev/full: the disk is full: free some space"):
        write_all("/dev/full", b"x" * size)


@pytest.mark.parametrize("size", [10, 10**6])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(temporaries, "open", lambda name, mode: _on_a_full_disk(name, mode), raising=False)
    with pytest.raises(FileError, match=r"^cannot write .*/a: the disk is full: free some space or write elsewhere$"):
        write_all(tmp_path / "a", b"x" * size)
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def _on_a_full_disk(name: str, mode: str) -> io.BufferedRandom:
    class Full(io.FileIO):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    return io.BufferedRandom(Full(name, mode.replace("b", "")))


def test_two_results_cannot_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for pair in ([tmp_path / "a", tmp_path / "link"], ["-", "/dev/stdout"]):
        with pytest.raises(SettingError, match="two results would go to"):
            stage(pair, b"x")
    assert os.listdir(tmp_path) == ["link"]


def test_impossible_targets_are_refused_by_both(tmp_path: Path) -> None:
    for target, words in ((tmp_path / "no/a.png", "no folder .*/no: create it"), (tmp_path, "it is a folder")):
        with pytest.raises(FileError, match=words):
            check_target(str(target), [], clobber=True)
        with pytest.raises(FileError, match=words):
            write_all(target, b"x")


def test_an_input_is_never_a_target_under_any_name(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(b"x")
    (tmp_path / "soft").symlink_to(source)
    os.link(source, tmp_path / "hard")
    for target in ("in.png", "soft", "hard", "./in.png"):
        with pytest.raises(FileError, match=r"it is the input .*never overwritten"):
            check_target(os.path.join(tmp_path, target), ["gaussian:sigma=2", str(source)], clobber=True)
    check_target(str(tmp_path / "out.png"), [str(source), "-"], clobber=False)
    check_target("-", [str(source)], clobber=False)
    check_target("/dev/null", ["/dev/null"], clobber=False)


def test_no_clobber(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    check_target(str(tmp_path / "a"), [], clobber=True)
    with pytest.raises(FileError, match="exists and --no-clobber was given"):
        check_target(str(tmp_path / "a"), [], clobber=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_closed_folders_and_read_only_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").chmod(0o444)
    with pytest.raises(FileError, match="permission denied"):
        check_target(str(tmp_path / "a"), [], clobber=True)
    tmp_path.chmod(0o555)
    with pytest.raises(FileError, match="not writable"):
        check_target(str(tmp_path / "b"), [], clobber=True)
    tmp_path.chmod(0o755)


def test_beside(tmp_path: Path) -> None:
    assert beside("dir/NAME.jpg", "convolved", ".png") == "dir/NAME.convolved.png"
    assert beside("dir.d/NAME", "convolved", ".tif") == "dir.d/NAME.convolved.tif"
    os.mkfifo(tmp_path / "pipe.png")
    for source in ("-", str(tmp_path / "pipe.png"), "/dev/stdin" if not os.path.isfile("/dev/stdin") else "-"):
        with pytest.raises(SettingError, match="-o FILE or -o -"):
            beside(source, "convolved", ".png")


def test_files_needs_no_numpy() -> None:
    code = "import sys, convtool.files; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True)
