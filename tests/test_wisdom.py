"""The file that keeps wisdom: where it lies, that it is whole or ignored, and what happens where none can be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from convtool import wisdom
from convtool.errors import FileError

VERSION = "pyfftw-1-fftw-2"
BLOB = b"(fftw)\n\0(fftwf \xff)\n\n\0(fftwl)\r\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, which does not exist yet."""
    folder = tmp_path / "deep" / "cache"
    monkeypatch.setenv("CONVTOOL_CACHE_DIR", str(folder))
    return folder


def test_what_is_written_is_read(cache: Path) -> None:
    assert wisdom.read(VERSION) is None
    assert not cache.exists()  # reading makes nothing
    for blob in (BLOB, b"", b"\n", BLOB * 1000):
        assert wisdom.write(VERSION, blob) == wisdom.path(VERSION)
        assert wisdom.read(VERSION) == blob
        assert os.listdir(cache) == [wisdom.path(VERSION).name]  # replaced, and nothing temporary is left


def test_each_library_version_has_a_file_of_its_own(cache: Path) -> None:
    wisdom.write(VERSION, BLOB)
    wisdom.write("another", b"other")
    assert wisdom.read(VERSION) == BLOB
    assert wisdom.read("another") == b"other"
    assert wisdom.read("third") is None
    assert VERSION in wisdom.path(VERSION).name
    assert wisdom.path(VERSION) != wisdom.path("another")


def test_each_machine_has_a_file_of_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wisdom.write(VERSION, BLOB)
    here = wisdom.path(VERSION)
    assert wisdom.path(VERSION) == here
    monkeypatch.setattr(wisdom, "_processor", lambda: "Another Processor")
    there = wisdom.path(VERSION)
    assert there.parent == here.parent
    assert there != here
    assert wisdom.read(VERSION) is None
    monkeypatch.setattr("platform.machine", lambda: "risc")
    assert wisdom.path(VERSION) not in (here, there)


def test_the_processor_is_named_once_whatever_the_number_of_cores() -> None:
    assert wisdom._processor() == wisdom._processor()
    assert "\n" not in wisdom._processor()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these have cache folders of their own")
def test_the_folder_is_the_users_own_or_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONVTOOL_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert wisdom.folder() == tmp_path / ".cache" / "convtool"
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # set but empty counts as unset, as the standard has it
    assert wisdom.folder() == tmp_path / ".cache" / "convtool"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert wisdom.folder() == tmp_path / "xdg" / "convtool"
    monkeypatch.setenv("CONVTOOL_CACHE_DIR", "")
    assert wisdom.folder() == tmp_path / "xdg" / "convtool"
    monkeypatch.setenv("CONVTOOL_CACHE_DIR", str(tmp_path / "ours"))
    assert wisdom.folder() == tmp_path / "ours"
    assert wisdom.path(VERSION).parent == tmp_path / "ours"


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_the_folder_on_other_platforms(platform: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CONVTOOL_CACHE_DIR", raising=False)
    expected = {"win32": "local/convtool", "darwin": "Library/Caches/convtool"}[platform]
    assert wisdom.folder() == tmp_path / expected


def test_a_damaged_file_counts_as_none(cache: Path) -> None:
    file = wisdom.write(VERSION, BLOB)
    whole = file.read_bytes()
    assert whole.endswith(BLOB)
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    truncated = [whole[:i] for i in range(len(whole))]
    foreign = [
        b"",
        b"\n",
        BLOB,
        b"\x89PNG\r\n\x1a\n",
        b"0" * 64 + b"\n" + BLOB,
        whole + b"\n",
        whole.replace(b"\n", b""),
    ]
    for content in [*flipped, *truncated, *foreign]:
        file.write_bytes(content)
        assert wisdom.read(VERSION) is None, content
    file.write_bytes(whole)
    assert wisdom.read(VERSION) == BLOB


def test_what_cannot_be_read_counts_as_none(cache: Path) -> None:
    wisdom.path(VERSION).mkdir(parents=True)
    assert wisdom.read(VERSION) is None


def test_a_failed_write_leaves_the_old_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wisdom.write(VERSION, BLOB)

    def broken(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", broken)
        patched.setattr(os, "rename", broken)
        with pytest.raises(FileError):
            wisdom.write(VERSION, b"new")
    assert wisdom.read(VERSION) == BLOB
    assert os.listdir(cache) == [wisdom.path(VERSION).name]


def test_the_new_file_replaces_the_old_one_as_a_whole(cache: Path) -> None:
    with open(wisdom.write(VERSION, BLOB), "rb") as reader:
        wisdom.write(VERSION, b"new")
        assert reader.read().endswith(BLOB)  # who had it open still reads the old one
    assert wisdom.read(VERSION) == b"new"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CONVTOOL_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert wisdom.read(VERSION) is None
    with pytest.raises(FileError, match=r"file/cache: .*: set CONVTOOL_CACHE_DIR to a folder of yours$"):
        wisdom.write(VERSION, BLOB)
    monkeypatch.setenv("CONVTOOL_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(FileError, match="CONVTOOL_CACHE_DIR"):
        wisdom.write(VERSION, BLOB)
    assert (tmp_path / "file").read_text() == "in the way"
