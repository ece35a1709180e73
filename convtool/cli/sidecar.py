"""Sidecars: `K.npy.json` beside a kernel `K.npy` says with which settings the kernel is to be used.

    convtool_kernel    version of this format
    sha256             of the .npy file, so that a kernel that was replaced is noticed
    operation, boundary, kernel_axes, stride, padding, dilation, origin, groups, bias      as in `convtool.convolve`
    exact, image_shape, merged    of a merge: whether, and for images of which size, it does what its chain did

Every command that takes a kernel takes what is written there for its settings' defaults. An option on the command line
that says something else is an error: the kernel would no longer do what it was made for.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from convtool import files, images
from convtool.errors import ConvtoolError, DataError, FileError, SettingError
from convtool.merging.layers import Layer, stages

if TYPE_CHECKING:
    from convtool.cli.job import Job

_FORMAT = 1
_KEY = "convtool_kernel"
WORDS = ("operation", "boundary")
_SETTINGS = ("kernel_axes", "stride", "padding", "dilation", "origin", "groups")


@dataclass(frozen=True, eq=False)
class Sidecar:
    """The settings in a sidecar, those of `WORDS` and `_SETTINGS` that it has, the bias, and what to keep in mind."""

    name: str
    kernel: str
    settings: dict[str, Any]
    bias: np.ndarray | None
    caveat: str = ""


def name_of(kernel: str) -> str:
    """The sidecar's file name."""
    return f"{kernel}.json"


def beside(output: str) -> str | None:
    """The sidecar of a kernel to be written; None beside standard output, a pipe or a device."""
    is_file = not os.path.lexists(output) or os.path.isfile(output) or os.path.isdir(output)
    return name_of(output) if is_file and output not in files.STDOUT_NAMES else None


def existing(kernels: Sequence[str]) -> list[str]:
    """The sidecars that lie beside these kernels: inputs as they are."""
    return [name_of(kernel) for kernel in kernels if kernel != files.STDIO and os.path.isfile(name_of(kernel))]


