"""Chains of kernels on the command line: one option for all kernels, or one each, in their order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convtool.axes import spelled
from convtool.cli import reading, sidecar
from convtool.cli.options import PARSERS
from convtool.errors import DataError, SettingError
from convtool.memory import available_memory
from convtool.merging.layers import Layer, stages
from convtool.merging.products import shape_of

if TYPE_CHECKING:
    from convtool.cli.job import Job

_DEFAULTS: dict[str, Any] = {
    "stride": "1",
    "padding": "same",
    "dilation": "1",
    "origin": "center",
    "groups": 1,
    "kernel_axes": None,
}
_NO_BIAS = (None, "none")


def read_layers(
    job: Job, kernels: Sequence[str], words: dict[str, str]
) -> tuple[list[Layer], dict[str, str], list[sidecar.Sidecar | None]]:
    """The layers of kernel files with the command's per-kernel options; operation and boundary of all; the sidecars.

    A kernel's sidecar gives what the options leave open. Raises SettingError for options that do not fit the kernels,
    or that contradict a sidecar.
    """
    given = {name: _each(job, name, len(kernels), default) for name, default in _DEFAULTS.items()}
    biases = _each(job, "bias", len(kernels), None)
    layers, sidecars = [], []
    said = {name: (value, f"--{name}") for name, value in words.items() if job.chosen(name)}
    for number, kernel in enumerate(kernels):
        taps = reading.read_kernel(job, kernel, normalize=False)
        settings = {name: _parsed(name, values[number]) for name, values in given.items()}
        settings["kernel_axes"] = reading.kernel_axes(kernel, taps, settings["kernel_axes"])
        found = sidecar.find(kernel)
        bias = None
        if found is not None:
            settings = _honoured(job, found, taps, settings, has_bias=biases[number] not in _NO_BIAS)
            bias = found.bias
            for name in words:
                _agree(said, name, found)
            job.from_kernel |= {name for name in words if name in found.settings}
        if biases[number] not in _NO_BIAS:
            bias = reading.read_bias(job, biases[number])
        layers.append(Layer(taps, bias=bias, **settings))
        sidecars.append(found)
    return layers, words | {name: value for name, (value, _) in said.items()}, sidecars


def check_memory(layers: list[Layer], words: dict[str, str]) -> None:
    """Raises DataError where the merged taps, and what it takes to multiply them out, do not fit into memory."""
    g, o, i, *extent = shape_of(stages(layers, **words))
    needed, free = 4 * 8 * g * o * i * math.prod(extent), available_memory()
    if needed > free:
        lead = f"{g * o}x{i} kernels of " if g * o * i > 1 else ""
        raise DataError(
            f"the merge would have {lead}{spelled(extent)} taps, which takes {needed} bytes, and only {free} are free:"
            " keep the chain, or use smaller kernels or dilations"
        )


def resolved(layers: list[Layer]) -> dict[str, Any]:
    """For each setting, its values, one a kernel; numbers for each axis as (before, after) pairs of padding."""
    names = ("stride", "padding", "dilation", "origin", "groups")
    found: dict[str, Any] = {name: [getattr(layer, name) for layer in layers] for name in names}
    found["padding"] = [
        tuple((n, n) if isinstance(n, int) else n for n in value) if isinstance(value, tuple) else value
        for value in found["padding"]
    ]
    return found


def _honoured(
    job: Job, found: sidecar.Sidecar, taps: np.ndarray, settings: dict[str, Any], has_bias: bool
) -> dict[str, Any]:
    """As `sidecar.honoured`; who gave an option once for all kernels may have meant the others."""
    try:
        return sidecar.honoured(job, found, taps, settings, has_bias)
    except SettingError as error:
        if has_bias or not any(len(job.context.params[name] or []) == 1 for name in _DEFAULTS):
            raise
        raise SettingError(f"{error}, or give it once for each kernel") from error


def _agree(said: dict[str, tuple[str, str]], name: str, found: sidecar.Sidecar) -> None:
    """Take a sidecar's word for the whole chain; raises SettingError where another one has been said."""
    word = found.settings.get(name)
    if word is None:
        return
    value, source = said.setdefault(name, (word, found.name))
    if value != word:
        raise SettingError(f"{found.name} says {name} {word}, but {source} says {value}: they cannot be merged")


def _each(job: Job, name: str, count: int, default: Any) -> list[Any]:
    """An option's values, one a kernel: given once, it is for all of them."""
    values = list(job.context.params[name] or [default])
    if len(values) == 1 and name != "bias":
        return values * count
    if len(values) == count or values == [default]:
        return values * (count // len(values))
    option = f"--{name.replace('_', '-')}"
    once = "once for each, 'none' for one without" if name == "bias" else "once for all, or once for each"
    times = "once" if len(values) == 1 else f"{len(values)} times"
    raise SettingError(f"{option} is given {times} for {count} kernels: give it {once}")


def _parsed(name: str, value: Any) -> Any:
    return PARSERS[name](value) if name in PARSERS else value
