"""Mutations of bytes and of texts, the same for the same random numbers."""

from __future__ import annotations

import random
import struct
import zlib

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_PIECES = (
    "",
    ",",
    "=",
    ":",
    "-",
    "nan",
    "inf",
    "1e999",
    "-1",
    "0",
    "9" * 30,
    "1e-300",
    "\0",
    "\n",
    "é",
    "☃",
    "\x1b[31m",
    "size=",
    "sigma=",
)
_MAGIC = b"\x89PNG\r\n\x1a\n"


def mutated(raw: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """A few changes to some bytes: flips, numbers at odd places, cuts, copies, splices; PNGs often with right sums."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                form = rng.choice(("<B", "<H", ">H", "<I", ">I"))
                number = rng.choice(_NUMBERS) % (1 << (8 * struct.calcsize(form)))
                data[at : at + struct.calcsize(form)] = struct.pack(form, number)
            case 3:
                del data[at:]
            case 4:
                del data[at : at + rng.randrange(1, 9)]
            case 5:
                data[at:at] = data[max(at - rng.randrange(1, 40), 0) : at]
            case _:
                other = rng.choice(others)
                data[at:] = other[min(at, len(other)) :]
    found = bytes(data)
    return _summed(found) if found.startswith(_MAGIC) and rng.random() < 0.7 else found


def garbled(text: str, rng: random.Random, others: list[str]) -> str:
    """The same for a text."""
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        match rng.randrange(5):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:at] + rng.choice(_PIECES) + text[at:]
            case 2:
                text = text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0xD800)))) + text[at + 1 :]
            case 3:
                text = text[:at] + text[at:end] * 2 + text[end:]
            case _:
                text = text[:at] + rng.choice(others)[at:]
    return text


def _summed(png: bytes) -> bytes:
    """A PNG whose chunks have the checksums that belong to them, so that what is wrong lies deeper."""
    out, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        (size,) = struct.unpack_from(">I", png, at)
        if at + 12 + size > len(png):
            break
        body = png[at + 4 : at + 8 + size]
        out += png[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + size
    return bytes(out) + png[at:]
