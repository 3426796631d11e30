"""One spelling for what is only written differently. No rule may make two different answers look the same."""

from __future__ import annotations

import re
import unicodedata

from rstar_core.answers.extract import unboxed

MAX_CHARS = 2000  # no answer worth having is longer, and every step below is quick up to here

# (?<!\\) leaves the row break of a matrix, two backslashes, alone.
SPELLING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(?:\\text\s*\{)?(?i:(?:therefore|thus|hence|so),? )?(?i:the (?:final )?answer is):?\s*\}?\s*", ""),
        (r"^\s*\$?\s*\\approx(?![A-Za-z])", ""),
        (r"(?<!\\)\\[()\[\]]|\\?\$", ""),  # math delimiters, and the dollar of a price
        (r"\\(?:left|right|displaystyle|limits)(?![A-Za-z])", ""),
        (r"(?<!\\)\\!\s*", ""),
        (r"(?<=\d)\{,\}(?=\d{3})", ","),
        (r"(?<=\d)\\[,;: ]\s*(?=\d{3}(?!\d))", ","),  # 10\,000
        (r"(?<!\\)\\[,;: ]|~|\\quad(?![A-Za-z])|\\qquad(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac\s*(\d|[A-Za-z](?<=\s[A-Za-z])|\\pi(?![A-Za-z]))", r"\\frac{\1}"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d|[A-Za-z]|\\pi(?![A-Za-z]))", r"\1{\2}"),
        (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
        (r"([_^])\{(\w)\}", r"\1\2"),
        (r"\\leq(?![A-Za-z])", r"\\le"),
        (r"\\geq(?![A-Za-z])", r"\\ge"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        (r"\\%", "%"),
        (r"\\(sin|cos|tan|cot|sec|csc)\s*\(?(\d{1,4})\s*\^\s*\{?\\circ\}?\)?", r"\\\1(\\frac{\2\\pi}{180})"),
        (r"^\\\{\s*([a-z])\s*(?::|\||\\mid(?![A-Za-z]))\s*([^{}]*(?:[<>]|\\[lg]e(?![A-Za-z]))[^{}]*)\\\}$", r"\2"),
    )
)
SPACING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\s+", " "),
        (r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", ""),  # a space tells nothing unless it parts two words or numbers
        (r"(\\[A-Za-z]+) (?![A-Za-z])", r"\1"),
        (r"\.$", ""),
    )
)
WHOLE_ANSWER_WRAPPERS = (
    re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|boxed)\{([^{}]*)\}"),
    re.compile(r"\{([^{},]*)\}"),
    re.compile(r"\(([A-Za-z])\)"),  # a choice: (A)
)
NESTED_NUMBER = re.compile(r"(\(+)([+-]?[\d.]+)(\)+)")
# A comma with a space is a list's, and so is one inside brackets: (1,234) is a pair.
THOUSANDS = re.compile(r"(?<![\d,.(\[{])[1-9]\d{0,2}(?:,\d{3})+(?![\d,)\]}])")
WORD = re.compile(r"[A-Za-z]?[a-z]{2,}(?: [A-Za-z]+)*|[Nn]o")  # not ABC: capitals may be points or quantities


def normalised(text: str) -> str:
    """``text`` in the one spelling, for comparison only. Texts over ``MAX_CHARS`` come back as they are."""
    if len(text) > MAX_CHARS:
        return text
    text = unboxed("".join(map(_plain_character, text)).strip())
    for pattern, replacement in SPELLING:
        text = pattern.sub(replacement, text)
    text = THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)
    for pattern, replacement in SPACING:
        text = pattern.sub(replacement, text)
    text = _unwrapped(text.strip())
    return text.casefold() if WORD.fullmatch(text) else text


def _plain_character(character: str) -> str:
    """ASCII for any script's digit, nothing for what can't be seen."""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    return "" if unicodedata.category(character) == "Cf" else character


def _unwrapped(text: str) -> str:
    """The inside of wrappers that hold the whole answer: \\text{...}, {...}, and the choice (A)."""
    nested = NESTED_NUMBER.fullmatch(text)
    if nested and len(nested[1]) == len(nested[3]):
        return nested[2]
    before = ""
    while text != before:
        before = text
        for wrapper in WHOLE_ANSWER_WRAPPERS:
            if match := wrapper.fullmatch(text):
                text = match.group(1).strip().removesuffix(".")
    return text
