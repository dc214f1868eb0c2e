"""The ground floor imports itself and the standard library; the import contract lists packages, this asks Python."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import mingbai.kernel

MODULES = sorted(Path(mingbai.kernel.__file__).parent.rglob("*.py"))


def imported_names(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_kernel_imports_itself_and_the_standard_library_only() -> None:
    assert MODULES
    for path in MODULES:
        outside = {
            name
            for name in imported_names(path.read_text(encoding="utf-8"))
            if not name.startswith("mingbai.kernel") and name.split(".")[0] not in sys.stdlib_module_names
        }
        assert not outside, f"{path.name} imports {outside}"
