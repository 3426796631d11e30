"""The program that compares two answers with math-verify. It runs inside the sandbox only, and imports nothing here.

``LIBRARY`` is its first step. ``comparison`` is its second, which prints one word: equal, different, rounding,
precision or undecided. Anything else it might print or do is no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

# Decimals become exact fractions, because math-verify compares floats to six places only: sqrt(2)/10^7 would be 0.
LIBRARY = r"""
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Basic, E, Expr, Float, I, MatrixBase, Rational, Symbol

# Units are off already; math-verify would take 5M and 5th for 5.
READING = LatexExtractionConfig(
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
)
SET_RELATIONS = dict(allow_set_relation_comp=True, timeout_seconds=None)
CONSTANTS = {"i": I, "e": E}

def read(text):
    found = parse(f"${text}$", extraction_config=[READING], parsing_timeout=None)
    return list(map(exact, found)) if any(isinstance(item, (Basic, MatrixBase)) for item in found) else []

def exact(item):
    if not isinstance(item, (Basic, MatrixBase)):
        return item
    return item.xreplace({one: Rational(str(one)) for one in item.atoms(Float) if one.is_finite})

def judge(gold, answer):
    try:
        return verify(gold, answer, raise_on_error=True, **SET_RELATIONS)
    except Exception:
        return verify(gold, answer, **SET_RELATIONS) or None

def both_ways(first, second):
    verdict = judge(first, second)
    return [verdict] if verdict else [verdict, judge(second, first)]

def constants(items):
    symbols = {one for item in items if isinstance(item, Basic) for one in item.atoms(Symbol)}
    return {one: CONSTANTS[one.name] for one in symbols if one.name in CONSTANTS}

def with_constants(items):
    return [item.subs(constants(items)).doit() if isinstance(item, Basic) else item for item in items]

def is_nonzero(value, point={}):
    # Rounding noise is another at every precision, a number stays: 10^25 and sqrt(10^50 + 1) are 5e-26 apart.
    for digits in ((40,) if point else (40, 400)):
        once, again = value.evalf(digits, subs=point), value.evalf(2 * digits, subs=point, maxn=4 * digits)
        if not once.is_finite or not again.is_finite:
            raise ValueError("no number")
        if abs(again) > 0 and abs(once - again) < abs(again) * Rational(1, 10**8):
            return True
    return False

def relation_at(first, second, shift):
    # 1: their values differ at a point, 0: they agree there, None: no values. Simplifying a difference takes far
    # longer. Letters that are mostly whole numbers stay whole, because (-1)^n is cos(n pi) for these only.
    first, second = first[0], second[0]
    if not isinstance(first, Expr) or not isinstance(second, Expr):
        return None
    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    point = {
        one: Rational(2 * place + 5 + shift) if one.name in "kmn" else Rational(1000 + 77 * place + 389 * shift, 1237)
        for place, one in enumerate(symbols)
    }
    try:
        return int(is_nonzero(first - second, point))
    except Exception:
        return None

def numbers(item):
    # The largest parts that are numbers.
    if isinstance(item, MatrixBase):
        return {number for entry in item for number in numbers(entry)}
    if isinstance(item, Expr) and not item.free_symbols:
        return {item} if item.is_finite else set()
    return {number for part in getattr(item, "args", ()) for number in numbers(part)}

def has_merged(first, second):
    # Is a number of one only nearly one of the other? math-verify compares to six places in lists and intervals.
    try:
        one, other = numbers(first[0]), numbers(second[0])
        return any(
            all(is_nonzero(number - near) for near in there)
            and any(abs((number - near).evalf(30)) < Rational(1, 10**4) * (1 + abs(number.evalf(30))) for near in there)
            for here, there in ((one, other), (other, one))
            for number in here
        )
    except Exception:
        return True

def distance(first, second):
    # None where these are no two numbers.
    try:
        found = abs((first[0] - second[0]).evalf(30))
        return found if found.is_real else None
    except Exception:
        return None

def decide(first, second, unit, tolerance, noise):
    is_itself = first == second
    first, second = read(first), read(second)
    if is_itself:  # what was read decides, not the text, which parse returns beside it
        first, second = ([item for item in items if not isinstance(item, str)] for items in (first, second))
    if not first or not second:
        return "undecided"
    has_constants = constants(first) or constants(second)
    verdicts = [False] if not has_constants and relation_at(first, second, 0) == 1 else both_ways(first, second)
    if True not in verdicts and has_constants:
        first, second = with_constants(first), with_constants(second)
        verdicts += both_ways(first, second)
    if True in verdicts and not is_itself:
        relation = relation_at(first, second, 1)
        if relation is None and has_merged(first, second):
            return "undecided"
        verdicts = verdicts if relation != 1 else [False]
    if True in verdicts:
        return "equal"
    if None in verdicts:
        return "undecided"
    if all(relation_at(first, second, shift) == 0 for shift in (0, 1, 2)):
        return "undecided"  # math-verify can't simplify it: ln(ab) and ln a + ln b
    if not unit and not tolerance:
        return "different"
    apart = distance(first, second)
    if tolerance and apart is not None and apart <= tolerance:
        return "precision"
    if noise and apart is not None and apart <= noise:
        return "float"
    return "rounding" if unit and apart is not None and apart < unit else "different"
