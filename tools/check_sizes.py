"""
Fail when a file or the usual function has grown too large to read at once.

    python tools/check_sizes.py DIRECTORY...
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

# Those that are not blank: a docstring with room in it is no reason to split a module.
FILE_LINES = 500
# Of 20 functions one may be longer: a table or a long signature is no sin.
FUNCTION_LINES = 40
FUNCTION_SHARE = 0.95


def function_lengths(tree: ast.AST) -> Iterator[int]:
    """Return the lines of each function, its docstring not counted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            text = node.body[0] if ast.get_docstring(node) else None
            yield lines - (((text.end_lineno or text.lineno) - text.lineno + 1) if text else 0)


def complaints(paths: Iterable[Path]) -> Iterator[str]:
    """Return one line for each limit that the files at *paths* break."""
    lengths: list[int] = []
    for path in paths:
        source = path.read_text(encoding="utf-8")
        lines = sum(1 for line in source.split("\n") if line.strip())
        if lines > FILE_LINES:
            yield f"{path}: {lines} lines that are not blank, at most {FILE_LINES}"
        lengths.extend(function_lengths(ast.parse(source)))
    lengths.sort()
    usual = lengths[int(len(lengths) * FUNCTION_SHARE)] if lengths else 0
    if usual > FUNCTION_LINES:
        yield f"more than 1 function in 20 is over {FUNCTION_LINES} lines"


def main(directories: list[str]) -> int:
    """Print what is wrong with the Python files in *directories*; return the exit code."""
    paths = [path for directory in directories for path in sorted(Path(directory).rglob("*.py"))]
    found = list(complaints(paths))
    print(*found, sep="\n", end="\n" if found else "")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
