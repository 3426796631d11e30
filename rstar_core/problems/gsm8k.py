"""Programs from GSM8K's calculator annotations: ``48/2 = <<48/2=24>>24`` becomes ``step_1 = 48 // 2``.

The annotations are text from outside: they are parsed, held to a whitelist and valued in exact rationals, and never
run. A program is made only if its exact value is the gold answer and Python prints it in the answer's form.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

_ANNOTATION = re.compile(r"<<([^<>=]*)=[^<>]*>>")
_ANY_MARK = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_NUMBERS_IN_TEXT = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?|\.[0-9]{1,30}")
_ARITHMETIC = re.compile(r"[0-9.+*/() -]{1,120}")  # short, so that it cannot nest deep
_MAX_BASE, _MAX_EXPONENT = 10**6, 10

# Values that a sentence may mean without any step having computed them: "twice", "a dozen", "per cent".
_EVERYDAY = frozenset(map(Fraction, [*range(13), 24, 30, 52, 60, 100, 365, 1000]))

_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


class NoProgram(Exception):
    """The solution cannot be turned into a program; the text is the reason."""


@dataclass(slots=True)
class _Variables:
    """The values so far by name: exact ones, and those Python would hold."""

    exact: dict[str, Fraction] = field(default_factory=dict)
    python: dict[str, int | float] = field(default_factory=dict)


def make_program(question: str, solution: str, answer: str) -> tuple[str, ...]:
    """The code steps of a worked solution: per annotated sentence a comment and its assignments; the last prints.

    Raises:
        NoProgram: nothing is annotated, an annotation is not plain arithmetic, or the value is not ``answer``.
    """
    gold = _gold(answer)
    said = _EVERYDAY | {Fraction(number) for number in _NUMBERS_IN_TEXT.findall(question.replace(",", ""))}
    variables = _Variables()
    steps = [_step(sentence, variables, said) for sentence in solution.split("\n") if _ANNOTATION.search(sentence)]
    if not steps:
        raise NoProgram("no calculator annotation")
    last = list(variables.exact)[-1]
    if variables.exact[last] != gold:
        raise NoProgram(f"the last annotation gives {variables.exact[last]}, the answer is {gold}")
    return (*steps[:-1], f"{steps[-1]}\n{_print(last, variables.python[last], gold)}")


def _gold(answer: str) -> Fraction:
    plain = answer.replace(",", "").strip()
    if not _NUMBER.fullmatch(plain):
        raise NoProgram("the answer is not a plain number")
    return Fraction(plain)


def _step(sentence: str, variables: _Variables, said: frozenset[Fraction]) -> str:
    """One sentence as code; its results are added to ``variables``."""
    code = [_assignment(expression, variables, said) for expression in _ANNOTATION.findall(sentence)]
    return "\n".join([*_comment(sentence), *code])


def _comment(sentence: str) -> Iterator[str]:
    """The sentence as a comment, without its annotations."""
    text = " ".join(_ANY_MARK.sub("", sentence).split())
    if text:
        yield f"# {text}"


def _assignment(expression: str, variables: _Variables, said: frozenset[Fraction]) -> str:
    name = f"step_{len(variables.exact) + 1}"
    try:
        tree = _parse(expression)
        exact = _evaluate(tree, variables.exact, lambda number: Fraction(repr(number)))
        code = _rewrite(tree, variables, said)
        python = _finite(_evaluate(code, variables.python, lambda number: number))
    except (SyntaxError, ValueError, ArithmeticError):
        raise NoProgram(f"not plain arithmetic: {expression[:60]!a}") from None
    variables.exact[name], variables.python[name] = exact, python
    return f"{name} = {ast.unparse(code)}"


def _finite(value: int | float) -> int | float:
    if not math.isfinite(value):
        raise ValueError("beyond Python's floats")
    return value


def _parse(expression: str) -> ast.expr:
    if not _ARITHMETIC.fullmatch(expression):
        raise ValueError("not on the whitelist")
    return ast.parse(expression.strip(), mode="eval").body


def _evaluate(node: ast.AST, names: Mapping[str, Any], number: Callable[[int | float], Any]) -> Any:
    """The value of an expression of numbers, ``names``, signs and ``_OPERATORS``.

    Raises:
        ValueError, ArithmeticError: it holds anything else, a power that is not small, or has no value.
    """
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return number(value)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _evaluate(operand, names, number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, names, number)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            values = _evaluate(left, names, number), _evaluate(right, names, number)
            if isinstance(op, ast.Pow):
                _check_power(*values)
            return _OPERATORS[type(op)](*values)
    raise ValueError("not on the whitelist")


def _check_power(base: Any, exponent: Any) -> None:
    if abs(base) > _MAX_BASE or exponent not in range(_MAX_EXPONENT + 1):
        raise ValueError("not a small power")


def _rewrite(node: ast.expr, variables: _Variables, said: frozenset[Fraction]) -> ast.expr:
    """The same value, better code: earlier results by name, and whole quotients by ``//``."""
    match node:
        case ast.Constant(value=value):
            return _name_for(Fraction(repr(value)), variables, said) or node
        case ast.UnaryOp(op=op, operand=operand):
            return ast.UnaryOp(op, _rewrite(operand, variables, said))
        case ast.BinOp(left=left, op=op, right=right):
            left, right = _rewrite(left, variables, said), _rewrite(right, variables, said)
            is_whole = isinstance(op, ast.Div) and _divides(left, right, variables.python)
            return ast.BinOp(left, ast.FloorDiv() if is_whole else op, right)
    raise ValueError("not on the whitelist")


def _name_for(value: Fraction, variables: _Variables, said: frozenset[Fraction]) -> ast.Name | None:
    """The one earlier result with that value, unless the question or everyday use may have meant the number."""
    names = [name for name, exact in variables.exact.items() if exact == value]
    return ast.Name(names[0]) if len(names) == 1 and value not in said else None


def _divides(left: ast.expr, right: ast.expr, names: Mapping[str, int | float]) -> bool:
    dividend, divisor = (_evaluate(side, names, lambda number: number) for side in (left, right))
    return isinstance(dividend, int) and isinstance(divisor, int) and dividend % divisor == 0


def _print(name: str, value: int | float, gold: Fraction) -> str:
    """The line that prints ``value`` in the gold answer's form: 18 rather than 18.0 or 17.999999999999996."""
    form = str(gold) if gold.denominator == 1 else str(float(gold))
    rounded = {name: value, f"round({name})": round(value), f"round({name}, 2)": round(value, 2)}
    for code, printed in rounded.items():
        if str(printed) == form:
            return f"print({code})"
    raise NoProgram(f"Python would print {value}, the answer is {gold}")
