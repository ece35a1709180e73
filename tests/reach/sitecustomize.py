"""Runs at the start of every Python process of `make coverage`, which puts this folder on PYTHONPATH.

Modules of convtool are then loaded as `reached.py` has compiled them: each statement sets a byte, its own, in a file
that all processes share as memory. So nothing is saved at a process's end, and one that is killed has told as well.
"""

import builtins
import marshal
import mmap
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType

FOLDER = os.environ.get("REACHED", "")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


class Marking(SourceFileLoader):
    """Loads a module's compiled code from the folder."""

    def get_code(self, fullname: str) -> CodeType:
        with open(os.path.join(FOLDER, f"{fullname}.code"), "rb") as stream:
            return marshal.load(stream)


class Finder:
    """Finds the package where it is found anyway; copies of it elsewhere, which some tests make, are left alone."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "convtool":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and os.path.realpath(spec.origin or "").startswith(os.path.join(ROOT, "convtool", "")):
            spec.loader = Marking(name, spec.origin or "")
        return spec


if FOLDER:
    with open(os.path.join(FOLDER, "marks"), "r+b") as marks:
        builtins.__reached__ = mmap.mmap(marks.fileno(), 0)
    sys.meta_path.insert(0, Finder)
