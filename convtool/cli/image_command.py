"""What the commands share that make an image of an image: their options, and that they take many inputs.

Such a command is a function that checks what it was given and returns the work to be done for one image:

    @image_command("pooled", reads=("kernel",), writes=("indices",))
    def run(context: typer.Context, kernel: options.KernelOption, ...) -> Work:
        settings = ...                                   # what is wrong is said before anything is imported or read
        return functools.partial(_work, settings)        # _work(settings, job) reads, computes and writes

The options below come before and after its own. Work finds everything that was given in `job.asked`, where the names of
the image and of the results are those of the one image in hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from convtool.cli import batch_options, options
from convtool.process import MAX_PIXELS

if TYPE_CHECKING:
    from convtool.cli.job import Job

Work = Callable[["Job"], None]


def _first(image: options.ImagesArgument = None, output: options.OutputOption = None) -> None:
    """The options that come before a command's own."""


def _last(
    max_pixels: options.MaxPixelsOption = MAX_PIXELS,
    dtype: options.DtypeOption = None,
    scale: options.ScaleOption = None,
    format: options.FormatOption = None,
    no_clobber: options.ClobberOption = False,
    reproducible: options.ReproducibleOption = False,
    report: options.ReportOption = None,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
    recursive: batch_options.Recursive = False,
    files_from: batch_options.FilesFrom = None,
    null: batch_options.Null = False,
    output_dir: batch_options.OutputDir = None,
    output_name: batch_options.OutputName = None,
    skip_existing: batch_options.SkipExisting = False,
    on_error: batch_options.OnError = "continue",
    jobs: batch_options.Jobs = None,
    memory_limit: batch_options.MemoryLimit = None,
    as_json: batch_options.Json = False,
) -> None:
    """The options that come after a command's own."""


def image_command(
    word: str, reads: tuple[str, ...] = (), writes: tuple[str, ...] = ()
) -> Callable[[Callable[..., Work]], Callable[..., None]]:
    """A command for one image or many, whose result is `word`; `reads` and `writes` are its options for more files."""

    def decorate(begin: Callable[..., Work]) -> Callable[..., None]:
        own = inspect.signature(begin, eval_str=True).parameters

        def run(context: typer.Context, **given: Any) -> None:
            from convtool.cli import batches

            work = begin(context, **{name: value for name, value in given.items() if name in own})
            batches.run(context, work, word, reads, writes)

        first, last = (inspect.signature(shared, eval_str=True).parameters.values() for shared in (_first, _last))
        context, *rest = (parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own.values())
        every = [context, *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in first), *rest]
        every += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in last]
        run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in every}
        run.__doc__ = begin.__doc__
        return run

    return decorate
