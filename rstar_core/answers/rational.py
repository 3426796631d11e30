"""Plain numbers, exactly: decimals, fractions, mixed numbers and powers of ten, read from normalised text."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_CHARS = 200  # of the number's text: no huge integer is ever built
MAX_EXPONENT = 300

SIGN = r"([+-]?)"
DECIMAL = r"(\d+(?:\.\d*)?|\.\d+)"
PLAIN = re.compile(SIGN + DECIMAL, re.ASCII)
DIVISION = re.compile(SIGN + DECIMAL + "/" + SIGN + DECIMAL, re.ASCII)
FRACTION = re.compile(SIGN + r"\\frac\{" + SIGN + DECIMAL + r"\}\{" + SIGN + DECIMAL + r"\}", re.ASCII)
MIXED = re.compile(SIGN + r"(\d+)\\frac\{(\d+)\}\{(\d+)\}", re.ASCII)
REPEATING = re.compile(SIGN + r"(\d*)\.(\d*)\\(?:overline|bar|dot)\{(\d+)\}", re.ASCII)
POWER = r"10\^(?:\{([+-]?\d{1,4})\}|(\d))"
SCIENTIFIC = re.compile(SIGN + r"(?:" + DECIMAL + r"(?:\\times|\\cdot|\*))?" + POWER, re.ASCII)
E_NOTATION = re.compile(SIGN + DECIMAL + r"[eE]([+-]?\d{1,4})", re.ASCII)
PERCENT = re.compile(r"(.+)%")
MIN_ROUNDED_DIGITS = 6  # fewer tell nothing: 3.14 is no pi
MAX_ROUNDED_DIGITS = 15  # of a float; what follows is noise
MIN_FLOAT_DIGITS, MAX_FLOAT_DIGITS = 15, 17  # that a float prints where its number has no short decimal
FLOAT_NOISE = Fraction(8, 2**52)  # of the number: a few units of a float's last place
# Not a_{12}, which is a term of a sequence.
BASED = re.compile(r"((?=\w*\d)[0-9A-Za-z]+|[A-Z]{2,})_(?:(\d)|\{(\d\d)\})", re.ASCII)


def as_rational(text: str) -> Fraction | None:
    """The value of a plain number, or None if ``text`` is none (or one too long to be worth reading)."""
    if len(text) > MAX_CHARS:
        return None
    if match := PLAIN.fullmatch(text):
        return _signed(match[1], Fraction(match[2]))
    if match := DIVISION.fullmatch(text):
        return _signed(match[1], _quotient(_signed(match[3], Fraction(match[2])), Fraction(match[4])))
    if match := FRACTION.fullmatch(text):
        sign = "-" if [match[1], match[2], match[4]].count("-") % 2 else "+"
        return _signed(sign, _quotient(Fraction(match[3]), Fraction(match[5])))
    if match := REPEATING.fullmatch(text):
        start = Fraction(f"{match[2] or 0}.{match[3] or 0}")
        return _signed(match[1], start + Fraction(int(match[4]), (10 ** len(match[4]) - 1) * 10 ** len(match[3])))
    if match := MIXED.fullmatch(text):
        part = _quotient(Fraction(match[3]), Fraction(match[4]))
        return None if part is None else _signed(match[1], int(match[2]) + part)
    return _scientific(text)


def float_noise(*texts: str) -> Fraction | None:
    """How far a float's print may be off the number that its program meant; None where no text is one.

    A text of 15 to 17 significant digits, and no more than one: two of them are two numbers.
    """
    sizes = [abs(Fraction(text)) for text in texts if _is_float(text)]
    return sizes[0] * FLOAT_NOISE if len(sizes) == 1 else None


def _is_float(text: str) -> bool:
    digits = text.lstrip("+-").replace(".", "").lstrip("0")
    return "." in text and bool(PLAIN.fullmatch(text)) and MIN_FLOAT_DIGITS <= len(digits) <= MAX_FLOAT_DIGITS


def rounding_unit(*texts: str) -> Fraction | None:
    """How far the finest of the texts that are decimals may be from a number that it rounds or cuts off.

    One unit of its last place, or of its 15th significant digit where it has more. None where no text is a decimal of
    six significant digits, some of them after the point.
    """
    units = [unit for unit in map(_unit, texts) if unit]
    return min(units, default=None)


def _unit(text: str) -> Fraction | None:
    digits, _, places = text.lstrip("+-").partition(".")
    num_significant = len((digits + places).lstrip("0"))
    if len(text) > MAX_CHARS or not places or not PLAIN.fullmatch(text) or num_significant < MIN_ROUNDED_DIGITS:
        return None
    return Fraction(10) ** (max(0, num_significant - MAX_ROUNDED_DIGITS) - len(places))


def as_percentage(text: str) -> Fraction | None:
    """The number before the sign of a plain percentage: 12.5 for ``12.5%``."""
    match = PERCENT.fullmatch(text)
    return as_rational(match[1]) if match else None


def as_based_integer(text: str) -> tuple[int, int] | None:
    """Value and base of a number with its base as subscript, ``1011_2``; None if it is none."""
    match = BASED.fullmatch(text) if len(text) <= MAX_CHARS else None
    if match is None:
        return None
    base = int(match[2] or match[3])
    try:
        return (int(match[1], base), base) if 2 <= base <= 36 else None
    except ValueError:
        return None


def _scientific(text: str) -> Fraction | None:
    if match := SCIENTIFIC.fullmatch(text):
        exponent = int(match[3] or match[4])
    elif match := E_NOTATION.fullmatch(text):
        exponent = int(match[3])
    else:
        return None
    if abs(exponent) > MAX_EXPONENT:
        return None
    return _signed(match[1], Fraction(match[2] or 1) * Fraction(10) ** exponent)


def _quotient(top: Fraction | None, bottom: Fraction) -> Fraction | None:
    return top / bottom if top is not None and bottom else None


def _signed(sign: str, value: Fraction | None) -> Fraction | None:
    return -value if value is not None and sign == "-" else value
