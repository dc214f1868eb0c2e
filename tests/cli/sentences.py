"""Finds, in the source, every English piece of an error, a finding or a rejected row that a person may be shown.

A piece is a template: the text as written, with {1}, {2}, ... where values go in. Where one stands is a matter of the
house's habits, listed here: the keywords of errors, the names that hold what is passed to them later, the arguments of
the few functions that report.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import mingbai

SOURCE = Path(mingbai.__file__).parent
KEYWORDS = {"expected", "what", "cause", "problem", "detail", "hint", "found", "target"}
NAMES = KEYWORDS | {"_EXPECTED", "EXPECTED", "said", "got", "limits", "cut", "kinds", "named"}
ARGUMENTS = {  # function -> place of the argument that is shown
    "_found": 2,
    "piece": 0,
    "problem": 2,
    "Problem": 5,
    "parsed": 2,
    "choice": 3,
    "BadBytes": 3,
    "input_unreadable": 1,
    "output_cannot_write": 1,
    "Allowed": 0,
    "found": 1,
    "fault": 3,
    "_lost": 2,
}
RETURNS = {
    *(
        "_cause",
        "_refusal",
        "_sentence",
        "_torn_sentence",
        "_detail",
        "_wrong",
        "_no_object",
        "_allowed",
        "_problem",
        "name",
    ),
}
# Read by nobody but who writes the generator's grammar files; and the house's own translations.
LEFT_OUT = {"engines/scenarios/grammar.py", "engines/scenarios/tables.py"}


def sentences() -> dict[str, str]:
    """Template -> where it stands."""
    return _collected(_shown)


def values() -> dict[str, str]:
    """The same for what stands where the wrong value is named: `value="no rows"`."""
    return _collected(_named)


def _collected(sites: Callable[[ast.AST, str], Iterator[ast.expr]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = str(path.relative_to(SOURCE))
        if name in LEFT_OUT:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for expression in sites(tree, name):
            for template in templates(expression):
                if template:
                    found.setdefault(template, f"{name}:{expression.lineno}")
    return found


def _named(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (word.value for word in node.keywords if word.arg == "value")
        elif isinstance(node, ast.Assign) and any(_name(target) == "value" for target in node.targets):
            yield node.value


def _shown(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _name(node.func)
            if called not in ("format", "_"):
                yield from (word.value for word in node.keywords if word.arg in KEYWORDS | {"remark"})
            place = ARGUMENTS.get(called, -1)
            if 0 <= place < len(node.args):
                yield node.args[place]
            if called == "append" and isinstance(node.func, ast.Attribute) and _name(node.func.value) == "notes":
                yield node.args[0]
            if called == "ValueError" and name.startswith("ledger/") and node.args:
                yield node.args[0]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if not name.startswith("cli/") and any(_name(target) in NAMES for target in targets):
                yield node.value
            if any(isinstance(target, ast.Tuple) for target in targets) and isinstance(node.value, ast.Tuple):
                names = targets[0].elts if isinstance(targets[0], ast.Tuple) else []
                yield from (
                    value for holder, value in zip(names, node.value.elts, strict=True) if _name(holder) in NAMES
                )
        elif isinstance(node, ast.AugAssign) and _name(node.target) in NAMES:
            yield ast.copy_location(ast.BinOp(node.target, ast.Add(), node.value), node)
        elif isinstance(node, ast.FunctionDef) and node.name in RETURNS:
            yield from (inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value)
        elif isinstance(node, ast.Tuple):
            for before, after in zip(node.elts, node.elts[1:], strict=False):
                if isinstance(before, ast.Attribute) and _name(before.value) == "Cause":
                    yield after


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def templates(node: ast.expr) -> Iterator[str]:
    """What an expression can say. An alternative is each of its sides, a value is a place."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from templates(node.body)
        yield from templates(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for side in node.values:
            yield from templates(side)
    elif isinstance(node, ast.Tuple):
        for element in node.elts:
            yield from templates(element)
    elif isinstance(node, ast.Dict):
        for one in node.values:
            yield from templates(one)
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
        yield from templates(node.value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Dict):
        for one in [*node.func.value.values, *node.args[1:]]:
            yield from templates(one)
    elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)):
        pieces = list(_pieces(node))
        yield "".join(_numbered(pieces))
        for piece in pieces:
            if not isinstance(piece, str):
                yield from templates(piece)


def _pieces(node: ast.expr) -> Iterator[str | ast.expr]:
    """The texts and the values between them, in order."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _pieces(part)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _pieces(node.left)
        yield from _pieces(node.right)
    else:
        yield node.value if isinstance(node, ast.FormattedValue) else node


def _numbered(pieces: list[str | ast.expr]) -> Iterator[str]:
    number = 0
    for piece in pieces:
        if isinstance(piece, str):
            yield piece
        else:
            number += 1
            yield f"{{{number}}}"
