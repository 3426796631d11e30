r"""What a program prints, as LaTeX: ``2*sqrt(3)``, ``x**2``, ``Fraction(1, 3)``, ``{x: 8}`` (Python, sympy, numpy).

A closed list of names is known. A text with any other is none of ours and stays as it is. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter

from rstar_core.answers.names import GREEK

MAX_CHARS = 400
MAX_DEPTH = 20

CONSTANTS = {
    "pi": r"\pi", "oo": r"\infty", "inf": r"\infty", "E": "e", "I": "i", "EmptySet": r"\emptyset",
    "Reals": r"\mathbb{R}", "Integers": r"\mathbb{Z}", "Naturals0": r"\mathbb{N}", "Rationals": r"\mathbb{Q}",
    "Complexes": r"\mathbb{C}", "Half": r"\frac{1}{2}",
}  # fmt: skip
FUNCTIONS: dict[tuple[str, int], str] = {
    (name, len({field for _, field, _, _ in Formatter().parse(latex) if field})): latex
    for names, latex in {
        "sqrt": r"\sqrt{{{0}}}", "cbrt": r"\sqrt[3]{{{0}}}", "root": r"\sqrt[{1}]{{{0}}}", "exp": r"e^{{{0}}}",
        "log2": r"\log_{{2}}({0})", "log10": r"\log_{{10}}({0})", "Abs abs fabs": r"|{0}|",
        "factorial": r"({0})!", "floor": r"\lfloor {0}\rfloor ", "ceil ceiling": r"\lceil {0}\rceil ",
        "binomial comb nCr": r"\binom{{{0}}}{{{1}}}", "Fraction Rational": r"\frac{{{0}}}{{{1}}}",
        "pow Pow": r"({0})^{{{1}}}", "Eq": "{0}={1}", "Ne": r"{0}\ne {1}", "Interval": "[{0},{1}]",
        "Interval.open": "({0},{1})", "Interval.Lopen": "({0},{1}]", "Interval.Ropen": "[{0},{1})",
        "Integer Float int float float64 float32 int64 int32 Fraction Rational": "{0}",
        "Union": r"{0}\cup {1}", "Point Point2D": "({0},{1})",
        **{name: rf"\{name}({{0}})" for name in "sin cos tan cot sec csc sinh cosh tanh".split()},
        **{f"a{name} arc{name}": rf"\arc{name}({{0}})" for name in ("sin", "cos", "tan", "cot")},
    }.items()
    for name in names.split()
}  # fmt: skip
FUNCTIONS |= {("log", 1): r"\ln({0})", ("ln", 1): r"\ln({0})", ("log", 2): r"\log_{{{1}}}({0})"}
FUNCTIONS |= {("Union", 3): r"{0}\cup {1}\cup {2}", ("Point", 3): "({0},{1},{2})"}
SERIES = {"Sum": r"\sum", "Product": r"\prod"}
FUNCTION_NAMES = frozenset(name for name, _ in FUNCTIONS) | {"Matrix", "FiniteSet", *SERIES}
RANGE = re.compile(r"\(([A-Za-z]),([^(),]+),([^(),]+)\)")
MODULE = re.compile(r"^(?:(?:np|numpy|math|cmath|sympy|sp|S)\.)+")
TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?P<j>j\b)?"
    r"|(?P<name>[A-Za-z](?:[\w.]*\w)?)|(?P<latex>\\[A-Za-z]+)"
    r"|(?P<sign>\*\*|<=|>=|==|!=|[-+*/^!(){}\[\],:=<>&|]))\s*",
    re.ASCII,
)
_GREEK = "|".join(sorted(GREEK))
SYMBOL = re.compile(rf"([A-Za-z]|{_GREEK})(?:_?(\d{{0,3}})|_([A-Za-z]))", re.ASCII)
_NAMES = "|".join(sorted((re.escape(name) for name in FUNCTION_NAMES), key=len, reverse=True))
# What is not LaTeX as well: only then is a text read here at all.
EVIDENCE = re.compile(
    rf"\*|[<>]=|[&|] ?\(|(?<![\w\\])(?:[a-z]+\.)?(?:{_NAMES})\("
    rf"|(?<![A-Za-z_\\])(?:pi|oo|{_GREEK})(?:_\w{{1,3}})?(?![\w{{])|\dj\b"
    r"|^(?:EmptySet|Reals|Integers)$|^\{[^{}\\]*[,:][^{}\\]*\}$|^\[\{"
    r"|^[\d+*/(). -]* [+-] [EI]$|^[EI] [+-] [\d+*/(). -]*$",
    re.ASCII,
)
RELATIONS = {"<": "<", ">": ">", "<=": r"\le ", ">=": r"\ge ", "=": "=", "==": "=", "!=": r"\ne "}
BOUNDED = re.compile(r"(?P<low>.+?)(?P<first><|\\le )(?P<letter>[a-z])")
ENDS = (None, "+", "-", ")", "]", "}", ",", ":", "&", "|", *RELATIONS)
INFINITE = re.compile(r"-?\\infty|.*(?:<|\\le )\\infty|-\\infty(?:<|\\le ).*")


class _Unknown(Exception):
    """The text is no program's, or has a name that is not in the list."""


