"""Lists of names: what they give, for every byte that a name may hold, and what is refused."""

from __future__ import annotations

import doctest
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtool.cli import lists
from convtool.cli.lists import names
from convtool.errors import ConvtoolError, FileError, SettingError


def file_names(without: bytes) -> st.SearchStrategy[list[bytes]]:
    """Names of any bytes but these, none of them empty."""
    octets = st.sampled_from([bytes([n]) for n in range(256) if n not in without])
    return st.lists(st.lists(octets, min_size=1, max_size=9).map(b"".join), max_size=9)


def test_examples_of_the_docstring() -> None:
    assert doctest.testmod(lists) == (0, 2)


@given(file_names(b"\0\n\r"), st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r\n\n"]), st.booleans())
def test_a_name_a_line(written: list[bytes], end: bytes, is_ended: bool) -> None:
    raw = end.join(written) + (end if is_ended else b"")
    assert [os.fsencode(name) for name in names(raw, "list.txt", null=False)] == written


@given(file_names(b"\0"), st.booleans())
def test_names_separated_by_nul_may_hold_anything_else(written: list[bytes], is_ended: bool) -> None:
    raw = b"\0".join(written) + (b"\0" if is_ended or len(written) == 1 else b"")
    assert [os.fsencode(name) for name in names(raw, "list.txt", null=True)] == written


def test_lines_are_not_taken_for_one_name() -> None:
    for raw in (b"a.png\nb.png\n", b"a.png\n"):
        with pytest.raises(SettingError, match=r"^list\.txt has lines and no NUL byte, .*: leave -0 out$"):
            names(raw, "list.txt", null=True)


def test_one_carriage_return_ends_a_line_and_others_are_of_the_name() -> None:
    assert names(b"a\r\r\nb\rc\n\r\nd\r", "list.txt", null=False) == ["a\r", "b\rc", "d"]
    assert names(b"a\r\0b\r\n", "list.txt", null=True) == ["a\r", "b\r\n"]


def test_names_are_literal() -> None:
    literal = ["*.png", "@other.txt", "# no remark", " a ", "-", "--help", "~/x", "$HOME", '"quoted"', "é☃"]
    assert names("\n".join(literal).encode(), "list.txt", null=False) == literal


def test_names_that_are_no_utf8_open_their_files(tmp_path: object) -> None:
    raw = os.fsencode(f"{tmp_path}/") + b"caf\xe9.png"
    with open(raw, "wb") as stream:
        stream.write(b"here")
    (name,) = names(raw + b"\n", "list.txt", null=False)
    with open(name, "rb") as stream:
        assert stream.read() == b"here"


@pytest.mark.parametrize("null", [False, True])
def test_a_list_of_nothing_is_empty(null: bool) -> None:
    assert names(b"", "list.txt", null) == []
    assert names(b"\0\0" if null else b"\n\r\n\n", "list.txt", null) == []


REFUSED = [
    (b"a.png\nb.png\0c.png\0", False, SettingError, "line 2 of LIST holds a NUL byte: say -0"),
    (b"\0", False, SettingError, "line 1 of LIST"),
    (b"a\n\n" + bytes([65]) * 4097, False, FileError, "line 3 of LIST has 4097 bytes, and a name has at most 4096"),
    (b"a\0" + b"\n" * 5000 + b"\0b", True, FileError, "name 2 of LIST has 5000 bytes"),
]


@pytest.mark.parametrize(("raw", "null", "kind", "words"), REFUSED)
def test_what_is_no_list_is_refused_in_one_line(raw: bytes, null: bool, kind: type, words: str) -> None:
    with pytest.raises(ConvtoolError) as caught:
        names(raw, "LIST", null)
    assert isinstance(caught.value, kind)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_the_longest_name_is_one_that_systems_take() -> None:
    longest = b"\xe9" * 4096
    assert names(longest + b"\r\n", "LIST", null=False) == [os.fsdecode(longest)]


@pytest.mark.parametrize("null", [False, True])
def test_a_byte_order_mark_is_no_part_of_a_name(null: bool) -> None:
    end = b"\0" if null else b"\r\n"
    assert names(b"\xef\xbb\xbfa.png" + end + b"\xef\xbb\xbfb.png" + end, "l", null=null) == ["a.png", "\ufeffb.png"]
