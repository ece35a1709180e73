"""Sidecars: `K.npy.json` beside a kernel `K.npy` says with which settings the kernel is to be used.

    convtool_kernel    version of this format
    sha256             of the .npy file, so that a kernel that was replaced is noticed
    operation, boundary, kernel_axes, stride, padding, dilation, origin, groups, bias      as in `convtool.convolve`
    exact, merged    of a merge: whether it does what its chain did (null: unknown), and the chain
    image_shape, least_image_shape    where that holds for images of this size alone, or from this size on

A kernel that is a link to another file has the sidecar beside the link, or else the one beside that file.

Every command that takes a kernel takes what is written there for its settings' defaults. An option on the command line
that says something else is an error: the kernel would no longer do what it was made for.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from convtool import digests, files, images
from convtool.cli import reading
from convtool.cli.promises import Promise, read_promise
from convtool.errors import ConvtoolError, DataError, FileError, SettingError
from convtool.geometry import written
from convtool.observation import AUTO, UNKNOWN
from convtool.operators import OPERATIONS

if TYPE_CHECKING:
    from convtool.cli.job import Job
    from convtool.merging.layers import Layer, Stage

_FORMAT = 1
_KEY = "convtool_kernel"
WORDS = ("operation", "boundary")
_SETTINGS = ("kernel_axes", "stride", "padding", "dilation", "origin", "groups")


@dataclass(frozen=True, eq=False)
class Sidecar:
    """The settings in a sidecar, those of `WORDS` and `_SETTINGS` that it has, the bias, and what a merge promises."""

    name: str
    kernel: str
    settings: dict[str, Any]
    bias: np.ndarray | None
    promise: Promise


def name_of(kernel: str) -> str:
    """The sidecar's file name."""
    return f"{kernel}.json"


def beside(output: str) -> str | None:
    """The sidecar of a kernel to be written; None beside standard output, a pipe or a device."""
    is_file = not os.path.lexists(output) or os.path.isfile(output) or os.path.isdir(output)
    return name_of(output) if is_file and output not in files.STDOUT_NAMES else None


def existing(kernels: Sequence[str]) -> list[str]:
    """The sidecars that lie beside these kernels: inputs as they are."""
    return [name for name in map(_beside, kernels) if name is not None]


def _beside(kernel: str) -> str | None:
    """The sidecar that lies beside a kernel, or beside the file that it is a link to."""
    if kernel == files.STDIO or not os.path.isfile(kernel):
        return None
    return next((name for name in map(name_of, (kernel, os.path.realpath(kernel))) if os.path.isfile(name)), None)


def write(
    staging: files.Staging, target: str, layer: Layer, words: dict[str, str], more: dict[str, Any] | None = None
) -> bool:
    """Stage a layer's kernel as `target`, and its settings beside it; whether there was a place for them.

    Raises FileError where somebody else's file is in that place.
    """
    stream = io.BytesIO()
    np.lib.format.write_array(stream, layer.kernel, allow_pickle=False)
    staging.open(target).write(stream.getvalue())
    name = beside(target)
    if name is None:
        return False
    _check_ours(name)
    bias = None if layer.bias is None else np.asarray(layer.bias).tolist()
    content = {_KEY: _FORMAT, "sha256": digests.of_bytes(stream.getvalue()), **words}
    content |= {name: getattr(layer, name) for name in _SETTINGS}
    text = json.dumps({**content, "bias": bias, **(more or {})}, indent=2)
    staging.open(name).write(f"{text}\n".encode())
    return True


def _check_ours(name: str) -> None:
    """Raises FileError for a file that is no sidecar: replacing a kernel must not cost the user anything else."""
    if not os.path.isfile(name):
        return
    try:
        content = json.loads(files.read_bytes(name))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or _KEY not in content:
        raise FileError(
            f"cannot write {name}: it exists and does not hold a kernel's settings: choose another -o, or move it away"
        )


