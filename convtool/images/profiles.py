"""ICC colour profiles: one made for colour says nothing about grey pixels, nor the other way round."""

from __future__ import annotations

_SPACES = {b"RGB ": True, b"GRAY": False}  # the colour space field of an ICC header, bytes 16..20: is it colour?


def profile_for(icc: bytes | None, colour: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile, if it is for such pixels, and what to say when it is not."""
    if icc is None or _SPACES.get(icc[16:20], colour) == colour:
        return icc, ()
    return None, (f"the ICC profile, which is not for {'colour' if colour else 'grey'} pixels",)
