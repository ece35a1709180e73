"""Kernels from images: from a sharp and a blurred image of one scene, or from the point sources in a frame.

    estimate = from_pair(blurred, sharp, size=15)
    estimate = from_stars(frame, size=21)

Both give a `KernelEstimate`: the taps, how well the data determine each of them, measures, and notes on what to trust.
"""

from __future__ import annotations

from convtool.estimation.estimate import KernelEstimate
from convtool.estimation.pair import from_pair
from convtool.estimation.stars import from_stars

__all__ = ["KernelEstimate", "from_pair", "from_stars"]