def find(kernel: str) -> Sidecar | None:
    """The sidecar of a kernel file, checked; None where there is none.

    Raises FileError for one that cannot be read or holds what is no setting, DataError where the kernel is no longer
    the one it describes.
    """
    name = _beside(kernel)
    if name is None:
        return None
    content = _content(name, kernel)
    if not isinstance(content, dict) or _KEY not in content:
        return None  # somebody else's file
    if content[_KEY] != _FORMAT:
        raise FileError(f"{name} has format {content[_KEY]}, expected {_FORMAT}: use the convtool that wrote it")
    if content.get("sha256") != digests.of_bytes(files.read_bytes(kernel)):
        raise DataError(
            f"{kernel} is not the kernel that {name} describes (its hash differs): merge again, or remove {name}"
        )
    settings = {key: _tuples(content[key]) for key in (*WORDS, *_SETTINGS) if content.get(key) is not None}
    for word in WORDS:
        if not isinstance(settings.get(word, ""), str):
            raise FileError(_damaged(name, kernel, f"the {word} must be a word, got {_short(content[word])}"))
    found = Sidecar(name, kernel, settings, _bias(content.get("bias"), name, kernel), Promise())
    rank = _rank(found)
    try:
        return replace(found, promise=read_promise(content, rank))
    except SettingError as error:
        raise FileError(_damaged(name, kernel, str(error))) from error


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


def _rank(found: Sidecar) -> int:
    """How many axes the kernel acts along; raises FileError where the settings are none, or do not fit the kernel."""
    taps, _ = images.read_kernel(found.kernel, plain=True)
    try:
        stage = _stage(found, taps)
    except ConvtoolError as error:
        raise FileError(_damaged(found.name, found.kernel, str(error))) from error
    return len(stage.spatial)


def _damaged(name: str, kernel: str, why: str) -> str:
    return f"cannot use {name}, the settings of {kernel}: {why}; merge again, or remove {name}"


def _stage(found: Sidecar, taps: np.ndarray, others: dict[str, Any] | None = None) -> Stage:
    """The layer that a kernel is with a sidecar's settings, and others in their place; raises ConvtoolError."""
    from convtool.merging.layers import Layer, stages  # few kernels have a sidecar

    settings = {key: value for key, value in found.settings.items() if key in _SETTINGS} | (others or {})
    (stage,) = stages([Layer(taps, bias=found.bias, **settings)], **_words(found))
    return stage


def _words(found: Sidecar) -> dict[str, Any]:
    defaults = {"operation": "convolve", "boundary": "periodic"}
    return {name: found.settings.get(name, default) for name, default in defaults.items()}


def applied(
    job: Job, kernel: str, taps: np.ndarray, settings: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray | None]:
    """A command's settings with those of the kernel's sidecar, if it has one, in their place; and the bias there."""
    found = job.kept.common(("sidecar", kernel), lambda: find(kernel))
    if found is None:
        return settings | {"kernel_axes": reading.kernel_axes(kernel, taps, settings["kernel_axes"])}, None
    with job.kept.for_all():
        if job.chosen("normalize"):
            raise SettingError(f"--normalize would change the kernel that {found.name} describes: leave it out")
        return honoured(job, found, taps, settings, job.chosen("bias")), found.bias


def left_aside(job: Job, kernel: str) -> None:
    """Say that the kernel's sidecar, if it has one, is not for this command, which takes the taps as they are."""
    found = job.kept.common(("sidecar", kernel), lambda: find(kernel))
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
    if job.chosen("boundary") and settings.get("boundary") in (AUTO, UNKNOWN):
        known.pop("boundary", None)  # of a scene that was photographed; the kernel's is for what it is applied to
    job.from_kernel |= set(known)
    for name in known:
        if (name == "operation" and not hasattr(job.asked, "operation")) or job.chosen(name):
            check(found, taps, name, settings[name])
    caveat = found.promise.caveat(_grid(job, found, taps))
    more = f"; {caveat}" if caveat else ""
    job.report.notes.append(f"the settings of kernel {found.kernel} were taken from {found.name}{more}")
    return {**settings, **known}


def _grid(job: Job, found: Sidecar, taps: np.ndarray) -> tuple[int, ...] | None:
    """The lengths of the image that the kernel is about to be applied to, where that is known."""
    image = job.report.input
    if job.report.command not in OPERATIONS or not image:
        return None
    stage = _stage(found, taps)
    if not set(stage.spatial) <= set(image["axes"]):
        return None
    return tuple(image["shape"][image["axes"].index(letter)] for letter in stage.spatial)


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
        f"--{name.replace('_', '-')} {written(value)} contradicts {found.name}, which says {written(mine)}: leave the"
        f" option out, or remove {found.name}"
    )


def _means(found: Sidecar, taps: np.ndarray, name: str, value: Any) -> Any:
    """What a value comes to for this kernel."""
    if name == "kernel_axes":
        return str(value).upper()
    try:
        stage = _stage(found, taps, {name: value})
    except ConvtoolError as error:
        return str(error)
    return stage.kernel.origin if name == "origin" else getattr(stage, name)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
