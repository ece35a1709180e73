"""The command line that does again, explicitly, what a run chose by itself."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from convtool.cli import batch_options

if TYPE_CHECKING:
    from convtool.cli.job import Job

_ANEW = {"method", "boundary", "set_", "report", "quiet", "verbose", "no_clobber", "reference", "peak"}
_ANEW |= batch_options.NAMES


def command_line(job: Job, boundary: str, chosen: dict[str, Any]) -> str:
    """`convtool deconvolve ...` with what was given, and the method, its options and the boundary that were chosen.

    Of an image of a batch it is the command for that one, with its result's name.
    """
    words = ["convtool", str(job.context.info_name)]
    for parameter in job.context.command.params:
        if parameter.name not in _ANEW and job.chosen(str(parameter.name)):
            words += _spelled(parameter, getattr(job.asked, str(parameter.name)))
    if job.kept.is_batch and not job.chosen("output"):
        words += ["--output", str(job.asked.output)]
    words += ["--method", chosen["method"], "--boundary", boundary]
    for name, value in chosen["options"].items():
        words += ["--set", f"{name}={_value(value)}"]
    return shlex.join(words)


def _spelled(parameter: Any, value: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        return [str(value)]
    return [parameter.opts[-1]] if value is True else [parameter.opts[-1], str(value)]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value) if isinstance(value, float) else str(value)