"""

# Texts whose parsers and comparisons are then warm in every process that goes on from there.
_KINDS = (
    (r"\frac{1}{2}+\sqrt{3}", r"\frac{1+2\sqrt{3}}{2}"),
    (r"-\frac{\sqrt{3}}{2}", r"\sqrt[3]{2}+1"),
    (r"x^2-3x+2", r"(x-1)(x-2)"),
    (r"\frac{x^2-1}{x+1}", r"x-2"),
    (r"y=2x+3", r"2x-y+3=0"),
    (r"x=\frac{3}{2}", r"x=-6"),
    (r"x>3", r"(3,\infty)"),
    (r"-1\le x\le 1", r"[-1,1]"),
    (r"(-\infty,-1)\cup(1,\infty)", r"(-1,1]"),
    (r"\{1,2,3\}", r"1,2,4"),
    (r"(1,\frac{9}{2})", r"(2,-1,3)"),
    (r"1\pm\sqrt{2}", r"1+\sqrt{2},1-\sqrt{2}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\4&3\end{pmatrix}"),
    (r"\frac{e^{2t}}{3}+ce^{-2t}", r"3e^{x}\sin(2x)"),
    (r"\sin^2 x", r"1-\cos^2 x"),
    (r"\ln 4", r"\log_2 8"),
    (r"n!\cdot 2^{n}", r"\binom{n}{2}"),
    (r"3+4i", r"2-i"),
    (r"\frac{180\pi}{13}", r"2\pi r^2"),
    (r"a^{n+1}-b_1", r"2^{n(n-1)/2}"),
    (r"5\text{ cm}", r"48\mathrm{km}/\mathrm{h}"),
    (r"0.25", r"3\cdot 10^{-2}"),
    (r"\frac{t}{4}\sin(2t)", r"-\frac{11}{9}"),
    (r"2\left(5^{3/2}-8\right)", r"\frac{x-1}{\sqrt{x^2+1}}"),
    (r"x^{3}y^{3}-4xy+1", r"\sqrt[4]{ab^{3}c}"),
    (r"f(x)=ax^2+bx+c", r"f(n)=n^{2}"),
    (r"\frac{1}{3}(3x)+\frac{2}{3}(9)", r"\frac{n(n+1)(2n+1)}{6}"),
    (r"x=\frac{\pi}{4},\frac{5\pi}{4}", r"x=2,y=-3"),
    (r"\frac{1}{s+a}", r"\frac{e^{-st}}{s(s+1)}"),
    (r"\lambda\ge\frac{1}{n-1}", r"0<a\le 2"),
    (r"\{(1,2),(3,3)\}", r"(1,1,1),(2,2,1)"),
    (r"\frac{4-6i}{13}", r"re^{i\theta}"),
    (r"12-4\sqrt{2}", r"\frac{\sqrt{6}+\sqrt{2}}{4}"),
    (r"\mathbb{R}", r"\text{no solution}"),
    (r"2021\cdot 505", r"3^{100}"),
)
_KINDS_PER_STEP = 7


def _warm_up() -> Iterator[str]:
    yield LIBRARY
    for start in range(0, len(_KINDS), _KINDS_PER_STEP):
        kinds = _KINDS[start : start + _KINDS_PER_STEP]
        yield "\n".join(f"decide({first!r}, {second!r}, None, None, None)" for first, second in kinds)
    yield "import gc\ngc.collect()\ngc.freeze()"


# In several steps, because each has its own limit of processor time: in one it took 4.5 s on a slow machine, and a
# warm-up that is ended early makes every comparison undecided.
WARM_UP = tuple(_warm_up())


@dataclass(frozen=True, slots=True)
class Margins:
    """How far a rounded decimal may be off, what the problem allows, and what a float's arithmetic may miss."""

    unit: Fraction | None
    tolerance: Fraction | None
    noise: Fraction | None


def comparison(first: str, second: str, margins: Margins) -> str:
    """The second step, with its texts as literals."""
    numbers = ", ".join(map(_literal, (margins.unit, margins.tolerance, margins.noise)))
    return f"print(decide({first!r}, {second!r}, {numbers}))"


def _literal(number: Fraction | None) -> str:
    return f"Rational({number.numerator}, {number.denominator})" if number else "None"
