"""One spelling for what is only written differently. No rule may make two different answers look the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

from rstar_core.answers.characters import in_latex, with_backslashes
from rstar_core.answers.extract import unboxed
from rstar_core.answers.printed import as_latex
from rstar_core.answers.rational import FLOAT_NOISE, MAX_FLOAT_DIGITS, MIN_FLOAT_DIGITS

MAX_CHARS = 2000  # no answer worth having is longer, and every step below is quick up to here

Rules = tuple[tuple[str, re.Pattern[str], str], ...]


def _rules(rows: Iterable[tuple[str, str, str]]) -> Rules:
    return tuple((needed, re.compile(pattern), replacement) for needed, pattern, replacement in rows)


# (text without which the rule changes nothing, pattern, replacement): most answers have few of these texts, and to look
# for one takes a tenth of the time of a pattern. (?<!\\) leaves the row break of a matrix, two backslashes, alone.
FRAME = _rules(
    (
        (" ", r"^(?:\\text\s*\{)?(?i:(?:therefore|thus|hence|so),? )?(?i:the (?:final )?answer is):?\s*\}?\s*", ""),
        ("=", r"^(?:(?<!\\)\$)?\s*=\s*", ""),
        (r"\approx", r"^(?:(?<!\\)\$)?\s*\\approx(?![A-Za-z])\s*", ""),
        ("$", r"^([+-]?)\s*\\?\$\s*([+-]?(?:\d[\d,]*)?\.?\d+(?: [a-z]+illion| thousand)?)\.?$", r"\1\2 dollars"),
        ("USD ", r"^([+-]?)\s*USD \s*([+-]?(?:\d[\d,]*)?\.?\d+(?: [a-z]+illion| thousand)?)\.?$", r"\1\2 dollars"),
        ("€", r"^([+-]?)\s*€\s*([+-]?[\d.,]*\d)\.?$", r"\1\2 euros"),
        ("£", r"^([+-]?)\s*£\s*([+-]?[\d.,]*\d)\.?$", r"\1\2 gbp"),
        ("\\", r"(?<!\\)\\[()\[\]]", ""),  # math delimiters
        ("$", r"\\?\$", ""),
        ("", r"^(?i:option|choice)\s+\(?([A-H])\)?\.?$", r"\1"),
        ("per", r"(?<=[\d}])\s*(?:\\text\s*\{\s*)?per ?cent\s*\}?$", "%"),
    )
)
SPELLING = _rules(
    (
        ("\\", r"\\(?:left|right|displaystyle|limits)(?![A-Za-z])", ""),
        (r"\!", r"(?<!\\)\\!\s*", ""),
        ("{,}", r"(?<=\d)\{,\}(?=\d{3})", ","),
        ("\\", r"(?<=\d)\\[,;: ]\s*(?=\d{3}(?!\d))", ","),  # 10\,000
        ("\\", r"(?<!\\)\\[,;: ]|\\q?quad(?![A-Za-z])", " "),
        ("~", r"~", " "),
        ("frac", r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        ("frac", r"\\frac\s*(\d|[A-Za-z](?<=\s[A-Za-z])|\\pi(?![A-Za-z]))", r"\\frac{\1}"),
        ("frac", r"(\\frac\s*\{[^{}]*\})\s*(\d|[A-Za-z]|\\pi(?![A-Za-z]))", r"\1{\2}"),
        ("sqrt", r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
        ("{", r"([_^])\{(\w)\}", r"\1\2"),
        (";", r";", ","),
        ("{", r"\\(?:mathbf|boldsymbol|vec)\s*\{([A-Za-z])\}", r"\1"),
        (r"\leq", r"\\leq(?:slant)?(?![A-Za-z])", r"\\le"),
        (r"\geq", r"\\geq(?:slant)?(?![A-Za-z])", r"\\ge"),
        (r"\varnothing", r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        ("", r"(?<![A-Za-z\\{])((?:arc)?(?:sin|cos|tan|cot)|sec|csc|(?:sin|cos|tan)h|ln|log)(?![A-Za-z}])", r"\\\1"),
        (r"\%", r"\\%", "%"),
        (r"\circ", r"\^\{\s*\\circ\s*\}", r"^\\circ"),
        ("oo", r"(?<![A-Za-z\\])oo(?![A-Za-z])", r"\\infty"),
        (" ", r"^(\d{1,3}) (\d{3})(?: (\d{3}))?(?: (\d{3}))?$", r"\1\2\3\4"),  # 10 000
        ("<=", r"<=", r"\\le "),
        (">=", r">=", r"\\ge "),
        (r"\circ", r"\\(sin|cos|tan|cot|sec|csc)\s*\(?(\d{1,4})\s*\^\s*\{?\\circ\}?\)?", r"\\\1(\\frac{\2\\pi}{180})"),
        (
            r"\{",
            r"^\\\{\s*([a-z])\s*(?::|\||\\mid(?![A-Za-z]))\s*([^{}]*(?:[<>]|\\[lg]e(?![A-Za-z]))[^{}]*)\\\}$",
            r"\2",
        ),
    )
)
SPACING = _rules(
    (
        ("", r"\s+", " "),
        (" ", r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", ""),  # tells nothing unless it parts two words or numbers
        (" ", r"(\\[A-Za-z]+) (?![A-Za-z])", r"\1"),
        (".", r"\.$", ""),
    )
)
WHOLE_ANSWER_WRAPPERS = (
    re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|boxed|fbox|framebox|underline)\{([^{}]*)\}"),
    re.compile(r"\{([^{},]*)\}"),
    re.compile(r"\(([A-Za-z])\)"),  # a choice: (A)
)
NESTED_NUMBER = re.compile(r"(\(+)([+-]?[\d.]+)(\)+)")
# A comma with a space is a list's, and so is one inside brackets: (1,234) is a pair.
THOUSANDS = re.compile(r"(?<![\d,.(\[{])[1-9]\d{0,2}(?:,\d{3})+(?![\d,)\]}])")
WORD = re.compile(
    r"[A-Za-z]?[a-z]{2,}(?: [A-Za-z]+)*|[A-Z]?[a-z]+(?: [A-Za-z]+)+|[Nn]o"
)  # not ABC: capitals may be points or quantities


MARKUP = re.compile(r"(?P<mark>\*\*|__|`+|\*(?=[^*]+\*$))(?P<inside>.+)(?P=mark)\.?", re.DOTALL)
GROUPED = re.compile(r"(?<![\w.])\d{1,3}(?:_\d{3})+(?!\w)")  # 1_000 of a program; 1011_2 has its base
MIXED = re.compile(r"^([+-]?\d{1,9}) (?:and )?(\d{1,9})/(\d{1,9})(?=$| ?[A-Za-z\\])")
SCALED = re.compile(r"^([+-]?\d{1,30}(?:\.\d{1,30})?) ?(?:\\text\{ ?)?(hundred|thousand|[mbtr]+illion|dozen)\b\}?")
SCALES = {"hundred": 100, "dozen": 12, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
OR = re.compile(r"\\text\{ ?(?i:or) ?\}|(?<=[A-Za-z0-9]) or (?=[A-Za-z0-9])|\\(?:lor|vee)(?![A-Za-z])")
VALUE = r"[^<>=,\\]*(?:\\(?!le|ge|in|text)[A-Za-z]+[^<>=,\\]*)*"
LESS = r"(?P<%s><|\\le(?![A-Za-z])) ?"
BELOW = re.compile(rf"(?P<letter>[a-z]){LESS % 'sign'}(?P<value>{VALUE})")
ABOVE = re.compile(rf"(?P<letter>[a-z])(?P<sign>>|\\ge(?![A-Za-z])) ?(?P<value>{VALUE})")
BETWEEN = re.compile(rf"(?P<low>{VALUE}){LESS % 'first'}(?P<letter>[a-z]){LESS % 'second'}(?P<high>{VALUE})")
NOISY = re.compile(r"(?<![\w.])\d{0,17}\.\d{8,25}(?![\w.])")  # 0.1 + 0.2 is 0.30000000000000004
MAX_MEANT_DIGITS = 10


def normalised(text: str) -> str:
    """``text`` in the one spelling, for comparison only. Texts over ``MAX_CHARS`` come back as they are."""
    if len(text) > MAX_CHARS:
        return text
    text = unboxed(_unmarked(in_latex(with_backslashes(text)).strip()))
    text = unboxed(_replaced(text, FRAME).strip())
    text = as_latex(_joined(text, GROUPED, "_"))
    text = _joined(_replaced(text, SPELLING), THOUSANDS, ",")
    text = _unwrapped(_replaced(text, SPACING).strip())
    text = SCALED.sub(_scaled, MIXED.sub(r"\1\\frac{\2}{\3}", text))
    text = _as_union(text)
    return text.casefold() if WORD.fullmatch(text) else text


def _joined(text: str, pattern: re.Pattern[str], mark: str) -> str:
    """``text`` without the ``mark`` inside what ``pattern`` finds."""
    return pattern.sub(lambda match: match.group().replace(mark, ""), text) if mark in text else text


def _replaced(text: str, rules: Rules) -> str:
    for needed, pattern, replacement in rules:
        if needed in text:
            text = pattern.sub(replacement, text)
    return text


def _unmarked(text: str) -> str:
    """Without Markdown's marks around all of it."""
    match = MARKUP.fullmatch(text)
    return match["inside"].strip() if match and match["mark"] not in match["inside"] else text


