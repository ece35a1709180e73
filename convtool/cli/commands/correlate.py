"""`convtool correlate`."""

from convtool.cli.linear import command

run = command(
    "correlate",
    """Correlate an image with a kernel.

    The kernel is not flipped, as in convolution layers and OpenCV's filter2D: y[n] = sum_m k[m] x[n + (m - origin)].
    """,
)