def as_latex(text: str) -> str:
    """``text`` in LaTeX if it is in a program's notation and wholly understood, else as it is."""
    if len(text) > MAX_CHARS or not EVIDENCE.search(text):
        return text
    try:
        reader = _Reader(_tokens(text))
        found = reader.items(None)
    except _Unknown:
        return text
    return ",".join(found)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(text: str) -> list[_Token]:
    found, end = [], 0
    while end < len(text):
        match = TOKEN.match(text, end)
        if match is None or match.end() == end:
            raise _Unknown
        kind = str(match.lastgroup)
        if kind == "j":
            found.append(_Token("number", match["number"]))
            found.append(_Token("name", "I"))
        else:
            found.append(_Token(kind, match[kind]))
        end = match.end()
    return found


@dataclass(slots=True)
class _Reader:
    """Recursive descent: items, alternatives, relations, sums, products, powers, atoms."""

    tokens: list[_Token]
    place: int = 0
    depth: int = 0

    @property
    def next(self) -> str | None:
        return self.tokens[self.place].text if self.place < len(self.tokens) else None

    def take(self, expected: str | None = None) -> _Token:
        if self.place >= len(self.tokens) or (expected and self.next != expected):
            raise _Unknown
        self.place += 1
        return self.tokens[self.place - 1]

    def items(self, closing: str | None) -> list[str]:
        """What stands between commas up to ``closing``, which is taken."""
        found: list[str] = []
        while self.next != closing:
            if found:
                self.take(",")
            found.append(self.alternatives())
        if closing:
            self.take(closing)
        return found

    def alternatives(self) -> str:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Unknown
        parts = [self.conjunction()]
        while self.next == "|":
            self.take()
            parts.append(self.conjunction())
        self.depth -= 1
        return r"\text{ or }".join(_bare(part) if len(parts) > 1 else part for part in parts)

    def conjunction(self) -> str:
        parts = [self.relation()]
        while self.next == "&":
            self.take()
            parts.append(self.relation())
        return parts[0] if len(parts) == 1 else _both([_bare(part) for part in parts])

    def relation(self) -> str:
        text = self.sum()
        while self.next in RELATIONS:
            text += RELATIONS[str(self.take().text)] + self.sum()
        return text

    def sum(self) -> str:
        text = self.take().text if self.next in ("+", "-") else ""
        text += self.product()
        while self.next in ("+", "-"):
            text += self.take().text + self.product()
        return text

    def product(self) -> str:
        text = self.power()
        is_divided = False
        while self.next not in ENDS:
            if self.next == "/":
                self.take()
                text, is_divided = rf"\frac{{{text}}}{{{self.power()}}}", True
            elif self.next == "*":
                self.take()
                text, is_divided = rf"{text}\cdot {self.power()}", False
            elif is_divided or self.tokens[self.place].kind == "number" or self._follows_a_name():
                raise _Unknown  # 1/2x is read in two ways, and 1 2 or "two words" are no product
            else:
                text += self.power()
        return text

    def _follows_a_name(self) -> bool:
        return self.tokens[self.place].kind == "name" and self.tokens[self.place - 1].kind == "name"

    def power(self) -> str:
        if self.next == "-":
            self.take()
            return f"-{self.power()}"
        base, is_atom = self.atom()
        while self.next == "!":
            self.take()
            base, is_atom = (base if is_atom else f"({base})") + "!", False
        if self.next not in ("**", "^"):
            return base
        is_caret = self.take().text == "^"
        if is_caret and self.next == "{":
            self.take()
            exponent = self.sum()
            self.take("}")
        else:
            exponent = self.power()
            if exponent.startswith("(") and exponent.endswith(")") and ")" not in exponent[:-1]:
                exponent = exponent[1:-1]
        return f"{base if is_atom else f'({base})'}^{{{exponent}}}"

    def atom(self) -> tuple[str, bool]:
        """LaTeX, and whether an exponent could stand right after it."""
        token = self.take()
        if token.kind == "number":
            return token.text, True
        if token.kind == "latex":
            return self._latex(token.text), token.text not in (r"\frac", r"\binom")
        if token.kind == "name":
            name = MODULE.sub("", token.text)
            if name in FUNCTION_NAMES and self.next == "(":
                self.take()
                return self._call(name), name in ("sqrt", "cbrt", "abs", "Abs")
            return _symbol(name), True
        return self._bracketed(token.text)

    def _latex(self, command: str) -> str:
        text = command
        while self.next == "{":
            self.take()
            text += "{" + ",".join(self.items("}")) + "}"
        return text if text.endswith("}") else f"{text} "

    def _call(self, name: str) -> str:
        arguments = self.items(")")
        if name == "FiniteSet":
            return rf"\{{{','.join(arguments)}\}}"
        if name == "Matrix":
            return _matrix(arguments)
        if name in SERIES:
            return _series(SERIES[name], arguments)
        latex = FUNCTIONS.get((name, len(arguments)))
        if latex is None:
            raise _Unknown
        if name == "log" and arguments[-1] == "e":
            return rf"\ln({arguments[0]})"
        text = latex.format(*arguments)
        if name == "factorial" and arguments[0].isalnum():
            return f"{arguments[0]}!"
        return text.replace(r"[-\infty", r"(-\infty").replace(r"\infty]", r"\infty)") if name == "Interval" else text

    def _bracketed(self, opening: str) -> tuple[str, bool]:
        if opening == "(":
            inside = self.items(")")
            if not inside:
                raise _Unknown
            return f"({','.join(inside)})", True
        if opening == "[":
            inside = self.items("]")
            if len(inside) == 1 and not inside[0].startswith("["):
                return inside[0], False
            return f"[{','.join(inside)}]", False
        if opening == "{":
            return self._set(), False
        raise _Unknown

    def _set(self) -> str:
        """A set, or the values of a dictionary as equations."""
        found: list[str] = []
        is_dictionary = False
        while self.next != "}":
            if found:
                self.take(",")
            item = self.alternatives()
            has_value = self.next == ":"
            if found and has_value != is_dictionary:
                raise _Unknown
            is_dictionary = has_value
            if has_value:
                self.take()
                item += f"={self.alternatives()}"
            found.append(item)
        self.take()
        return ",".join(found) if is_dictionary else rf"\{{{','.join(found)}\}}"


