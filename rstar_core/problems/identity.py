"""Problem identity: ids are content hashes, and two texts that differ only in layout are the same problem."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_FRACTION = re.compile(r"\\[dt]?frac(?![a-z])\s*")
_SHORT_FRACTION = re.compile(r"(?<=\\frac )([0-9a-z])([0-9a-z])")
_SIGNS = str.maketrans("\u2212\u2013\u00d7\u22c5\u00f7\u2264\u2265", "--**/<>")
_PARTS = re.compile(r"\w+|(?<![a-z])-|-(?![a-z])|(?<=[\d)])!|(?<=\b[a-z])!|[+*/^<>=|]")
_LOOKS = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![a-z])")


def problem_id(text: str) -> str:
    """Stable id of a problem: the first 16 hex digits of the sha256 of its exact text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def normalised(text: str) -> str:
    """The text as a duplicate check sees it: NFKC, case-folded, words, numbers and signs of arithmetic, single spaces.

    LaTeX commands that only change how a text looks do not count, nor do hyphens and exclamations.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_SIGNS)
    plain = _LOOKS.sub("", _SHORT_FRACTION.sub(r"\1 \2", _FRACTION.sub(r"\\frac ", folded)))
    return " ".join(_PARTS.findall(plain))
