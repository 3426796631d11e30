"""Are two answers the same? Exact text, then notation, then exact arithmetic, then math-verify in the sandbox.

Answers are model-written: to a computer algebra system they are code, so none is ever parsed in this process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from importlib.metadata import version

from rstar_core.answers.brackets import LIST, SET, UNION, Collection, as_collection
from rstar_core.answers.exact import Form, as_form, letters, without_name
from rstar_core.answers.in_sandbox import LIBRARY, Margins, comparison
from rstar_core.answers.names import in_single_letters
from rstar_core.answers.notation import MAX_CHARS, normalised, without_noise
from rstar_core.answers.rational import as_based_integer, as_percentage, as_rational, float_noise, rounding_unit
from rstar_core.answers.units import DIMENSIONS, Quantity, as_quantity
from rstar_core.answers.wording import (
    as_choices,
    choice_with_text,
    is_choice,
    is_product,
    is_prose,
    is_word,
    may_be_one,
)
from rstar_core.sandbox.base import Sandbox, Status

GRADER_VERSION = f"7+math-verify-{version('math-verify')}"  # stored with verdicts; changes whenever one could


class Verdict(StrEnum):
    """UNDECIDED is no negative: it must never become a label."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


class Rule(StrEnum):
    """What decided, or why nothing could."""

    EMPTY = "empty"
    EXACT = "exact"
    NORMALISED = "normalised"
    NUMBER = "number"
    FLOAT = "float"  # one is the other, as far as a float's arithmetic can tell
    PRECISION = "precision"  # within what the problem allows
    ROUNDING = "rounding"  # one is the other, cut off after six digits or more: nobody said to what precision
    BASE = "base"
    PERCENT = "percent"
    QUANTITY = "quantity"
    EXACT_FORM = "exact_form"  # numbers with roots and pi, polynomials
    COLLECTION = "collection"
    CHOICES = "choices"
    WORDS = "words"
    MATH_VERIFY = "math_verify"
    UNREADABLE = "unreadable"  # to math-verify
    TOO_LONG = "too_long"
    TIMEOUT = "timeout"  # processor time or memory


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict with the rule it rests on and the version of the grader."""

    verdict: Verdict
    rule: Rule
    version: str = GRADER_VERSION


def ruling_from_row(row: Mapping[str, str]) -> Ruling:
    """The ruling that ``dataclasses.asdict`` turned into ``row``."""
    return Ruling(Verdict(row["verdict"]), Rule(row["rule"]), row["version"])


async def equivalent(gold: str, answer: str, sandbox: Sandbox, tolerance: Fraction | None = None) -> Ruling:
    """Whether the two are the same answer, in either order; no decimal stands for a number that it only approximates.

    With a ``tolerance``, which the problem must have stated, two numbers that lie no further apart are equal.
    UNDECIDED where that can't be told within the sandbox's limits. Never raises for anything in the texts.
    """
    return cheap_ruling(gold, answer, tolerance) or await math_verify_ruling(gold, answer, sandbox, tolerance)


def cheap_ruling(gold: str, answer: str, tolerance: Fraction | None = None) -> Ruling | None:
    """What text and exact arithmetic can tell, in microseconds; None where they can't."""
    if not gold.strip() or not answer.strip():
        return Ruling(Verdict.DIFFERENT, Rule.EMPTY)
    if gold == answer:
        return Ruling(Verdict.EQUAL, Rule.EXACT)
    if max(len(gold), len(answer)) > MAX_CHARS:
        return Ruling(Verdict.UNDECIDED, Rule.TOO_LONG)
    return ruling_on_normalised(normalised(gold), normalised(answer), tolerance)


def ruling_on_normalised(gold: str, answer: str, tolerance: Fraction | None = None) -> Ruling | None:
    """``cheap_ruling`` for texts that are ``normalised`` already."""
    if not gold or not answer:
        return Ruling(Verdict.DIFFERENT if gold or answer else Verdict.UNDECIDED, Rule.EMPTY)
    if gold == answer:
        return Ruling(Verdict.EQUAL, Rule.NORMALISED)
    bare = without_labels(*without_noise(gold, answer))
    if isinstance(bare, Ruling):
        return bare
    gold, answer = bare
    if gold == answer:
        return Ruling(Verdict.EQUAL, Rule.NORMALISED)
    return (
        _by_number(gold, answer, tolerance)
        or _by_base(gold, answer)
        or _by_percentage(gold, answer, tolerance)
        or _by_wording(gold, answer)
        or _by_form(gold, answer, tolerance)
        or _by_collection(gold, answer)
    )


