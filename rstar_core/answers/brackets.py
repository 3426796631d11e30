r"""Lists, tuples, sets and intervals of exact numbers, read from normalised text: each kind is compared as itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rstar_core.answers.exact import Base, as_form, letters
from rstar_core.answers.rational import as_rational

MAX_CHARS = 400
LIST = "list"
SET = r"\{\}"
UNION = r"\cup"
INFINITIES = {r"\infty": "+oo", r"+\infty": "+oo", r"-\infty": "-oo"}
BRACKET = re.compile(r"[(){}\[\],]")

Number = frozenset[tuple[Base, Fraction]]


@dataclass(frozen=True, slots=True)
class Collection:
    """``kind`` is the pair of brackets, ``UNION`` for several intervals, or ``LIST`` for none.

    ``is_closed``: no letter stands in it.
    """

    kind: str
    items: tuple[Number | Collection | str, ...]
    is_closed: bool

    @property
    def has_order(self) -> bool:
        return self.kind not in (LIST, SET, UNION)

    @property
    def is_pair(self) -> bool:
        """In brackets: an interval, or a point of the plane."""
        return self.has_order and self.is_closed and len(self.items) == 2

    @property
    def is_many(self) -> bool:
        """Two different numbers at least, so that it is no single one."""
        return self.is_closed and len(set(self.items)) > 1

    @property
    def is_plain(self) -> bool:
        """No item twice."""
        return len(set(self.items)) == len(self.items)


def as_collection(text: str) -> Collection | None:
    """None for anything else, also where an item is no number and no polynomial."""
    if len(text) > MAX_CHARS:
        return None
    kind, inside = _opened(text)
    if kind == SET and not inside:
        return Collection(SET, (), is_closed=True)
    parts = _split(inside)
    if UNION in text:
        kind, parts = UNION, text.split(UNION)
        if not all(part[:1] in ("(", "[") for part in parts):
            return None
    if parts is None or (len(parts) < 2 and kind != SET) or (kind in ("[)", "(]") and len(parts) != 2):
        return None
    read = [_item(part) for part in parts]
    items = tuple(item for item, _ in read if item is not None)
    return Collection(kind, items, all(is_closed for _, is_closed in read)) if len(items) == len(parts) else None


def _opened(text: str) -> tuple[str, str]:
    """The kind, and what is inside. ``(1,2),(3,4)`` is a list."""
    if text.startswith(r"\{") and text.endswith(r"\}") and r"\}" not in text[2:-2]:
        return SET, text[2:-2]
    if len(text) > 1 and text[0] in "([" and text[-1] in ")]" and _is_one_pair(text):
        return text[0] + text[-1], text[1:-1]
    return LIST, text


def _is_one_pair(text: str) -> bool:
    depth = 0
    for bracket in BRACKET.finditer(text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(bracket.group(), 0)
        if depth == 0:
            return bracket.end() == len(text)
    return False


def _split(text: str) -> list[str] | None:
    """At the commas outside brackets; None where brackets do not match."""
    parts, start, depth = [], 0, 0
    for mark in BRACKET.finditer(text):
        if mark.group() == "," and depth == 0:
            parts.append(text[start : mark.start()])
            start = mark.end()
        depth += 1 if mark.group() in "([{" else -1 if mark.group() in ")]}" else 0
        if depth < 0:
            return None
    return [*parts, text[start:]] if depth == 0 else None


def _item(text: str) -> tuple[Number | Collection | str | None, bool]:
    """An item, and whether no letter stands in it."""
    if text in INFINITIES:
        return INFINITIES[text], True
    if text[:1] in ("(", "["):
        inner = as_collection(text)
        if inner and inner.kind != LIST:
            return inner, inner.is_closed
    number = as_rational(text)  # reads mixed numbers, which a form leaves open
    if number is not None:
        return frozenset({((1, 0, ()), number)} if number else ()), True
    form = as_form(text)
    return (None, False) if form is None else (frozenset(form.items()), not letters(form))
