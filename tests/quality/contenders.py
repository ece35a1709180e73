"""Who takes part: convtool's methods, found by their files, and the baselines. Each gets the data and the kernel alone.

A contender is written `name` or `name:key=value,key=value`. Of convtool's methods, keys are parameters of `deconvolve`
(boundary, effort, saturation) or options of the method; of a baseline, `weight` alone.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convtool import deconvolution, registry

from .baselines import BASELINES, Baseline
from .case import Case

# They invert what noise has spoilt: to be had by name, since a table of their losses says nothing.
EXACT = ("pinv", "least-squares")
WEIGHT = "weight"


@dataclass(frozen=True, eq=False)
class Answer:
    """An estimate in the data's units and shape, the weight it was made with (None without one), and what was said."""

    x: np.ndarray = field(repr=False)
    weight: float | None
    notes: tuple[str, ...] = ()


def default_names() -> list[str]:
    """The baselines, then convtool's methods for noisy data."""
    return [*BASELINES, *(name for name in deconvolution.methods.names() if name not in EXACT)]


def check(name: str) -> None:
    """Raises ValueError for a contender that does not exist or has no such key."""
    base, settings = parsed(name)
    if base in BASELINES:
        if set(settings) - {WEIGHT}:
            raise ValueError(f"{name}: a baseline has no setting but {WEIGHT}")
    else:
        convtool_settings(base, settings)


def parsed(name: str) -> tuple[str, dict[str, str]]:
    """("tv", {"weight": "0.1"}) of "tv:weight=0.1"."""
    base, _, rest = name.partition(":")
    return base, registry.assignments(rest.split(",") if rest else [], name)


def convtool_settings(base: str, settings: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """The method's Options and the keywords for `deconvolve`."""
    known = inspect.signature(deconvolution.deconvolve).parameters
    keywords = {key: float(text) if key == "saturation" else text for key, text in settings.items() if key in known}
    options = {key: text for key, text in settings.items() if key not in known}
    return deconvolution.methods.options(base, options), keywords


def has_weight(name: str) -> bool:
    """Whether the contender has a weight that was left to it."""
    base, settings = parsed(name)
    if WEIGHT in settings:
        return False
    if base in BASELINES:
        return BASELINES[base].usual is not None
    return any(name == WEIGHT for name, *_ in registry.fields(deconvolution.methods.load(base).Options))


def answer(name: str, case: Case, weight: float | None = None) -> Answer:
    """What a contender makes of a case, with a weight of its own choice or the one given."""
    base, settings = parsed(name)
    if weight is not None:
        settings = settings | {WEIGHT: repr(weight)}
    if base in BASELINES:
        return _baseline(BASELINES[base], case, settings)
    options, keywords = convtool_settings(base, settings)
    solution = deconvolution.deconvolve(case.data, case.kernel, method=options, axes=case.axes, **keywords)
    chosen = solution.metrics.get(WEIGHT)
    return Answer(solution.x, float(chosen) if isinstance(chosen, int | float) else None, solution.notes)


def _baseline(baseline: Baseline, case: Case, settings: dict[str, str]) -> Answer:
    """In 0..255 units, channel by channel."""
    unit = 255 / (255 if case.peak == 255 else float(case.data.max()))
    usual = baseline.usual(case.noise * unit) if baseline.usual else None
    weight = float(settings[WEIGHT]) if WEIGHT in settings else usual

    def restored(y: np.ndarray) -> np.ndarray:
        return baseline.restore(y * unit, case.kernel, weight or 0.0) / unit

    data = case.data.astype(np.float64)
    if case.axes.endswith("C"):
        return Answer(np.stack([restored(data[..., c]) for c in range(data.shape[-1])], axis=-1), weight)
    return Answer(restored(data), weight)