async def math_verify_ruling(gold: str, answer: str, sandbox: Sandbox, tolerance: Fraction | None = None) -> Ruling:
    """math-verify's word, asked in both directions: it is not symmetric."""
    if max(len(gold), len(answer)) > MAX_CHARS:
        return Ruling(Verdict.UNDECIDED, Rule.TOO_LONG)
    first, second = sorted((normalised(gold), normalised(answer)))
    bare = without_labels(*without_noise(first, second))
    if isinstance(bare, Ruling):
        return bare
    named = in_single_letters(*bare)
    if named is None:
        return Ruling(Verdict.UNDECIDED, Rule.WORDS)
    margins = Margins(rounding_unit(*bare), tolerance, float_noise(*bare))
    outcome = await sandbox.run([LIBRARY], comparison(*named, margins))
    if outcome.status in (Status.TIMEOUT, Status.OOM, Status.KILLED):
        return Ruling(Verdict.UNDECIDED, Rule.TIMEOUT)
    word = outcome.stdout.removesuffix("\n") if outcome.status is Status.OK else ""
    if word == "different" and _differ_in_case(*bare):
        return Ruling(Verdict.UNDECIDED, Rule.WORDS)
    return _SAID.get(word, Ruling(Verdict.UNDECIDED, Rule.UNREADABLE))


_SAID = {
    "equal": Ruling(Verdict.EQUAL, Rule.MATH_VERIFY),
    "different": Ruling(Verdict.DIFFERENT, Rule.MATH_VERIFY),
    "rounding": Ruling(Verdict.UNDECIDED, Rule.ROUNDING),
    "precision": Ruling(Verdict.EQUAL, Rule.PRECISION),
    "float": Ruling(Verdict.EQUAL, Rule.FLOAT),
}


# --- labels: units, the letter of a choice ---------------------------------------------------------------------


def without_labels(gold: str, answer: str) -> tuple[str, str] | Ruling:
    """The two values, where a unit or a choice's letter stands beside one or both; a ruling if these decide."""
    first, second = choice_with_text(gold), choice_with_text(answer)
    if first or second:
        return _without_choice(first or _choice(gold), second or _choice(answer))
    one, other = as_quantity(gold), as_quantity(answer)
    if one.unit is None and other.unit is None:
        return gold, answer
    if one.unit and other.unit:
        return _without_units(one, other) if one.unit.is_sure or other.unit.is_sure else (gold, answer)
    if letters_of(gold if one.unit is None else answer):
        return gold, answer
    if all(unit.is_sure for unit in (one.unit, other.unit) if unit):
        return one.value, other.value
    is_same = as_rational(one.value) == as_rational(other.value) is not None
    return Ruling(Verdict.UNDECIDED, Rule.QUANTITY) if is_same else (gold, answer)


def letters_of(text: str) -> str:
    """The letters of ``text`` that are no LaTeX command's."""
    return "".join(filter(str.isalpha, COMMAND.sub("", without_name(text)[1])))


def _differ_in_case(first: str, second: str) -> bool:
    """Only so: the constant of an integral may be written C or c, but H and h may be two heights."""
    one, other = set(letters_of(first)), set(letters_of(second))
    return one != other and {letter.lower() for letter in one} == {letter.lower() for letter in other}


COMMAND = re.compile(r"\\[A-Za-z]+")


def _choice(text: str) -> tuple[str, str]:
    return (text, "") if is_choice(text) else ("", text)


def _without_choice(first: tuple[str, str], second: tuple[str, str]) -> tuple[str, str] | Ruling:
    """By the letters where both have one, else by what stands beside them."""
    (letter, text), (other_letter, other_text) = first, second
    if letter and other_letter:
        if letter != other_letter:
            return Ruling(Verdict.DIFFERENT, Rule.CHOICES)
        return (text, other_text) if text and other_text else Ruling(Verdict.EQUAL, Rule.CHOICES)
    return (text, other_text) if text and other_text else Ruling(Verdict.UNDECIDED, Rule.CHOICES)


def _without_units(first: Quantity, second: Quantity) -> tuple[str, str] | Ruling:
    """The values where the units are the same, else the numbers in one unit."""
    one, other = first.unit, second.unit
    if one is None or other is None or (one.dimensions, one.scale) == (other.dimensions, other.scale):
        return first.value, second.value
    number, other_number = as_rational(first.value), as_rational(second.value)
    are_measured = all(name in DIMENSIONS for unit in (one, other) for name, _ in unit.dimensions)
    if one.dimensions == other.dimensions and number is not None and other_number is not None:
        return _ruling(number * one.scale == other_number * other.scale, Rule.QUANTITY)
    if one.dimensions != other.dimensions and are_measured and one.dimensions and other.dimensions:
        is_angle = {one.dimensions[0][0], other.dimensions[0][0]} == {"angle", "radian"}
        return Ruling(Verdict.UNDECIDED if is_angle else Verdict.DIFFERENT, Rule.QUANTITY)
    is_different = number is not None and other_number is not None and number != other_number
    return Ruling(Verdict.DIFFERENT if is_different else Verdict.UNDECIDED, Rule.QUANTITY)


