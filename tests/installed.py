"""Check a wheel as its users have it: `python -E tests/installed.py WHEEL`, in an environment that holds it alone.

By the standard library alone, since such an environment has what the wheel declares and nothing else. The commands run
in a folder outside the repository, so that only the installed package can be meant. The first check that fails ends it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import readme

# What convtool uses where it is there, and what a user is told who lacks it: by module, the extra and a command.
_DEEP = "convtool convolve sample_images/chelsea.png -k box --dtype uint16 -o deep.png"
OPTIONAL = {
    "astropy": ("fits", "convtool convolve sample_images/camera.png -k box -o y.fits"),
    "cv2": ("fast", "convtool convolve sample_images/camera.png -k box --engine opencv -o y.npy"),
    "imagecodecs": ("codecs", f"{_DEEP} && convtool convolve deep.png -k box"),
}


def main(wheel: Path) -> None:
    """Every check, and a line for each."""
    print(f"installed: {holds_the_package(wheel)}")
    print(f"installed: {modules_import()}")
    print(f"installed: {imports_are_declared()}")
    with tempfile.TemporaryDirectory() as folder:
        readme.clone(Path(folder))
        print(f"installed: {commands_answer(Path(folder))}")
        print(f"installed: {examples_run(Path(folder))}")
        print(f"installed: {extras_are_named(Path(folder))}")


def check(holds: bool, otherwise: str) -> None:
    """End the program with a message where something does not hold."""
    if not holds:
        sys.exit(f"installed: {otherwise}")


# The package ------------------------------------------------------------------------------------------------------


def holds_the_package(wheel: Path) -> str:
    """The wheel has the files of the package that git knows, no more and no fewer."""
    listed = subprocess.run(["git", "ls-files", "convtool"], cwd=readme.ROOT, check=True, stdout=subprocess.PIPE)
    known = set(listed.stdout.decode().splitlines())
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    check(held >= known, f"the wheel lacks {sorted(known - held)}")
    check(held <= known, f"the wheel holds what git does not know: {sorted(held - known)}")
    return f"the wheel holds the {len(known)} files of the package"


def modules_import() -> str:
    """Each module can be imported, and is the environment's own; none needs an extra for that."""
    present = [name for name in OPTIONAL if importlib.util.find_spec(name)]
    check(not present, f"the environment holds more than the wheel: {present}")
    package = importlib.import_module("convtool")
    check(Path(sys.prefix) in Path(str(package.__file__)).parents, f"convtool is {package.__file__}")
    names = [module.name for module in pkgutil.walk_packages(package.__path__, "convtool.")]
    for name in names:
        if name != "convtool.__main__":  # it runs the program
            importlib.import_module(name)
    return f"{len(names)} modules import without extras"


def imports_are_declared() -> str:
    """Whatever the source imports, also in functions that nothing here calls, is a declared dependency.

    A package that another dependency happens to bring does not count: that one may drop it.
    """
    declared = {_name(line) for line in importlib.metadata.requires("convtool") or [] if "extra ==" not in line}
    owners = importlib.metadata.packages_distributions()
    used = sorted(imported() - set(sys.stdlib_module_names) - {"convtool", *OPTIONAL})
    for module in used:
        owner = {_name(each) for each in owners.get(module, [module])}
        check(bool(declared & owner), f"{module} is imported, but pyproject.toml does not declare {' or '.join(owner)}")
    return f"declared is what the modules import: {', '.join(used)}"


def imported() -> set[str]:
    """The packages that the source imports anywhere."""
    found = set()
    for file in (readme.ROOT / "convtool").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found


def _name(requirement: str) -> str:
    """'pyFFTW>=0.14' is about pyfftw."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


# The commands -----------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """This environment's programs first, and nothing that points Python elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def told(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a command line answers."""
    return subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True)


def commands_answer(folder: Path) -> str:
    """`convtool --version` says the installed version; the library imports; every documented command has a help."""
    version = importlib.metadata.version("convtool")
    said = told("convtool --version && python -c 'import convtool'", folder)
    check((said.returncode, said.stdout) == (0, f"convtool {version}\n"), f"convtool --version: {said}")
    commands = sorted(readme.documented_commands(readme.README.read_text()))
    for command in commands:
        help_text = told(f"convtool {command} --help", folder)
        check(help_text.returncode == 0, f"convtool {command} --help: {help_text.stderr}")
    return f"convtool {version} and {len(commands)} commands answer"


def examples_run(folder: Path) -> str:
    """All examples that the README marks; none of them needs an extra, so that none is left out."""
    text = readme.README.read_text()
    readme.run_commands(folder, environment())
    for block in readme.examples(text, "python"):
        done = subprocess.run([sys.executable, "-I", "-"], input=block, cwd=folder, capture_output=True, text=True)
        check(done.returncode == 0, f"the README's Python example fails: {done.stderr}")
    return f"{len(readme.commands(text))} commands of the README and its Python example run"


def extras_are_named(folder: Path) -> str:
    """What needs an extra ends with status 2 and the words to install it."""
    for module, (extra, command) in OPTIONAL.items():
        said = told(command, folder)
        named = f"pip install 'convtool[{extra}]'" in said.stderr
        check((said.returncode, named) == (2, True), f"without {module}, `{command}` says: {said.stderr}")
    return f"what needs the extras {', '.join(extra for extra, _ in OPTIONAL.values())} says so"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
