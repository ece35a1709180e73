"""Steps from texts: those of a chain, `correlate:k.npy,stride=2 maxpool:2 edges:sobel`, and functions.

A step is OPERATION[:MAIN][,NAME=VALUE...]: MAIN is the kernel of convolve, correlate and deconvolve, the window of
maxpool, the operator of edges. A piece without `=` belongs to the value before it, as in stride=2,1. Quotes keep a file
name with spaces together.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convtool import kernels
from convtool.cli import reading, sidecar
from convtool.cli.options import PARSERS, numbers
from convtool.deconvolution import methods
from convtool.equivariance import Convolve, Deconvolve, Edges, Function, Pool
from convtool.equivariance.inversion import DEFAULT_METHOD
from convtool.errors import DataError, FileError, SettingError, listed
from convtool.merging.layers import Layer
from convtool.registry import assignments, fields

if TYPE_CHECKING:
    import numpy as np

    from convtool.cli.job import Job
    from convtool.equivariance.steps import Step

_SETTING = re.compile(r"[A-Za-z][\w-]*=")
_KERNELS = ("convolve", "correlate", "deconvolve")
_LAYER = {"stride": "1", "padding": "same", "dilation": "1", "origin": "center", "groups": "1", "kernel_axes": ""}
_POOL = {"stride": "1", "padding": "0", "dilation": "1", "boundary": "lowest", "ceil_mode": "no", "op": "max"}


@dataclass(frozen=True)
class Words:
    """A step as it was written."""

    operation: str
    main: str
    settings: dict[str, str]

    @property
    def kernel(self) -> str | None:
        """The kernel that it names, if it needs one."""
        return self.main if self.operation in _KERNELS and self.main else None


def read(text: str) -> list[Words]:
    """The steps of a chain's text; raises SettingError where it cannot be understood."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingError(f"--chain cannot be read, {str(error).lower()}: {text}") from error
    if not words:
        raise SettingError("--chain is empty: give steps such as 'correlate:k.npy,stride=2 maxpool:2'")
    return [_words(word) for word in words]


def _words(word: str) -> Words:
    operation, _, rest = word.partition(":")
    pieces: list[str] = []
    for piece in rest.split(",") if rest else []:
        if _SETTING.match(piece) or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += f",{piece}"
    main = pieces.pop(0) if pieces and not _SETTING.match(pieces[0]) else ""
    return Words(operation, main, assignments(pieces, f"step {word}"))


def build(job: Job, words: Words) -> Step:
    """A step; raises SettingError for an unknown operation or setting."""
    if words.operation not in _BUILDERS:
        raise SettingError(f"unknown operation '{words.operation}': use {listed(_BUILDERS)}")
    return _BUILDERS[words.operation](job, words.operation, words.main, dict(words.settings))


def function(name: str, settings: dict[str, str], border: int | None) -> Function:
    """The function MODULE:NAME as a step; what it raises becomes one line, what it prints is no result."""
    _check_names("a function", settings, {"stride"})
    stride = numbers(settings["stride"], "stride") if "stride" in settings else None
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise SettingError(f"--function must be MODULE:NAME, got '{name}'")
    sys.path.insert(0, "")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise FileError(f"cannot import {module} (for --function {name}): {type(error).__name__}: {error}") from error
    called = getattr(found, attribute, None)
    if not callable(called):
        raise SettingError(f"module {module} has no function '{attribute}'")
    return Function(_guarded(called, name), stride, border)


def _guarded(called: Callable[[Any], Any], name: str) -> Callable[[np.ndarray], Any]:
    def guarded(x: np.ndarray) -> Any:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return called(x)
        except (Exception, SystemExit) as error:
            raise DataError(
                f"{name} failed on an array of shape {x.shape}, {x.dtype}: {type(error).__name__}: {error}"
            ) from error

    return guarded