# --- rules ----------------------------------------------------------------------------------------------------


def _by_number(gold: str, answer: str, tolerance: Fraction | None) -> Ruling | None:
    first, second = as_rational(gold), as_rational(answer)
    if first is None or second is None:
        return None
    unit, noise = rounding_unit(gold, answer), float_noise(gold, answer)
    if first != second and noise and abs(first - second) <= noise:
        return Ruling(Verdict.EQUAL, Rule.FLOAT)
    if first != second and unit and abs(first - second) < unit and not _is_within(first, second, tolerance):
        return Ruling(Verdict.UNDECIDED, Rule.ROUNDING)
    return _ruling_on_numbers(first, second, tolerance, Rule.NUMBER)


def _by_base(gold: str, answer: str) -> Ruling | None:
    """A number that leaves its base out has the other's base; the decimal value may only restate the problem."""
    first, second = as_based_integer(gold), as_based_integer(answer)
    if first and second:
        return _ruling(first[0] == second[0], Rule.BASE)
    based, plain = (first, answer) if first else (second, gold)
    if based is None or not plain.isalnum():
        return None
    if f"{plain}_" in (gold + answer):
        written = gold if first else answer
        if written.partition("_")[0] == plain:
            return Ruling(Verdict.EQUAL, Rule.BASE)
    return Ruling(Verdict.UNDECIDED if as_rational(plain) == based[0] else Verdict.DIFFERENT, Rule.BASE)


def _by_percentage(gold: str, answer: str, tolerance: Fraction | None) -> Ruling | None:
    """12.5% is 12.5 to a question that asks for a percentage, and 0.125 to any other."""
    for one, other in ((gold, answer), (answer, gold)):
        percentage, number = as_percentage(one), as_rational(other)
        if percentage is not None and number is not None:
            if number == percentage / 100:
                return Ruling(Verdict.EQUAL, Rule.PERCENT)
            return _ruling_on_numbers(percentage, number, tolerance, Rule.PERCENT)
    first, second = as_percentage(gold), as_percentage(answer)
    if first is None or second is None:
        return None
    return _ruling_on_numbers(first, second, tolerance, Rule.PERCENT)


def _by_wording(gold: str, answer: str) -> Ruling | None:
    first, second = as_choices(gold), as_choices(answer)
    if first and second and (first.is_list or second.is_list):
        return _ruling(first.letters == second.letters, Rule.CHOICES)
    if is_choice(gold) and is_choice(answer) and gold != answer:
        return Ruling(Verdict.DIFFERENT, Rule.CHOICES)
    if (first and first.is_list and is_choice(answer)) or (second and second.is_list and is_choice(gold)):
        return Ruling(Verdict.DIFFERENT, Rule.CHOICES)
    if is_product(gold) and is_product(answer) and sorted(gold) == sorted(answer):
        return Ruling(Verdict.EQUAL, Rule.EXACT_FORM)
    if is_word(gold) and is_word(answer):
        return Ruling(Verdict.UNDECIDED if may_be_one(gold, answer) else Verdict.DIFFERENT, Rule.WORDS)
    for one, other in ((gold, answer), (answer, gold)):
        if is_prose(one) and as_rational(other) is not None:
            return Ruling(Verdict.DIFFERENT, Rule.WORDS)
    return None


def _by_form(gold: str, answer: str, tolerance: Fraction | None) -> Ruling | None:
    """Sums of roots and powers of pi, and polynomials; ``x=5`` is the 5 that it gives."""
    (first_name, gold), (second_name, answer) = without_name(gold), without_name(answer)
    first, second = as_form(gold), as_form(answer)
    if first is None or second is None or (first_name and second_name and first_name != second_name):
        return None
    if first == second:
        return Ruling(Verdict.EQUAL, Rule.EXACT_FORM)
    if tolerance is not None or rounding_unit(gold, answer) or not _are_comparable(first, second):
        return None
    return Ruling(Verdict.DIFFERENT, Rule.EXACT_FORM) if first_name == second_name or not letters(first) else None


def _are_comparable(first: Form, second: Form) -> bool:
    """In the same letters; or a number and a sum with letters: a single term may be a number with its unit."""
    if letters(first) == letters(second):
        return True
    return (not letters(first) and len(second) > 1) or (not letters(second) and len(first) > 1)


