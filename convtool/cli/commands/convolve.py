"""`convtool convolve`."""

from convtool.cli.linear import command

run = command(
    "convolve",
    """Convolve an image with a kernel.

    The kernel is flipped, as in mathematics and scipy.ndimage.convolve: y[n] = sum_m k[m] x[n - (m - origin)].
    See correlate for the form that convolution layers use.
    """,
)
