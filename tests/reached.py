"""Which statements of convtool no test reaches: `reached.py prepare FOLDER`, the tests, `reached.py report FOLDER`.

Each statement is compiled with one before it that sets its byte in a file of marks; `reach/sitecustomize.py` has every
process load that. coverage.py measures by tracing instead, with which these tests take almost twice as long up to
Python 3.11, and writes a file at the end of each process, which tests notice that fill up a disk.
"""

from __future__ import annotations

import ast
import itertools
import marshal
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "convtool"


class Marked(ast.NodeTransformer):
    """A module's syntax with a mark before each statement; `lines` are theirs, in the order of the marks' bytes.

    Docstrings and imports from __future__ must stay first, and what stands under TYPE_CHECKING never runs: no marks.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.lines: list[int] = []

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return node
        self.generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, [each for statement in block for each in self._marked(statement)])
        return node

    def _marked(self, statement: ast.stmt) -> list[ast.stmt]:
        if is_silent(statement):
            return [statement]
        mark = ast.parse(f"__reached__[{self.first + len(self.lines)}] = 1").body[0]
        for node in ast.walk(mark):
            ast.copy_location(node, statement)
        self.lines.append(statement.lineno)
        return [mark, statement]


def is_silent(statement: ast.stmt) -> bool:
    """Whether it has no mark: a docstring, or `...`, or what only the compiler reads."""
    match statement:
        case ast.Expr(ast.Constant()) | ast.Global() | ast.Nonlocal() | ast.ImportFrom("__future__"):
            return True
    return False


def marked(source: str, first: int) -> tuple[ast.Module, list[int]]:
    """A module's syntax with marks from the byte `first` on, and the line of each."""
    marks = Marked(first)
    tree = marks.visit(ast.parse(source))
    assert isinstance(tree, ast.Module)
    return tree, marks.lines


def modules() -> dict[str, Path]:
    """The files of the package, by the names of their modules."""
    named = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return named


def prepare(folder: Path) -> None:
    """Write the compiled modules, and the marks, of which none is set."""
    count = 0
    for name, file in modules().items():
        tree, lines = marked(file.read_text(encoding="utf-8"), count)
        (folder / f"{name}.code").write_bytes(marshal.dumps(compile(tree, str(file), "exec")))
        count += len(lines)
    (folder / "marks").write_bytes(bytes(count))


def report(folder: Path) -> None:
    """Print, for each file, the lines of the statements that no process has reached."""
    marks = (folder / "marks").read_bytes()
    if not any(marks):
        sys.exit("reached: no process has marked anything; was PYTHONPATH set?")
    first = 0
    for file in modules().values():
        _, lines = marked(file.read_text(encoding="utf-8"), first)
        set_here = marks[first : first + len(lines)]
        first += len(lines)
        if not all(set_here):
            print(f"{file.relative_to(PACKAGE.parent)}: {spelled(lines, set_here)}")
    print(f"reached: {100 * sum(marks) / len(marks):.2f} % of {len(marks)} statements; no test reaches the lines above")


def spelled(lines: list[int], marks: bytes) -> str:
    """'12, 30-32': runs of statements without a mark, by their first and last lines."""
    runs = []
    in_order = sorted(zip(lines, marks, strict=True))
    for is_set, run in itertools.groupby(in_order, key=lambda pair: pair[1]):
        numbers = [line for line, _ in run]
        if not is_set:
            runs.append(f"{numbers[0]}-{numbers[-1]}" if numbers[-1] > numbers[0] else f"{numbers[0]}")
    return ", ".join(runs)


if __name__ == "__main__":
    {"prepare": prepare, "report": report}[sys.argv[1]](Path(sys.argv[2]))