def _by_collection(gold: str, answer: str) -> Ruling | None:
    first, second = as_collection(gold), as_collection(answer)
    for collection, text, other in ((first, gold, answer), (second, answer, gold)):
        if collection and collection.is_many and not THOUSANDS.search(text) and as_rational(other) is not None:
            return Ruling(Verdict.DIFFERENT, Rule.COLLECTION)
    if first is None or second is None:
        return None
    if first.has_order and second.has_order:
        if first.kind != second.kind:
            if first.items == second.items and len(first.items) > 2:
                return Ruling(Verdict.EQUAL, Rule.COLLECTION)  # a program's list is a vector
            are_pairs = first.is_pair and second.is_pair  # [3,-1] is neither the point nor the interval (3,-1)
            return Ruling(Verdict.DIFFERENT if are_pairs else Verdict.UNDECIDED, Rule.COLLECTION)
        is_equal = first.items == second.items
    else:
        is_equal = Counter(first.items) == Counter(second.items)
        if not is_equal and set(first.items) == set(second.items):
            return Ruling(Verdict.UNDECIDED, Rule.COLLECTION)  # roots may be counted with their multiplicity
        if is_equal and not _are_alike(first, second):
            return Ruling(Verdict.UNDECIDED, Rule.COLLECTION)
    if UNION in (first.kind, second.kind) and not is_equal:
        return None  # an interval may be written in two parts
    if is_equal or (_is_closed(first, gold) and _is_closed(second, answer)):
        return _ruling(is_equal, Rule.COLLECTION)
    return None


def _are_alike(first: Collection, second: Collection) -> bool:
    """Lists and sets are; a program's list, in square brackets, is a list; a point is no set."""
    kinds = {first.kind, second.kind}
    if kinds <= {LIST, SET} or kinds == {UNION} or kinds == {LIST, "[]"}:
        return True
    return (kinds == {"[]", SET} and len(first.items) > 2) or (LIST in kinds and first.items == second.items)


THOUSANDS = re.compile(r"\d,\d{3}(?!\d)")  # (1,234) and 1, 234 may be the number to somebody
LONG_DECIMAL = re.compile(r"[\d.]{7,}")


def _is_closed(collection: Collection, text: str) -> bool:
    """No letter, whose value nobody knows, and no decimal that may be the rounding of another number."""
    return collection.is_closed and not any("." in match for match in LONG_DECIMAL.findall(text))


def _ruling_on_numbers(first: Fraction, second: Fraction, tolerance: Fraction | None, rule: Rule) -> Ruling:
    if first != second and _is_within(first, second, tolerance):
        return Ruling(Verdict.EQUAL, Rule.PRECISION)
    return _ruling(first == second, rule)


def _is_within(first: Fraction, second: Fraction, tolerance: Fraction | None) -> bool:
    return tolerance is not None and abs(first - second) <= tolerance


def _ruling(is_equal: bool, rule: Rule) -> Ruling:
    return Ruling(Verdict.EQUAL if is_equal else Verdict.DIFFERENT, rule)


# --- memory ---------------------------------------------------------------------------------------------------


class Grader:
    """``equivalent`` with a memory: a pair is judged once, however it is spelled and whichever comes first."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._rulings: dict[_Key, Ruling] = {}
        self._by_math_verify: dict[_Key, Ruling] = {}

    async def verdict(self, gold: str, answer: str, tolerance: Fraction | None = None) -> Verdict:
        """See ``equivalent``."""
        return (await self.ruling(gold, answer, tolerance)).verdict

    async def ruling(self, gold: str, answer: str, tolerance: Fraction | None = None) -> Ruling:
        """See ``equivalent``."""
        if not gold.strip() or not answer.strip() or gold == answer or max(len(gold), len(answer)) > MAX_CHARS:
            return await equivalent(gold, answer, self._sandbox, tolerance)
        key = _key(gold, answer, tolerance)
        if key not in self._rulings:
            self._rulings[key] = ruling_on_normalised(*key) or await self.math_verify(gold, answer, tolerance)
        return self._rulings[key]

    async def math_verify(self, gold: str, answer: str, tolerance: Fraction | None = None) -> Ruling:
        """The word of math-verify alone: a second opinion on a cheap one."""
        key = _key(gold, answer, tolerance)
        if key not in self._by_math_verify:
            self._by_math_verify[key] = await math_verify_ruling(gold, answer, self._sandbox, tolerance)
        return self._by_math_verify[key]


_Key = tuple[str, str, Fraction | None]


def _key(gold: str, answer: str, tolerance: Fraction | None) -> _Key:
    first, second = sorted((normalised(gold), normalised(answer)))
    return first, second, tolerance
