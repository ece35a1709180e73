"""The shape of the package: who may import whom, what stays small, and that one file adds one entry.

Imports are read from the source with `ast`, those inside functions too; those under TYPE_CHECKING never run, and do not
count.
"""

from __future__ import annotations

import ast
import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command import PROGRAM, environment

import convtool

ROOT = Path(convtool.__file__).parent
ABOVE = (
    "images",
    "report",
    "cli",
    "files",
    "digests",
    "temporaries",
    "wisdom",
    "memory",
)  # what knows users, files, codecs and the machine
FOUNDATION = (
    *("errors", "axes", "kernel", "boundary", "geometry", "process", "costs", "libraries", "fft", "blas"),
    *("scratch", "products", "opencv", "direct", "separable", "blocks", "passes", "spectral", "engines", "choice"),
    *("entries", "operators"),
)
FFT_LIBRARIES = ("pyfftw", "numpy.fft", "scipy.fft", "scipy.fftpack")
CODECS = ("imageio", "tifffile", "PIL", "astropy", "imagecodecs")
SLOW = ("numpy", "scipy", "pyfftw", *CODECS, "rich")
FUNCTION_LINES, COMMAND_LINES, MODULE_LINES = 50, 70, 300

# (module, function, what): the CPUs that a container grants are known to a file alone.
OPENS = {("convtool.process", "_quota", "open")}


@functools.cache
def sources() -> dict[str, Path]:
    """The file of each module, by its dotted name."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@functools.cache
def tree(module: str) -> ast.Module:
    """The module's syntax, without what stands under TYPE_CHECKING."""
    return Runtime().visit(ast.parse(sources()[module].read_text(encoding="utf-8")))


class Runtime(ast.NodeTransformer):
    """Leaves of `if TYPE_CHECKING` what runs: its else branch."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def targets(node: ast.AST, module: str) -> Iterator[str]:
    """What a statement or a call imports, in full."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = sources()[module].name == "__init__.py"
        above = module.split(".")[: len(module.split(".")) - node.level + package] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner in sources() or not base.startswith("convtool") else base
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        yield from (str(value.value) for value in node.args[:1] if isinstance(value, ast.Constant))


def imports(module: str) -> set[str]:
    """Everything the module imports, at its top or in a function; of packages outside, also `module.name`."""
    return {target for node in ast.walk(tree(module)) for target in targets(node, module)}


