"""Can a grader read a gold answer, so that one in another spelling could be found equal to it?"""

from __future__ import annotations

from rstar_core.answers.brackets import as_collection
from rstar_core.answers.equivalence import Rule, Ruling, Verdict, math_verify_ruling
from rstar_core.answers.exact import as_form, without_name
from rstar_core.answers.notation import MAX_CHARS, normalised
from rstar_core.answers.rational import as_based_integer, as_percentage, as_rational
from rstar_core.answers.units import as_quantity
from rstar_core.answers.wording import as_choices, is_choice, is_prose, is_word
from rstar_core.sandbox.base import Sandbox

READERS = (
    (as_rational, Rule.NUMBER),
    (as_based_integer, Rule.BASE),
    (as_percentage, Rule.PERCENT),
    (as_choices, Rule.CHOICES),
    (as_form, Rule.EXACT_FORM),
    (as_collection, Rule.COLLECTION),
)


async def gold_ruling(gold: str, sandbox: Sandbox) -> Ruling:
    """EQUAL if a rule reads the gold, or if math-verify does and finds what it read equal to itself.

    That the texts are the same does not count: it would be so of any text.
    Plain numbers, words and choices take microseconds and no process; the rest is one comparison in the sandbox.
    """
    return cheap_gold_ruling(gold) or await math_verify_ruling(gold, gold, sandbox)


def cheap_gold_ruling(gold: str) -> Ruling | None:
    """``gold_ruling`` where it takes no process, else None."""
    if len(gold) > MAX_CHARS:
        return Ruling(Verdict.UNDECIDED, Rule.TOO_LONG)
    text = normalised(gold)
    if not text:
        return Ruling(Verdict.UNDECIDED, Rule.EMPTY)
    if is_choice(text) or is_word(text) or is_prose(text):
        return Ruling(Verdict.EQUAL, Rule.WORDS)
    _, text = without_name(as_quantity(text).value)
    for read, rule in READERS:
        if read(text) is not None:
            return Ruling(Verdict.EQUAL, rule)
    return None
