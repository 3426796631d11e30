r"""A number and its unit, read from normalised text: ``5\text{cm}``, ``90^\circ``, ``450 km/h``, ``7 apples``.

A unit is a known one. Any other word beside a number may change its value ("5 factorial") or take it back ("5 is
wrong"), so such a text has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rstar_core.answers.rational import as_rational

MAX_CHARS = 200

# name: (dimension, size in the dimension's first unit)
MEASURES: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(size))
    for dimension, rows in {
        "length": {"mm millimeter millimetre": "1/1000", "cm centimeter centimetre": "1/100", "m meter metre": "1",
                   "km kilometer kilometre": "1000", "in inch inche": "127/5000", "ft foot feet": "381/1250",
                   "yd yard": "1143/1250", "mi mile": "201168/125", "nm nanometer": "1/1000000000",
                   "dm decimeter": "1/10"},
        "time": {"s sec second": "1", "ms millisecond": "1/1000", "min minute": "60", "h hr hour": "3600",
                 "day": "86400", "week": "604800", "month": "2629746", "year yr": "31556952"},
        "mass": {"mg milligram": "1/1000", "g gm gram": "1", "kg kilogram": "1000", "lb pound": "45359237/100000",
                 "oz ounce": "45359237/1600000", "ton tonne": "1000000"},
        "volume": {"ml milliliter millilitre": "1/1000", "l liter litre": "1", "gallon gal": "473176473/125000000",
                   "quart": "473176473/500000000", "pint": "473176473/1000000000", "cup": "473176473/2000000000"},
        "angle": {"degree deg": "1"},
        "radian": {"radian rad": "1"},
        "temperature C": {"celsius": "1"}, "temperature F": {"fahrenheit": "1"}, "temperature K": {"kelvin K": "1"},
        "dollars": {"cent": "1/100", "dollar usd buck": "1"},
        "euros": {"euro": "1"}, "sterling": {"gbp": "1"},
        "frequency": {"hz hertz": "1", "khz kilohertz": "1000"},
        "force": {"newton N": "1"}, "energy": {"joule J": "1", "kj kilojoule": "1000"},
        "power": {"watt W": "1", "kw": "1000"},
        "pressure": {"pascal pa": "1"}, "voltage": {"volt V": "1"}, "current": {"ampere A": "1"},
        "information": {"bit": "1", "byte": "8"},
    }.items()
    for names, size in rows.items()
    for name in names.split()
}  # fmt: skip
DIMENSIONS = frozenset(dimension for dimension, _ in MEASURES.values())
COUNTED = frozenset(
    "can acre animal answer apple arrangement bag ball balloon banana bead bean bird block boat book bottle bouquet "
    "box boxe boy bread brick brownie bus buse bush bushe cake calorie camel candie candle candy car card carrot "
    "case cat chair chicken child children chocolate choice circle class classe coin color combination cookie copie "
    "copy cow crate crayon cupcake customer diagonal digit dog donut dot doughnut dress dresse edge egg element "
    "employee episode face familie family fish flower fruit game girl glass glasse goal goat grape group guest "
    "gumball hat head hen hole horse house integer item jar jellybean jewel kid lap leaf leave lemon letter line "
    "lion loaf loave lollipop man mango marble match matche meal member men mice mouse muffin necklace notebook "
    "number nut object orange outcome pack packet page pancake panda passenger patient peach peache pear pearl "
    "pebble pen pencil penguin penny people permutation person pet photo piece pig pizza plane plant plate player "
    "point pole problem puppie puppy question rabbit rectangle ring rose row sandwich sandwiche sheep shell shirt "
    "shoe show side slice sock solution song spoon square stamp star step sticker stone storie story student subset "
    "team term ticket tile time tomato tomatoe toy train tree triangle trip truck unit value vehicle vertice "
    "visitor vote walnut way win window wolf wolve woman women word worker zebra".split()
)
AREAS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3}
SHORT = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "fps": "ft/s"}
POWERS = {"squared": 2, "cubed": 3}
NAMED_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textrm|textit|rm|operatorname)\{([^{}]*)\}")
DEGREES = re.compile(r"\^\\circ ?")
TAIL = re.compile(
    r"(?<![A-Za-z\\])(?P<unit>[A-Za-z][A-Za-z.]*(?:\^\{?-?\d\}?)?(?:[ /*-]+[A-Za-z][A-Za-z.]*(?:\^\{?-?\d\}?)?)*)$"
)
WORD = re.compile(r"(?P<name>[A-Za-z.]+)(?:\^\{?(?P<power>-?\d)\}?)?|(?P<sign>[/*-])")
ENDS_A_VALUE = re.compile(r"(?:[\d})!]|\\pi)$")
SHARE = re.compile(r"of (?:the|a|an|all|his|her|its|their)(?: [a-z]+){1,4}")


@dataclass(frozen=True, slots=True)
class Unit:
    """``dimensions``: names with their powers, none for a share of something; ``scale``: size in their first units.

    ``is_sure`` is False for a single letter, ``5 m``: only another unit can tell that it is no factor.
    """

    dimensions: tuple[tuple[str, int], ...]
    scale: Fraction
    is_sure: bool = True


@dataclass(frozen=True, slots=True)
class Quantity:
    """``value`` is normalised text without its unit; ``unit`` is None where there is none."""

    value: str
    unit: Unit | None


def as_quantity(text: str) -> Quantity:
    """``text`` without its unit, if it has a known one."""
    if len(text) > MAX_CHARS or not (text[-1:].isalpha() or text[-1:] in (".", "}") or text[-1:].isdigit()):
        return Quantity(text, None)
    plain = DEGREES.sub(" degree ", NAMED_TEXT.sub(r" \1 ", text)).replace(" ^", "^").strip()
    match = TAIL.search(plain)
    value = plain[: match.start()].strip() if match else ""
    if match is None or not text.startswith(value) or not ENDS_A_VALUE.search(value):
        return Quantity(text, None)
    words = match["unit"].strip()
    if SHARE.fullmatch(words.lower()):
        number = as_rational(value)
        return Quantity(value, Unit((), Fraction(1))) if number is not None and 0 < number < 1 else Quantity(text, None)
    unit = _unit(SHORT.get(words.lower(), words), is_named=plain != text)
    return Quantity(value, unit) if unit else Quantity(text, None)


def number_with_unit(text: str) -> Fraction | None:
    """The number of a plain number with or without a unit, else None."""
    return as_rational(as_quantity(text).value)


def _unit(words: str, *, is_named: bool) -> Unit | None:
    powers: dict[str, int] = {}
    scale, sign, area = Fraction(1), 1, 1
    last: tuple[str, Fraction] | None = None
    for word in WORD.finditer(words):
        name = (word["name"] or word["sign"]).removesuffix(".") if word["name"] != "sq." else "sq"
        lowered = name.lower()
        if name in ("/", "per") and last:
            sign = -1
        elif name in ("*", "-") and last:
            continue
        elif lowered in AREAS:
            area = AREAS[lowered]
        elif lowered in POWERS and last:
            more = sign * (POWERS[lowered] - 1)  # "per second squared" has -2 seconds
            powers[last[0]] += more
            scale *= last[1] ** more
            last = None
        elif last and last[0] == "angle" and lowered in ("c", "f", "celsius", "fahrenheit"):
            powers = {f"temperature {lowered[0].upper()}": 1}
        else:
            found = _measure(name)
            if found is None:
                return None
            power = sign * area * int(word["power"] or 1)
            powers[found[0]] = powers.get(found[0], 0) + power
            scale *= found[1] ** power
            last, area = found, 1
    if not powers or area != 1:
        return None
    is_sure = is_named or sign < 0 or any(len(name) > 1 for name in re.findall("[A-Za-z]+", words))
    return Unit(tuple(sorted(powers.items())), scale, is_sure)


def _measure(name: str) -> tuple[str, Fraction] | None:
    """Dimension and size. Capitals tell a kilogram's kg from nothing else, but M and G alone are no metre, no gram."""
    lowered = name.lower()
    if len(name) == 1:
        return MEASURES.get(name)
    for form in (lowered, lowered[:-1] if lowered.endswith("s") and len(lowered) > 3 else lowered):
        if form in MEASURES:
            return MEASURES[form]
        if form in COUNTED:
            return form, Fraction(1)
    return MEASURES.get("lb") if lowered == "lbs" else None