def at_import(module: str) -> set[str]:
    """The modules of convtool that importing this one runs first, but for the packages it lies in."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree(module).body)
    while waiting:
        node = waiting.pop()
        found |= {target for target in targets(node, module) if target in sources()}
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    implied = {".".join(name.split(".")[:n]) for name in found for n in range(1, name.count(".") + 1)}
    return found | {name for name in implied if not module.startswith(f"{name}.") and name != module}


def room(module: str) -> str:
    """The first part of a name below convtool: its module or package there."""
    return [*module.split("."), ""][1]


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def numerics() -> list[str]:
    return [module for module in sources() if room(module) not in (*ABOVE, "", "__main__")]


def children(package: str) -> list[str]:
    """The public modules of a folder, not the packages in it."""
    names = [name for name in sources() if name.rpartition(".")[0] == package]
    return [name for name in names if sources()[name].name != "__init__.py" and not last(name).startswith("_")]


def last(module: str) -> str:
    return module.rpartition(".")[2]


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


# What the reader of the source finds ----------------------------------------------------------------------------------


def test_the_walk_sees_what_is_there() -> None:
    """The checks below are worth what this reading of the source is."""
    assert len(sources()) > 50
    assert {"convtool", "convtool.fft", "convtool.cli.commands.plan", "convtool.deconvolution.pinv"} <= set(sources())
    assert "convtool.deconvolution.solvers.single_use" in imports("convtool.deconvolution.pinv")  # in a function
    assert "convtool.operators" not in imports("convtool.deconvolution.pinv")  # for type checkers alone
    assert "pyfftw" in imports("convtool.fft")
    assert "convtool.fft" in imports("convtool.conditioning")  # `from convtool import fft`
    assert "convtool.deconvolution" in at_import("convtool.conditioning")  # the package of what it imports
    assert "convtool.cli.job" not in at_import("convtool.cli.commands.plan")
    assert "convtool.deconvolution.tikhonov" in children("convtool.deconvolution")
    assert {"convtool.operators", "convtool.kernels.box", "convtool.registry"} <= set(numerics())


# Who may know whom ----------------------------------------------------------------------------------------------------


def test_numerics_know_no_files_no_reports_and_no_command_line() -> None:
    above = (*(f"convtool.{name}" for name in ABOVE), "typer", "click", "rich", "argparse", "logging")
    assert not [(m, target) for m in numerics() for target in imports(m) if is_in(target, above)]


def test_the_foundation_stands_on_itself_alone() -> None:
    for name in FOUNDATION:
        inner = {room(target) for target in imports(f"convtool.{name}") if target.startswith("convtool.")}
        assert inner <= set(FOUNDATION), name


def test_images_reports_and_files_know_no_operators() -> None:
    """They serve the commands; what they need of the numerics is the names of axes, errors, free memory and threads."""
    for module in sources():
        if room(module) in ("images", "report", "files", "digests", "temporaries", "wisdom", "memory"):
            inner = {room(target) for target in imports(module) if target.startswith("convtool.")}
            assert inner <= {"images", "files", "digests", "temporaries", "memory", "axes", "errors", "process"}, module


def test_only_the_command_line_knows_the_command_line() -> None:
    outside = [module for module in sources() if room(module) not in ("cli", "__main__")]
    assert not [(m, target) for m in outside for target in imports(m) if is_in(target, ("convtool.cli",))]


@pytest.mark.parametrize("package", ["convtool.cli.commands", "convtool.deconvolution", "convtool.kernels"])
def test_entries_of_a_folder_never_import_each_other(package: str) -> None:
    entries = set(children(package))
    assert len(entries) >= 3
    assert not [(m, target) for m in sorted(entries) for target in sorted(imports(m) & entries)]


def test_one_module_imports_fft_libraries() -> None:
    for module in sources():
        attributes = {ast.unparse(node) for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
        named = any(name.startswith(("np.fft", "numpy.fft", "scipy.fft")) for name in attributes)
        found = named or any(is_in(target, FFT_LIBRARIES) for target in imports(module))
        assert found == (module == "convtool.fft"), module


def test_one_package_imports_codecs() -> None:
    found = {module for module in sources() if any(is_in(target, CODECS) for target in imports(module))}
    assert found
    assert {room(module) for module in found} == {"images"}


def test_numerics_never_print_and_never_open_a_file() -> None:
    calls = ("print", "open", "input", "exec", "eval")
    methods = (".open", ".read_text", ".read_bytes", ".write_text", ".write_bytes", ".tofile", ".fromfile", ".memmap")
    names = ("np.load", "np.save", "np.savez", "np.loadtxt", "np.savetxt", "sys.stdin", "sys.stdout", "sys.stderr")
    found = set()
    for module in numerics():
        for node in ast.walk(tree(module)):
            spelled = ast.unparse(node.func if isinstance(node, ast.Call) else node) if hasattr(node, "lineno") else ""
            is_call = isinstance(node, ast.Call) and (spelled in calls or spelled.endswith(methods))
            if is_call or spelled in names:
                found.add((module, around(node, module), spelled))
    assert found == OPENS


def around(node: ast.AST, module: str) -> str:
    """The innermost function that a node stands in; "" outside all."""
    holding = [function for function in functions(module) if node in ast.walk(function)]
    return min(holding, key=length).name if holding else ""


def test_imports_at_module_level_make_no_circle() -> None:
    edges = {module: at_import(module) for module in sources()}
    while leaves := [module for module, known in edges.items() if not known & set(edges)]:
        for leaf in leaves:
            del edges[leaf]
    assert not edges


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "shared"}
    assert not [module for module in sources() if last(module).strip("_") in drawers]


# What stays small, and says what it is --------------------------------------------------------------------------------


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring and the functions inside it."""
    assert node.end_lineno is not None
    inner = [child for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)]
    apart: list[ast.stmt] = [*inner, *(node.body[:1] if ast.get_docstring(node) is not None else [])]
    return lines(node) - sum(lines(child) for child in apart)


