"""Problem identity: ids are content hashes, and two texts that differ only in layout are the same problem."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_FRACTION = re.compile(r"\\[dt]frac(?![a-z])")
_LOOKS = re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![a-z])")


def problem_id(text: str) -> str:
    """Stable id of a problem: the first 16 hex digits of the sha256 of its exact text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def normalised(text: str) -> str:
    """The text as a duplicate check sees it: NFKC, case-folded, letters and digits only, single spaces.

    LaTeX commands that only change how a text looks do not count.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    plain = _LOOKS.sub("", _FRACTION.sub(r"\\frac", folded))
    return " ".join(re.findall(r"\w+", plain))
