"""A number with a unit, read from normalised text: ``5\\text{cm}``, ``12 meters``, ``90^\\circ``, ``7 apples``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rstar_core.answers.rational import MAX_CHARS, as_rational

# name: (dimension, size in the dimension's first unit)
SCALES: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(size))
    for dimension, rows in {
        "length": {"mm millimeter": "1/1000", "cm centimeter": "1/100", "m meter": "1", "km kilometer": "1000",
                   "in inch": "127/5000", "ft foot feet": "381/1250", "yd yard": "1143/1250", "mile": "201168/125"},
        "time": {"s sec second": "1", "min minute": "60", "h hr hour": "3600", "day": "86400", "week": "604800"},
        "mass": {"mg milligram": "1/1000", "g gram": "1", "kg kilogram": "1000"},
        "volume": {"ml milliliter": "1/1000", "l liter": "1"},
        "angle": {"degree deg": "1"},
        "money": {"cent": "1/100", "dollar usd": "1"},
    }.items()
    for names, size in rows.items()
    for name in names.split()
}  # fmt: skip
NO_UNITS = frozenset("and at but except for if least less mod more most not or over than to unless when with".split())
ALIASES = {"inches": "inch", "metres": "meter", "metre": "meter", "litre": "liter", "litres": "liter"}
NUMBER = r"(?P<number>[+-]?(?:[\d.]+(?:\\frac\{\d+\}\{\d+\})?|\\frac\{[\d.]+\}\{[\d.]+\}|\d+/\d+))"
TEXT = r"\\(?:text|mathrm|mbox|textrm)\{ ?(?P<text>[A-Za-z][A-Za-z /.]*)\}"
QUANTITY = re.compile(
    NUMBER
    + r"(?:(?P<degrees>\^\\circ|\^\{\\circ\}|°)|(?: ?"
    + TEXT
    + r"| (?P<words>[A-Za-z]{2,}(?: [A-Za-z]+)?|[mgsh]))"
    r"(?P<power>\^[23])?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """``unit`` is empty where there is none; ``scale`` is None for a unit that the table does not know.

    ``is_sure`` is False for a single letter, ``5 m``: only another unit can tell that it is no factor.
    """

    number: Fraction
    unit: str
    dimension: str = ""
    scale: Fraction | None = None
    is_sure: bool = True


def as_quantity(text: str) -> Quantity | None:
    """A plain number with at most one unit, else None."""
    match = QUANTITY.fullmatch(text) if len(text) <= MAX_CHARS else None
    number = as_rational(match["number"]) if match else None
    if (
        match is None
        or number is None
        or not NO_UNITS.isdisjoint((match["text"] or match["words"] or "").lower().split())
    ):
        return None
    name = "degree" if match["degrees"] else _singular((match["text"] or match["words"] or "").strip().lower())
    power = int(match["power"][1]) if match["power"] else 1
    unit = f"{name}^{power}" if power > 1 else name
    if name not in SCALES:
        return Quantity(number, unit)
    dimension, scale = SCALES[name]
    return Quantity(number, unit, f"{dimension}^{power}", scale**power, len(match["words"] or "unit") > 1)


def _singular(name: str) -> str:
    name = ALIASES.get(name, name).removesuffix(".")
    return name[:-1] if len(name) > 2 and name.endswith("s") else name
