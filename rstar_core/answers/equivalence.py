"""Are two answers the same? Exact text, then notation, then exact arithmetic, then math-verify in the sandbox.

Answers are model-written: to a computer algebra system they are code, so none is ever parsed in this process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from importlib.metadata import version

from rstar_core.answers.brackets import LIST, SET, Collection, as_collection
from rstar_core.answers.exact import Form, as_form, letters, without_name
from rstar_core.answers.in_sandbox import LIBRARY, comparison
from rstar_core.answers.notation import MAX_CHARS, normalised
from rstar_core.answers.rational import as_based_integer, as_percentage, as_rational, rounding_unit
from rstar_core.answers.units import as_quantity
from rstar_core.answers.wording import as_choices, is_choice, is_prose, is_word
from rstar_core.sandbox.base import Sandbox, Status

GRADER_VERSION = f"4+math-verify-{version('math-verify')}"  # stored with verdicts; changes whenever one could


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
    return (
        _by_number(gold, answer, tolerance)
        or _by_base(gold, answer)
        or _by_percentage(gold, answer, tolerance)
        or _by_quantity(gold, answer, tolerance)
        or _by_wording(gold, answer)
        or _by_form(gold, answer, tolerance)
        or _by_collection(gold, answer)
    )


async def math_verify_ruling(gold: str, answer: str, sandbox: Sandbox, tolerance: Fraction | None = None) -> Ruling:
    """math-verify's word, asked in both directions: it is not symmetric."""
    if max(len(gold), len(answer)) > MAX_CHARS:
        return Ruling(Verdict.UNDECIDED, Rule.TOO_LONG)
    first, second = sorted((normalised(gold), normalised(answer)))
    unit = rounding_unit(first, second)
    outcome = await sandbox.run([LIBRARY], comparison(first, second, unit, tolerance))
    if outcome.status in (Status.TIMEOUT, Status.OOM, Status.KILLED):
        return Ruling(Verdict.UNDECIDED, Rule.TIMEOUT)
    word = outcome.stdout.removesuffix("\n") if outcome.status is Status.OK else ""
    return _SAID.get(word, Ruling(Verdict.UNDECIDED, Rule.UNREADABLE))


_SAID = {
    "equal": Ruling(Verdict.EQUAL, Rule.MATH_VERIFY),
    "different": Ruling(Verdict.DIFFERENT, Rule.MATH_VERIFY),
    "rounding": Ruling(Verdict.UNDECIDED, Rule.ROUNDING),
    "precision": Ruling(Verdict.EQUAL, Rule.PRECISION),
}


# --- rules ----------------------------------------------------------------------------------------------------


def _by_number(gold: str, answer: str, tolerance: Fraction | None) -> Ruling | None:
    first, second = as_rational(gold), as_rational(answer)
    if first is None or second is None:
        return None
    unit = rounding_unit(gold, answer)
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


def _by_quantity(gold: str, answer: str, tolerance: Fraction | None) -> Ruling | None:
    """Numbers with units, or one of them with a unit, which the other leaves out."""
    first, second = as_quantity(gold), as_quantity(answer)
    if first is None or second is None or not (first.is_sure or second.is_sure):
        return None
    if not (first.is_sure and second.is_sure) and not (first.scale and second.scale):
        return None
    if not first.unit or not second.unit or first.unit == second.unit:
        return _ruling_on_numbers(first.number, second.number, tolerance, Rule.QUANTITY)
    if first.scale and second.scale:
        is_same_kind = first.dimension == second.dimension
        return _ruling(is_same_kind and first.number * first.scale == second.number * second.scale, Rule.QUANTITY)
    return Ruling(Verdict.UNDECIDED if first.number == second.number else Verdict.DIFFERENT, Rule.QUANTITY)


def _by_wording(gold: str, answer: str) -> Ruling | None:
    first, second = as_choices(gold), as_choices(answer)
    if first and second and (first.is_list or second.is_list):
        return _ruling(first.letters == second.letters, Rule.CHOICES)
    if is_choice(gold) and is_choice(answer) and gold != answer:
        return Ruling(Verdict.DIFFERENT, Rule.CHOICES)
    if is_word(gold) and is_word(answer) and sorted(gold) != sorted(answer):
        return Ruling(Verdict.DIFFERENT, Rule.WORDS)
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
    if first.kind != second.kind and {first.kind, second.kind} != {LIST, SET}:
        are_pairs = first.is_pair and second.is_pair  # [3,-1] is neither the point nor the interval (3,-1)
        return Ruling(Verdict.DIFFERENT, Rule.COLLECTION) if are_pairs else None
    if first.has_order:
        is_equal = first.items == second.items
    elif first.is_plain and second.is_plain:
        is_equal = set(first.items) == set(second.items)
    else:
        return None
    if is_equal or (_is_closed(first, gold) and _is_closed(second, answer)):
        return _ruling(is_equal, Rule.COLLECTION)
    return None


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
