r"""Numbers and polynomials that have one canonical form, read from normalised text and compared exactly.

A form is a sum of rationals times a square root of a squarefree whole number, a power of pi and a monomial in letters:
``3\sqrt{5}+\frac{\pi}{2}``, ``(x-1)(x+1)``. These products are linearly independent over the rationals, so two forms
are the same number, or the same polynomial, if and only if they have the same terms. Nothing here is evaluated: what
the small grammar does not know, or what could be read in two ways, is None and left to math-verify.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import comb, factorial, gcd

from rstar_core.answers.names import is_beside, is_run_of_variables

MAX_CHARS = 200
MAX_DEPTH = 20
MAX_TERMS = 64
MAX_BITS = 2048  # of a coefficient
MAX_POWER = 64
MAX_RADICAND = 10**8

Monomial = tuple[tuple[str, int], ...]
Base = tuple[int, int, Monomial]  # a squarefree number under the root, the power of pi, letters with their powers
Form = dict[Base, Fraction]

ONE: Base = (1, 0, ())
MAX_FACTORIAL = 200
TOKEN = re.compile(
    r"\d+(?:\.\d+)?|\.\d+|\\(?:frac|sqrt|pi|cdot|times|binom)(?![A-Za-z])|[-+*/^(){}! ]|[A-Za-z]+", re.ASCII
)
LETTERS_ONLY = re.compile(r"[A-Za-z ]+")
NAMED = re.compile(r"([A-Za-z])=(.+)")
FUNCTIONS = frozenset("fghFGHP")  # before a bracket: no product
TIMES = ("*", r"\cdot", r"\times")


class _Unknown(Exception):
    """The text is none of ours."""


def as_form(text: str) -> Form | None:
    """The canonical form of a number or a polynomial, else None. A text of letters alone may be a word: None."""
    if len(text) > MAX_CHARS or LETTERS_ONLY.fullmatch(text):
        return None
    try:
        reader = _Reader(_tokens(text))
        form = reader.sum()
        return form if reader.next is None else None
    except _Unknown:
        return None


def without_name(text: str) -> tuple[str, str]:
    """``x=5`` as its name and its value; the name is empty where there is none."""
    match = NAMED.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)


def letters(form: Form) -> frozenset[str]:
    return frozenset(letter for _, _, monomial in form for letter, _ in monomial)


# --- reading --------------------------------------------------------------------------------------------------


def _tokens(text: str) -> list[str]:
    found, end = [], 0
    for match in TOKEN.finditer(text):
        if match.start() != end:
            raise _Unknown
        found += _names(match, text) if match.group().isalpha() else [match.group()]
        end = match.end()
    if end != len(text):
        raise _Unknown
    return found


def _names(run: re.Match[str], text: str) -> list[str]:
    """Letters in a row, ``2xy``: one name each, or all together one name, ``2AB``."""
    if not is_run_of_variables(run.group(), run.start(), text):
        if len(run.group()) > 1 and run.group().isupper() and not is_beside(" (", run.start(), run.end(), text):
            return [run.group()]
        raise _Unknown
    return list(run.group())


@dataclass(slots=True)
class _Reader:
    """Recursive descent: sum, product, power, atom."""

    tokens: list[str]
    place: int = 0
    depth: int = 0

    @property
    def next(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, *expected: str) -> str:
        token = self.next
        if token is None or (expected and token not in expected):
            raise _Unknown
        self.place += 1
        return token

    def sum(self) -> Form:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Unknown
        sign = self.take() if self.next in ("+", "-") else "+"
        total = _scaled(self.product(), -1 if sign == "-" else 1)
        while self.next in ("+", "-"):
            sign = self.take()
            total = _added(total, _scaled(self.product(), -1 if sign == "-" else 1))
        self.depth -= 1
        return total

    def product(self) -> Form:
        result = self.power()
        while (token := self.next) not in (None, "+", "-", ")", "}"):
            if token == "/":
                self.take()
                result = _multiplied(result, _inverse(self.power()))
                if self.next not in (None, "+", "-", ")", "}", "/", *TIMES):  # 1/2x is read both ways
                    raise _Unknown
            else:
                self._times()
                result = _multiplied(result, self.power())
        return result

    def _times(self) -> None:
        """An explicit sign, or two factors side by side that are no mixed number and no 1 2."""
        before = self.tokens[self.place - 1]
        if self.next in TIMES:
            self.take()
            if self.next == " ":  # the end of \cdot
                self.take()
            return
        has_space = self.next == " "
        if has_space:
            self.take()
        if _is_number(self.next) or (_is_number(before) and self.next == r"\frac"):
            raise _Unknown

    def power(self) -> Form:
        base = self.atom()
        if self.next == "!":
            self.take()
            base = {ONE: Fraction(factorial(_count(base)))}
            if self.next == "!":
                raise _Unknown
        if self.next != "^":
            return base
        self.take()
        if self.next != "{":
            token = self.take()
            is_alone = not _is_number(self.next)
            if not (len(token) == 1 and token.isdigit() and is_alone):
                raise _Unknown
            return _power(base, int(token))
        self.take()
        sign = -1 if self.next == "-" and self.take() else 1
        token = self.take()
        self.take("}")
        if not token.isdigit() or self.next == "^":
            raise _Unknown
        return _power(base, sign * int(token[:4]))

    def atom(self) -> Form:
        token = self.take()
        if _is_number(token):
            return {ONE: Fraction(token)} if Fraction(token) else {}
        if token == r"\pi":
            return {(1, 1, ()): Fraction(1)}
        if token == r"\sqrt":
            return _root(self.braced())
        if token == r"\frac":
            top = self.braced()
            return _multiplied(top, _inverse(self.braced()))
        if token == r"\binom":
            return _binomial(self.braced(), self.braced())
        if token == "(":
            inside = self.sum()
            self.take(")")
            return inside
        if token[0].isalpha() and token not in ("i", "I") and not (token in FUNCTIONS and self.next == "("):
            return {(1, 0, ((token, 1),)): Fraction(1)}
        raise _Unknown

    def braced(self) -> Form:
        self.take("{")
        inside = self.sum()
        self.take("}")
        return inside


def _is_number(token: str | None) -> bool:
    return token is not None and (token[0].isdigit() or token[0] == ".")


# --- arithmetic -----------------------------------------------------------------------------------------------


def _scaled(form: Form, factor: int) -> Form:
    return {base: factor * value for base, value in form.items()}


def _added(first: Form, second: Form) -> Form:
    return _checked(_terms_of(first, second))


def _terms_of(*forms: Form) -> Iterator[tuple[Base, Fraction]]:
    for form in forms:
        yield from form.items()


def _multiplied(first: Form, second: Form) -> Form:
    if len(first) * len(second) > MAX_TERMS:
        raise _Unknown
    return _checked(_times(one, other) for one in first.items() for other in second.items())


def _times(one: tuple[Base, Fraction], other: tuple[Base, Fraction]) -> tuple[Base, Fraction]:
    (first, pi, monomial), value = one
    (second, more_pi, more), factor = other
    common = gcd(first, second)
    powers = Counter(dict(monomial))
    powers.update(dict(more))  # not +, which drops what is not positive
    letters_left = tuple(sorted((letter, power) for letter, power in powers.items() if power))
    base = first // common * (second // common), pi + more_pi, letters_left
    return base, value * factor * common


def _checked(terms: Iterator[tuple[Base, Fraction]]) -> Form:
    form: Form = {}
    for base, value in terms:
        form[base] = form.get(base, Fraction(0)) + value
    form = {base: value for base, value in form.items() if value}
    if len(form) > MAX_TERMS or max(map(_num_bits, form.values()), default=0) > MAX_BITS:
        raise _Unknown
    return form


def _num_bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _power(base: Form, exponent: int) -> Form:
    if not base and exponent <= 0:
        raise _Unknown
    if len(base) == 1 and ONE in base and abs(exponent) * _num_bits(base[ONE]) <= MAX_BITS:
        return {ONE: base[ONE] ** exponent}
    if abs(exponent) > MAX_POWER:
        raise _Unknown
    result: Form = {ONE: Fraction(1)}
    for _ in range(abs(exponent)):
        result = _multiplied(result, base)
    return _inverse(result) if exponent < 0 else result


def _inverse(form: Form) -> Form:
    """Of one term, or of a sum of two roots, by its conjugate."""
    if len(form) == 1:
        (((radicand, pi, monomial), value),) = form.items()
        return {(radicand, -pi, tuple((letter, -power) for letter, power in monomial)): 1 / (value * radicand)}
    if len(form) != 2 or any(pi or monomial for _, pi, monomial in form):
        raise _Unknown
    first, second = form.items()
    conjugate = {first[0]: first[1], second[0]: -second[1]}
    return _multiplied(conjugate, _inverse(_multiplied(form, conjugate)))


def _count(form: Form) -> int:
    """A small whole number that is not negative."""
    value = form.get(ONE, Fraction(0))
    if len(form) > 1 or (form and ONE not in form) or value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL:
        raise _Unknown
    return value.numerator


def _binomial(top: Form, bottom: Form) -> Form:
    value = comb(_count(top), _count(bottom))
    return {ONE: Fraction(value)} if value else {}


def _root(form: Form) -> Form:
    """The square root of a rational that is not negative."""
    if not form:
        return {}
    value = form.get(ONE, Fraction(0))
    radicand = value.numerator * value.denominator
    if len(form) > 1 or not 0 < radicand <= MAX_RADICAND:
        raise _Unknown
    outside, divisor = 1, 2
    while divisor * divisor <= radicand:
        while radicand % (divisor * divisor) == 0:
            radicand //= divisor * divisor
            outside *= divisor
        divisor += 1
    return {(radicand, 0, ()): Fraction(outside, value.denominator)}