def lines(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_functions_are_short() -> None:
    sizes = {(module, node.name): length(node) for module in sources() for node in functions(module)}
    limits = {key: COMMAND_LINES if key[1] == "run" else FUNCTION_LINES for key in sizes}
    assert not {key: size for key, size in sizes.items() if size > limits[key]}
    ordered = sorted(sizes.values())
    assert ordered[len(ordered) // 2] <= 10
    assert ordered[9 * len(ordered) // 10] <= 25


def test_modules_are_short() -> None:
    sizes = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in sources().items()}
    assert not {module: size for module, size in sizes.items() if size > MODULE_LINES}


def test_modules_functions_and_classes_say_what_they_are() -> None:
    silent = [module for module in sources() if not ast.get_docstring(tree(module))]
    for module in sources():
        silent += [f"{module}.{name}" for name, node in public(tree(module)) if not ast.get_docstring(node)]
    assert "\n".join(silent) == ""


Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(node: ast.Module | ast.ClassDef) -> Iterator[tuple[str, Documented]]:
    """Public functions and classes, and the methods of classes that do not override documented ones of another."""
    for child in node.body:
        if isinstance(child, Documented) and not child.name.startswith("_"):
            yield child.name, child
            if isinstance(child, ast.ClassDef) and {ast.unparse(base) for base in child.bases} <= {"abc.ABC"}:
                yield from ((f"{child.name}.{name}", inner) for name, inner in public(child))


# What costs nothing until it is needed --------------------------------------------------------------------------------


def test_names_and_commands_load_without_numpy() -> None:
    modules = ["convtool", "convtool.cli", "convtool.cli.app", "convtool.deconvolution", "convtool.kernels"]
    modules += [*children("convtool.cli.commands"), *children("convtool.deconvolution"), *children("convtool.kernels")]
    code = f"import importlib, sys\nfor name in {modules}:\n    importlib.import_module(name)\n"
    code += f"    loaded = [slow for slow in {SLOW} if slow in sys.modules]\n    assert not loaded, (name, loaded)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


# One file, one entry --------------------------------------------------------------------------------------------------

METHOD = '''"""Hand the data back, halved.

Nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convtool.solution import Estimate, Stop

if TYPE_CHECKING:
    import numpy as np

    from convtool.observation import Observation


AUTO_BOUNDARY = "periodic"


@dataclass(frozen=True)
class Options:
    """Settings."""

    share: float = field(default=0.5, metadata={"help": "what is left of the data"})


def solve(observation: Observation, options: Options) -> Estimate:
    """A share of y."""
    return Estimate(options.share * observation.y, Stop.DIRECT)
'''

FAMILY = '''"""A row of ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """Settings."""

    taps: int = field(metadata={"help": "how many ones"})


def make(options: Options) -> np.ndarray:
    """The taps."""
    import numpy as np

    return np.ones((1, options.taps))
'''

COMMAND = '''"""`convtool say-hello`."""


def run() -> None:
    """Say hello."""
    print("hello")
'''


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package, in which three new files are the only difference."""
    folder = tmp_path_factory.mktemp("extended")
    package = folder / "convtool"
    shutil.copytree(ROOT, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "deconvolution/half_back.py").write_text(METHOD)
    (package / "kernels/row_of_ones.py").write_text(FAMILY)
    (package / "cli/commands/say_hello.py").write_text(COMMAND)
    return folder


def told(folder: Path, *arguments: str) -> str:
    """Standard output of the copy's command line, which must succeed."""
    env = environment(PYTHONPATH=str(folder))
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_method_is_known_to_the_command_line(extended: Path) -> None:
    words = told(extended, "deconvolve", "--help").split()
    text = " ".join(words)
    assert "half-back: Hand the data back, halved." in text
    assert "share=... what is left of the data; a number; default 0.5" in text
    assert "half-back" in text.partition("--method")[2].partition("]")[0]
    told(extended, "make-kernel", "random:size=5,seed=1", "-o", "y.npy", "-q")
    arguments = ["--method", "half-back", "--set", "share=0.25", "-o", "x.npy", "-q"]
    told(extended, "deconvolve", "y.npy", "-k", "box:size=3", *arguments)
    np.testing.assert_allclose(np.load(extended / "x.npy"), 0.25 * np.load(extended / "y.npy"))


def test_a_new_family_is_known_to_the_command_line(extended: Path) -> None:
    text = " ".join(told(extended, "make-kernel", "--help").split())
    assert "row-of-ones: A row of ones. taps=... how many ones; a whole number; required" in text
    told(extended, "make-kernel", "row-of-ones:taps=4", "-o", "k.npy", "-q")
    np.testing.assert_array_equal(np.load(extended / "k.npy"), np.ones((1, 4)))
    np.save(extended / "a.npy", np.eye(6))
    told(extended, "convolve", "a.npy", "-k", "row-of-ones:taps=6", "-o", "b.npy", "-q")
    np.testing.assert_allclose(np.load(extended / "b.npy"), 1.0)


def test_a_new_command_is_listed_and_runs(extended: Path) -> None:
    assert "say-hello" in told(extended, "--help")
    assert told(extended, "say-hello") == "hello\n"