def _scaled(match: re.Match[str]) -> str:
    """5 million is 5000000."""
    if match[2] not in SCALES:
        return match.group()
    number = Fraction(match[1]) * SCALES[match[2]]
    return str(number) if number.denominator == 1 else match.group()


def without_noise(first: str, second: str) -> tuple[str, str]:
    """Normalised texts with the decimals that floats missed by their last digits. Two such floats are two numbers."""
    texts = NOISY.sub(_meant, first), NOISY.sub(_meant, second)
    return (first, second) if texts[0] != first and texts[1] != second else texts


def _meant(match: re.Match[str]) -> str:
    """The short decimal that a float's arithmetic missed by its last digits; any other number is left as it is."""
    text = match.group()
    digits = text.replace(".", "").lstrip("0")
    if not MIN_FLOAT_DIGITS <= len(digits) <= MAX_FLOAT_DIGITS:
        return text
    number = Fraction(text)
    places = MAX_MEANT_DIGITS - len(digits) + len(text.partition(".")[2])
    meant = round(number * 10**places) / Fraction(10**places)
    return _decimal(meant) if abs(meant - number) <= FLOAT_NOISE * number else text


def _decimal(number: Fraction) -> str:
    """A decimal of few digits, written without an exponent."""
    text = f"{number.numerator * 10**20 // number.denominator:021}"
    return f"{text[:-20]}.{text[-20:]}".rstrip("0").rstrip(".")


def _as_union(text: str) -> str:
    """``x<1 or x>4`` as the union of its intervals."""
    if not any(sign in text for sign in ("<", ">", r"\le", r"\ge")) or len(parts := OR.split(text)) < 2:
        return text
    read = [_interval(part) for part in parts]
    letters = {letter for letter, _ in read}
    return r"\cup ".join(interval for _, interval in read) if len(letters) == 1 and "" not in letters else text


def _interval(text: str) -> tuple[str, str]:
    """An inequality's letter and interval; two empty texts for anything else."""
    if match := BETWEEN.fullmatch(text):
        opening, closing = ("(" if match[sign] == "<" else "[" for sign in ("first", "second"))
        return match["letter"], f"{opening}{match['low']},{match['high']}{')' if closing == '(' else ']'}"
    if match := BELOW.fullmatch(text):
        return match["letter"], rf"(-\infty,{match['value']}{')' if match['sign'] == '<' else ']'}"
    if match := ABOVE.fullmatch(text):
        return match["letter"], rf"{'(' if match['sign'] == '>' else '['}{match['value']},\infty)"
    return "", ""


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
