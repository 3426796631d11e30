"""To what precision a problem asks for its answer, read from its text. Without that, a number is that number only."""

from __future__ import annotations

import re
from fractions import Fraction

from rstar_core.answers.notation import normalised
from rstar_core.answers.rational import MAX_CHARS, as_rational
from rstar_core.answers.units import number_with_unit

NUMERALS = {name: count for count, name in enumerate("one two three four five six seven eight".split(), start=1)}
COUNT = rf"(?P<count>[1-8]|{'|'.join(NUMERALS)})"
PLACES = re.compile(
    rf"\b(?:to|with|using|within)\s+(?:at\s+least\s+)?{COUNT}\s*[- ]?decimal(?:s|\s+(?:places?|digits?))?\b",
    re.IGNORECASE,
)
NEAREST = re.compile(r"\bnearest\s+(?P<name>tenth|hundredth|thousandth|ten[- ]thousandth|cent|penny)s?\b", re.I)
SIGNIFICANT = re.compile(rf"\b{COUNT}\s+significant\s+(?:figures?|digits?)\b", re.IGNORECASE)
NAMED_PLACES = {"tenth": 1, "hundredth": 2, "cent": 2, "penny": 2, "thousandth": 3, "tenthousandth": 4}
DECIMAL = re.compile(r"\d*\.(\d+)", re.ASCII)


def stated_tolerance(text: str, answer: str) -> Fraction | None:
    """Half a unit of the last place that ``text`` asks for; None where it asks for none.

    Only for an ``answer`` that is itself a decimal of no more places: a text may also speak of a precision that its
    numbers have, and of whole ones ("to the nearest dollar") half a unit would let too much pass.
    """
    if len(answer) > MAX_CHARS:
        return None
    decimal = normalised(answer)
    match = DECIMAL.search(decimal)
    number = number_with_unit(decimal.removesuffix("%"))
    if match is None or number is None:
        return None
    num_places = _places(text)
    if num_places is None and (found := SIGNIFICANT.search(text)):
        num_places = _count(found["count"]) - _magnitude(number)
    if num_places is None or not len(match[1]) <= num_places:
        return None
    return Fraction(1, 2 * 10**num_places)


def given_tolerance(text: str) -> Fraction | None:
    """A tolerance as a source gives it, ``1e-3``: positive, else None."""
    number = as_rational(text.strip())
    return number if number and number > 0 else None


def _places(text: str) -> int | None:
    if found := PLACES.search(text):
        return _count(found["count"])
    if found := NEAREST.search(text):
        return NAMED_PLACES[re.sub(r"[- ]", "", found["name"].lower())]
    return None


def _count(numeral: str) -> int:
    return NUMERALS.get(numeral.lower()) or int(numeral)


def _magnitude(number: Fraction) -> int:
    """How many digits stand before the point; -1 for 0.01 to 0.0999…"""
    if not number:
        return 1
    size = 0
    while abs(number) >= Fraction(10) ** size:
        size += 1
    while abs(number) < Fraction(10) ** (size - 1):
        size -= 1
    return size
