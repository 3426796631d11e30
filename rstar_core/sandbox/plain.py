"""Which code is plain: arithmetic on names of its own, by which nothing outside of its own names can be reached.

What many steps of one problem share a process by is this list, and no wall: the process has all the walls that any
other has, and another problem's code never runs in it. The list is decided there too, where a text that is made to
upset the parser upsets nothing else. Standard library only: it runs beside untrusted code.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence
from functools import lru_cache

from rstar_core.sandbox.interpreter import Interpreter

CALLS = frozenset("abs bool divmod float int len max min pow print range round sorted str sum".split())
MAX_CHARS = 4000  # what is longer is no step of arithmetic, and parsing takes memory

_NODES = (
    *(ast.Module, ast.Expr, ast.Assign, ast.AugAssign, ast.If, ast.For, ast.Break, ast.Continue, ast.Pass),
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
    *(ast.Tuple, ast.List, ast.Subscript, ast.Slice, ast.Load, ast.Store, ast.JoinedStr, ast.FormattedValue),
)
_CONSTANTS = (int, float, str, bool, type(None))
_FORBIDDEN = frozenset(dir(builtins)) - CALLS


def run_plain(interpreter: Interpreter, parents: Sequence[str], code: str) -> dict[str, object] | None:
    """The reply of ``code`` after ``parents`` and nothing before them; None where any of them is not plain or fails."""
    if not all(map(is_plain, (*parents, code))):
        return None
    interpreter.restart()
    if any(interpreter.run(parent)["error"] for parent in parents):
        return None
    return interpreter.run(code)


@lru_cache(maxsize=256)
def is_plain(code: str) -> bool:
    """Whether ``code`` parses and is made of the listed nodes, names and calls only.

    No attribute, import, definition or comprehension; of the built-in names the harmless functions of ``CALLS``, which
    take no function of the code's and no file; no name with a leading underscore.
    """
    if len(code) > MAX_CHARS:
        return False
    try:
        tree = ast.parse(code, "<step>")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(map(_is_allowed, ast.walk(tree)))


def _is_allowed(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name not in _FORBIDDEN and not name.startswith("_")
        case ast.Constant(value=value):
            return type(value) in _CONSTANTS
        case ast.Call(func=ast.Name(id=name), keywords=keywords):
            return name in CALLS and (not keywords or (name == "print" and all(map(_is_layout, keywords))))
        case ast.keyword():
            return _is_layout(node)
        case _:
            return isinstance(node, _NODES)


def _is_layout(keyword: ast.keyword) -> bool:
    return keyword.arg in ("sep", "end")