def _convolve(job: Job, operation: str, main: str, settings: dict[str, str]) -> Step:
    boundary = settings.pop("boundary", None)
    said = {"operation": operation} | ({} if boundary is None else {"boundary": boundary})
    layer, words = _layer(job, operation, main, settings, set(_LAYER), said)
    return Convolve(layer, operation, words.get("boundary", "periodic"))


def _deconvolve(job: Job, operation: str, main: str, settings: dict[str, str]) -> Step:
    said = {name: settings.pop(name) for name in sidecar.WORDS if name in settings}
    method = settings.pop("method", DEFAULT_METHOD)
    known = {name for name, *_ in fields(methods.load(method).Options)}
    options = {name: settings.pop(name) for name in list(settings) if name in known}
    layer, words = _layer(job, operation, main, settings, set(_LAYER), said)
    words = {"operation": "convolve", "boundary": "periodic"} | words
    return Deconvolve(layer, methods.options(method, options), **words)


def _layer(
    job: Job, operation: str, main: str, settings: dict[str, str], names: set[str], said: dict[str, str]
) -> tuple[Layer, dict[str, str]]:
    """The layer of a kernel and its settings; and what was said, here or in its sidecar, of operation and boundary."""
    if not main:
        raise SettingError(f"{operation} needs a kernel: {operation}:k.npy")
    if kernels.is_spec(main):  # what is no setting of the operation is one of the kernel's family
        extra = [f"{name}={settings.pop(name)}" for name in list(settings) if name not in names]
        main = f"{main}{',' if ':' in main else ':'}{','.join(extra)}" if extra else main
    _check_names(operation, settings, names | {"boundary"})
    taps = reading.read_kernel(job, main, normalize=False)
    given = {name: _value(name, settings.get(name, default)) for name, default in _LAYER.items()}
    given["kernel_axes"] = reading.kernel_axes(main, taps, given["kernel_axes"])
    found = sidecar.find(main)
    if found is None:
        return Layer(taps, **given), said
    for name, value in ({name: given[name] for name in settings} | said).items():
        sidecar.check(found, taps, name, value)
    given |= {name: value for name, value in found.settings.items() if name in given}
    words = {name: found.settings[name] for name in sidecar.WORDS if name in found.settings}
    return Layer(taps, bias=found.bias, **given), words | said


def _pool(job: Job, operation: str, main: str, settings: dict[str, str]) -> Step:
    window = main or settings.pop("window", "")
    if not window:
        raise SettingError("maxpool needs a window: maxpool:2")
    _check_names(operation, settings, set(_POOL))
    text = _POOL | settings
    return Pool(
        numbers(window, "window"),
        stride=text["stride"] if text["stride"] == "window" else numbers(text["stride"], "stride"),
        padding=PARSERS["padding"](text["padding"]),
        boundary=text["boundary"],
        dilation=numbers(text["dilation"], "dilation"),
        ceil_mode=_truth(text["ceil_mode"]),
        op=text["op"],
    )


def _truth(text: str) -> bool:
    if text.lower() not in ("yes", "no", "true", "false"):
        raise SettingError(f"ceil_mode must be yes or no, got '{text}'")
    return text.lower() in ("yes", "true")


def _edges(job: Job, operation: str, main: str, settings: dict[str, str]) -> Step:
    operator = main or settings.pop("operator", "central")
    _check_names(operation, settings, {"boundary"})
    return Edges(operator, settings.get("boundary", "reflect"))


def _check_names(operation: str, settings: dict[str, str], names: set[str]) -> None:
    for name in settings:
        if name not in names:
            raise SettingError(f"{operation} has no setting '{name}': it has {listed(sorted(names))}")


def _value(name: str, text: str) -> Any:
    if name == "groups":
        return numbers(text, "groups")
    if name == "kernel_axes":
        return text or None
    return PARSERS[name](text)


_BUILDERS: dict[str, Callable[[Any, str, str, dict[str, str]], Any]] = {
    "convolve": _convolve,
    "correlate": _convolve,
    "maxpool": _pool,
    "edges": _edges,
    "deconvolve": _deconvolve,
}
