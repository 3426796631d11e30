"""Answers in words and letters, read from normalised text."""

from __future__ import annotations

import re
from dataclasses import dataclass

CHOICE_LIST = re.compile(r"\(?[A-H]\)?(?:(?:,|;| and | or |, and )\(?[A-H]\)?)+")
CHOICE = re.compile(r"[A-H]")
JOINED_CHOICES = re.compile(r"[A-H]{2,8}")
WORD = re.compile(r"[A-Za-z]{3,}", re.ASCII)
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


def is_word(text: str) -> bool:
    """One word that is no number and no function."""
    return bool(WORD.fullmatch(text)) and text.casefold() not in NUMERIC_WORDS


def is_prose(text: str) -> bool:
    """Words without a digit or a sign of mathematics, one of them of three letters or more; none names a number."""
    if not PROSE.fullmatch(text):
        return False
    words = re.findall(r"[a-z]+", text.casefold())
    return any(len(word) > 2 for word in words) and not NUMERIC_WORDS.intersection(words)