def write(
    staging: files.Staging, target: str, layer: Layer, words: dict[str, str], more: dict[str, Any] | None = None
) -> bool:
    """Stage a layer's kernel as `target`, and its settings beside it; whether there was a place for them."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, layer.kernel, allow_pickle=False)
    staging.open(target).write(stream.getvalue())
    name = beside(target)
    if name is None:
        return False
    bias = None if layer.bias is None else np.asarray(layer.bias).tolist()
    content = {_KEY: _FORMAT, "sha256": _hash(stream.getvalue()), **words}
    content |= {name: getattr(layer, name) for name in _SETTINGS}
    text = json.dumps({**content, "bias": bias, **(more or {})}, indent=2)
    staging.open(name).write(f"{text}\n".encode())
    return True


def find(kernel: str) -> Sidecar | None:
    """The sidecar of a kernel file, checked; None where there is none.

    Raises FileError for one that cannot be read or holds what is no setting, DataError where the kernel is no longer
    the one it describes.
    """
    name = name_of(kernel)
    if kernel == files.STDIO or not os.path.isfile(kernel) or not os.path.isfile(name):
        return None
    content = _content(name, kernel)
    if not isinstance(content, dict) or _KEY not in content:
        return None  # somebody else's file
    if content[_KEY] != _FORMAT:
        raise FileError(f"{name} has format {content[_KEY]}, expected {_FORMAT}: use the convtool that wrote it")
    if content.get("sha256") != _hash(files.read_bytes(kernel)):
        raise DataError(
            f"{kernel} is not the kernel that {name} describes (its hash differs): merge again, or remove {name}"
        )
    settings = {key: _tuples(content[key]) for key in (*WORDS, *_SETTINGS) if content.get(key) is not None}
    found = Sidecar(name, kernel, settings, _bias(content.get("bias"), name, kernel), _caveat(content))
    _check_settings(found)
    return found


def _content(name: str, kernel: str) -> Any:
    try:
        return json.loads(files.read_bytes(name))
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"cannot read {name}, the settings of {kernel}: it is no JSON, or damaged: remove it, or merge again"
        ) from error


def _bias(values: Any, name: str, kernel: str) -> np.ndarray | None:
    if values is None:
        return None
    try:
        found = np.array(values)
    except ValueError:  # lists of different lengths
        found = np.array("")
    if found.dtype.kind not in "iuf" or found.ndim != 1:
        raise FileError(_damaged(name, kernel, f"the bias must be a list of numbers, got {_short(values)}"))
    return found.astype(np.float64)


def _check_settings(found: Sidecar) -> None:
    """Raises FileError where the settings are none, or do not fit the kernel."""
    taps, _ = images.read_kernel(found.kernel, plain=True)
    try:
        stages([_layer(found, taps)], **_words(found))
    except ConvtoolError as error:
        raise FileError(_damaged(found.name, found.kernel, str(error))) from error


def _damaged(name: str, kernel: str, why: str) -> str:
    return f"cannot use {name}, the settings of {kernel}: {why}; merge again, or remove {name}"


def _layer(found: Sidecar, taps: np.ndarray) -> Layer:
    settings = {key: value for key, value in found.settings.items() if key in _SETTINGS}
    return Layer(taps, bias=found.bias, **settings)


def _words(found: Sidecar) -> dict[str, Any]:
    defaults = {"operation": "convolve", "boundary": "periodic"}
    return {name: found.settings.get(name, default) for name, default in defaults.items()}


def _caveat(content: dict[str, Any]) -> str:
    """What a merge does not promise, for the note that its settings were taken."""
    if content.get("exact") is False:
        return "; at the border it does not do what its chain did"
    shape = content.get("image_shape")
    if isinstance(shape, list) and shape:
        return f"; it is known to do what its chain did on images of {'x'.join(map(str, shape))} alone"
    return ""


def applied(
    job: Job, kernel: str, taps: np.ndarray, settings: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray | None]:
    """A command's settings with those of the kernel's sidecar, if it has one, in their place; and the bias there."""
    found = find(kernel)
    if found is None:
        return settings, None
    if job.chosen("normalize"):
        raise SettingError(f"--normalize would change the kernel that {found.name} describes: leave it out")
    return honoured(job, found, taps, settings, job.chosen("bias")), found.bias


def left_aside(job: Job, kernel: str) -> None:
    """Say that the kernel's sidecar, if it has one, is not for this command, which takes the taps as they are."""
    found = find(kernel)
    if found is not None:
        job.report.notes.append(
            f"{found.name} says how to {_words(found)['operation']} with {kernel}: nothing of it was taken here"
        )


def honoured(job: Job, found: Sidecar, taps: np.ndarray, settings: dict[str, Any], has_bias: bool) -> dict[str, Any]:
    """Settings with those of a sidecar in their place.

    Raises SettingError where the user, or the command by its name, says something else.
    """
    if has_bias:
        raise SettingError(f"--bias would change the layer that {found.name} describes: leave it out")
    known = {name: value for name, value in found.settings.items() if name in settings}
    for name in known:
        if (name == "operation" and "operation" not in job.context.params) or job.chosen(name):
            check(found, taps, name, settings[name])
    job.report.notes.append(f"the settings of kernel {found.kernel} were taken from {found.name}{found.caveat}")
    return {**settings, **known}


def check(found: Sidecar, taps: np.ndarray, name: str, value: Any) -> None:
    """Raises SettingError unless a setting's value means what the sidecar says, if it says something."""
    if name not in found.settings:
        return
    mine = found.settings[name]
    if value == mine or (name in _SETTINGS and _means(found, taps, name, value) == _means(found, taps, name, mine)):
        return
    if name == "operation":
        raise SettingError(f"kernel {found.kernel} was made for {mine} ({found.name}), not for {value}: use {mine}")
    raise SettingError(
        f"--{name.replace('_', '-')} {_spelled(value)} contradicts {found.name}, which says {_spelled(mine)}: leave the"
        f" option out, or remove {found.name}"
    )


def _means(found: Sidecar, taps: np.ndarray, name: str, value: Any) -> Any:
    """What a value comes to for this kernel."""
    if name == "kernel_axes":
        return str(value).upper()
    try:
        (stage,) = stages([replace(_layer(found, taps), **{name: value})], **_words(found))
    except ConvtoolError as error:
        return str(error)
    return stage.kernel.origin if name == "origin" else getattr(stage, name)


def _spelled(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(":".join(map(str, item)) if isinstance(item, tuple | list) else str(item) for item in value)
    return str(value)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
