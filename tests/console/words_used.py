"""Finds every English text that the console marks for translation: in its templates and in its Python.

Templates are read as Django's own `makemessages` reads them; in Python a text is a constant that is handed to one of
gettext's functions, under whatever name the module imports it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import allauth
from django.utils.translation.template import templatize

import mingbai

SOURCE = Path(mingbai.__file__).parent
ROOMS = ("console", "contexts")
# Function of gettext -> how many of its first arguments are texts.
FUNCTIONS = {
    "gettext": 1,
    "gettext_lazy": 1,
    "gettext_noop": 1,
    "ngettext": 2,
    "ngettext_lazy": 2,
}
_LITERAL = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_IN_TEMPLATE = re.compile(rf"(?:\bgettext|\b_)\(u?{_LITERAL}\)|\bngettext\(u?{_LITERAL},\s*u?{_LITERAL},", re.DOTALL)


def used() -> dict[str, str]:
    """English text -> where it stands."""
    found: dict[str, str] = {}
    for room in ROOMS:
        for path in sorted((SOURCE / room).rglob("*")):
            for text, line in _texts(path):
                found.setdefault(text, f"{path.relative_to(SOURCE)}:{line}")
    return found


def used_by_allauth() -> set[str]:
    """What the sign-in library marks: its own Chinese is not always that of this house."""
    folder = Path(allauth.__file__).parent
    return {text for path in folder.rglob("*") if "tests" not in path.parts for text, _ in _texts(path)}


def _texts(path: Path) -> Iterator[tuple[str, int]]:
    if path.suffix == ".py" and "migrations" not in path.parts:
        yield from _of_python(path)
    elif path.suffix in (".html", ".txt") and "templates" in path.parts:
        read = templatize(path.read_text(encoding="utf-8"))
        for match in _IN_TEMPLATE.finditer(read):
            for literal in filter(None, match.groups()):
                yield ast.literal_eval(literal), read.count("\n", 0, match.start()) + 1


def _of_python(path: Path) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        alias.asname or alias.name: FUNCTIONS[alias.name]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for alias in node.names
        if alias.name in FUNCTIONS
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        is_module = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)
        count = FUNCTIONS.get(name, 0) if is_module else names.get(name, 0)
        for argument in node.args[:count]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value:
                yield argument.value, node.lineno
