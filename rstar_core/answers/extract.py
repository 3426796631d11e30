"""Finds the answer in the text of an answer step."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

BOX_OPENS = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{")
BARE_BOX = re.compile(r"\\boxed[ \t]+([A-Za-z0-9+-][A-Za-z0-9./+-]*)")  # as TeX reads it, but of more than one letter
BOXES = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")  # with what is in them, one brace deep
WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")  # that are no command's
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # a backslash takes the next character with it, so \{ is no brace
JOINS = re.compile(r"[\s$]*(?:(?P<mark>[,;])|,?[\s$]*(?:\\text\{\s*)?(?P<word>and|or)(?:\s*\})?)[\s$]*")


class Missing(StrEnum):
    """Why there is no answer."""

    NO_BOX = "no box"
    OPEN_BOX = "the last box is left open"
    EMPTY_BOX = "the last box is empty"


@dataclass(frozen=True, slots=True)
class Extraction:
    """``answer`` is stripped and not empty; it is None if ``missing`` says why."""

    answer: str | None
    missing: Missing | None = None


def extract(answer_text: str) -> Extraction:
    r"""What stands in the last ``\boxed{...}``.

    Boxes with nothing but a comma, "and" or "or" between them are one answer: ``\boxed{3} or \boxed{4}`` is no 4.
    """
    answer_text = BARE_BOX.sub(r"\\boxed{\1}", answer_text)
    openings = list(BOX_OPENS.finditer(answer_text))
    if not openings:
        return Extraction(None, Missing.NO_BOX)
    start = openings[-1].end()
    end = _closing(answer_text, start)
    if end is None:
        return Extraction(None, Missing.OPEN_BOX)
    inside = answer_text[start:end].strip()
    if not inside:
        return Extraction(None, Missing.EMPTY_BOX)
    return Extraction(_joined(answer_text, openings, inside))


def extract_answer(answer_text: str) -> str | None:
    """``extract`` without the reason."""
    return extract(answer_text).answer


def unboxed(text: str) -> str:
    r"""The inside of a ``\boxed{...}`` that is the whole text, also of one in another, with a full stop after it."""
    while (opening := BOX_OPENS.match(text)) and text.rstrip(" .").endswith("}"):
        whole = text.rstrip(" .")
        if _closing(whole, opening.end()) != len(whole) - 1:
            return text
        text = whole[opening.end() : -1].strip()
    return text


def _joined(text: str, openings: list[re.Match[str]], last: str) -> str:
    """``last`` with the boxes before it that are only joined to it."""
    answer, end = last, openings[-1].start()
    for opening in reversed(openings[:-1]):
        close = _closing(text, opening.end(), end)
        join = JOINS.fullmatch(text, close + 1, end) if close is not None else None
        if close is None or join is None:
            break
        answer = f"{text[opening.end() : close].strip()}{' or ' if join['word'] == 'or' else ', '}{answer}"
        end = opening.start()
    return answer


def _closing(text: str, start: int, stop: int | None = None) -> int | None:
    """Where the brace that was opened before ``start`` closes."""
    depth = 1
    for brace in BRACE.finditer(text, start, len(text) if stop is None else stop):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return brace.start()
    return None
