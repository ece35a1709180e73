"""The options for many inputs at once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

NAMES = {"recursive", "files_from", "null", "output_dir", "output_name", "skip_existing", "on_error", "jobs"}
NAMES |= {"memory_limit", "as_json"}  # of the parameters: how a batch is worked through, not what is computed
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Of a folder, take what lies in its folders too.")]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        "--files-from",
        metavar="LIST",
        help="File of image names, one a line; - for standard input.",
        show_default=False,
    ),
]
Null = Annotated[bool, typer.Option("-0", "--null", help="Names in lists end with NUL, as find -print0 writes them.")]
OutputDir = Annotated[
    str | None,
    typer.Option(
        "--output-dir",
        metavar="DIR",
        help="Folder for the results, made if needed; a folder's tree is mirrored.",
        show_default=False,
    ),
]
OutputName = Annotated[
    str | None,
    typer.Option(
        "--output-name",
        metavar="TEMPLATE",
        help="Name of each result, of {stem}, {ext}, {suffix}, {command}, {parent}."
        " Default: {stem}{suffix} in an --output-dir, else as for one image.",
        show_default=False,
    ),
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave results be that these settings and inputs have made before.")
]
OnError = Annotated[
    Literal["continue", "stop"], typer.Option("--on-error", help="Whether one image's failure ends the batch.")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "-j", "--jobs", min=1, metavar="N", help="Images in hand at a time. Default: as --threads.", show_default=False
    ),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        "--memory-limit",
        metavar="BYTES",
        help="What the images in hand may take together, such as 8G. Default: 75% of what is free.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each image, and one for all.")]
