"""Generated kernels, one file a family; `convtool make-kernel` and `--kernel gaussian:sigma=1.6` read this folder.

A family is a module with a one-line docstring first, a frozen `Options` dataclass and `make(options)`, which returns
the taps as a float64 array whose axes follow its rank (2 YX, 3 ZYX). Point spread functions sum to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convtool.errors import SettingError
from convtool.registry import Registry, assignments

if TYPE_CHECKING:
    import numpy as np

families = Registry(__name__, "kernel")


def is_spec(text: str) -> bool:
    """Whether a --kernel text names a family ('gaussian:sigma=1.6', 'sobel-x') and not a file."""
    return text.partition(":")[0] in families.names()


def make(spec: str) -> np.ndarray:
    """The taps of a generated kernel (float64, YX or ZYX) from a spec such as 'gaussian:sigma=1,2,size=9,15'.

    A comma separates settings; an item without '=' belongs to the value before it. Raises SettingError.

    >>> make("gaussian:sigma=1,2,size=9,15").shape
    (9, 15)
    """
    import numpy as np

    name, _, text = spec.partition(":")
    items: list[str] = []
    for item in text.split(",") if text else []:
        if "=" not in item and items:
            items[-1] += "," + item
        else:
            items.append(item)
    options = families.options(name, assignments(items, f"kernel {name}"))
    with np.errstate(all="ignore"):  # extreme parameters are judged by what comes out
        taps = families.load(name).make(options)
    if not np.isfinite(taps).all() or not taps.any():
        raise SettingError(f"kernel {spec} has no finite, nonzero taps in double precision: use less extreme numbers")
    return taps
