"""Answers in words and letters, read from normalised text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rstar_core.answers.names import FUNCTIONS, MAX_VARIABLES, WORDS

CHOICE_LIST = re.compile(r"\(?[A-H]\)?(?:(?:,|;| and | or |, and )\(?[A-H]\)?)+")
CHOICE = re.compile(r"[A-H]")
JOINED_CHOICES = re.compile(r"[A-H]{2,8}")
CHOICE_WITH_TEXT = re.compile(
    r"(?:option |choice |answer )?(?:\\(?:text|textbf|textrm|mathrm|mathbf)\{)?\(?(?P<letter>[A-H])"
    r"(?:[).:]\}?|\}\)?[).:]?)(?P<text>.+)",
    re.IGNORECASE,
)
WORD = re.compile(r"[A-Za-z]{2,}", re.ASCII)
PROSE = re.compile(r"[A-Za-z][A-Za-z ,.'!-]*", re.ASCII)
# Words that may be a number, or no number at all, to somebody.
NUMERIC_WORDS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half "
    "third quarter dozen pair once twice double none nothing nil nan inf infinity infinite oo pi sqrt exp log ln sin "
    "cos tan factorial undefined minus plus times over squared cubed".split()
)


@dataclass(frozen=True, slots=True)
class Choices:
    """Options of a multiple-choice question. ``is_list`` says that they were written apart: BC may be a product."""

    letters: frozenset[str]
    is_list: bool


def as_choices(text: str) -> Choices | None:
    letters = re.findall(r"[A-H]", text) if len(text) <= 60 else []
    is_list = bool(CHOICE_LIST.fullmatch(text))
    if len(set(letters)) < len(letters) or not (is_list or JOINED_CHOICES.fullmatch(text)):
        return None
    return Choices(frozenset(letters), is_list)


def is_choice(text: str) -> bool:
    return bool(CHOICE.fullmatch(text))


def choice_with_text(text: str) -> tuple[str, str] | None:
    """The letter and the text of ``(B) 9`` or ``B: 9``."""
    match = CHOICE_WITH_TEXT.fullmatch(text) if len(text) <= 200 else None
    if match is None or not is_choice(match["letter"]) or is_choice(match["text"]):
        return None
    return match["letter"], match["text"]


def is_word(text: str) -> bool:
    """Letters in a row that are no number and no function."""
    return bool(WORD.fullmatch(text)) and text.casefold() not in NUMERIC_WORDS and text.casefold() not in FUNCTIONS


def is_product(text: str) -> bool:
    """Two small letters that are no word: ``xy``."""
    return len(text) == 2 and bool(WORD.fullmatch(text)) and text.islower() and is_word(text) and text not in WORDS


def may_be_one(first: str, second: str) -> bool:
    """Can two different words be the same after all? Few small letters may be a product, capitals a segment."""
    are_names = (first.isupper() and second.isupper()) or (max(len(first), len(second)) <= MAX_VARIABLES)
    return are_names and sorted(first.casefold()) == sorted(second.casefold())


def is_prose(text: str) -> bool:
    """Words without a digit or a sign of mathematics, one of them of three letters or more; none names a number."""
    if not PROSE.fullmatch(text):
        return False
    words = re.findall(r"[a-z]+", text.casefold())
    return any(len(word) > 2 for word in words) and not NUMERIC_WORDS.intersection(words)