def _symbol(name: str) -> str:
    if name in CONSTANTS:
        return CONSTANTS[name]
    match = SYMBOL.fullmatch(name)
    if match is None:
        raise _Unknown
    letter, index = f"\\{match[1]}" if match[1] in GREEK else match[1], match[2] or match[3]
    return f"{letter}_{{{index}}}" if index else letter


def _matrix(arguments: Sequence[str]) -> str:
    """A list of rows, or of the entries of one column."""
    if len(arguments) != 1 or not arguments[0].startswith("["):
        raise _Unknown
    inside = arguments[0][1:-1]
    if "[" in inside:
        rows = [row.replace(",", "&") for row in re.findall(r"\[([^\[\]]*)\]", inside)]
        if ",".join(f"[{row}]" for row in rows).replace("&", ",") != inside:
            raise _Unknown
    else:
        rows = inside.split(",")
    body = r"\\".join(rows)
    return rf"\begin{{pmatrix}}{body}\end{{pmatrix}}"


def _series(sign: str, arguments: Sequence[str]) -> str:
    match = RANGE.fullmatch(arguments[1]) if len(arguments) == 2 else None
    if match is None:
        raise _Unknown
    return rf"({sign}_{{{match[1]}={match[2]}}}^{{{match[3]}}}({arguments[0]}))"


def _bare(relation: str) -> str:
    """Python has relations in brackets where they are joined."""
    return relation[1:-1] if relation[0] == "(" and ")" not in relation[:-1] else relation


def _both(parts: Sequence[str]) -> str:
    """Relations that hold at once: ``1<x`` and ``x<3`` are ``1<x<3``; that x is finite goes without saying."""
    parts = [part for part in parts if not INFINITE.fullmatch(part)]
    if len(parts) == 2:
        match = BOUNDED.fullmatch(parts[0])
        if match and re.match(rf"{match['letter']}(?:<|\\le )", parts[1]):
            return parts[0][: -len(match["letter"])] + parts[1]
    if not parts:
        raise _Unknown
    return r"\text{ and }".join(parts)
