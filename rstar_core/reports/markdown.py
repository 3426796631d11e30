"""Markdown for people, from text that nobody vouches for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BETWEEN_CELLS = re.compile(r"(?<!\\)\|")


def aligned(table: Iterable[Sequence[object]]) -> str:
    """A table whose columns line up in a terminal: header first, numbers to the right, the first column to the left."""
    columns = [_column(place, column) for place, column in enumerate(zip(*table, strict=True))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in zip(*columns, strict=True))


def fitted(text: str, width: float) -> str:
    """``text`` in which tables wider than ``width`` characters have rows for columns."""
    return "\n\n".join(_fitted(block, width) for block in text.strip().split("\n\n"))


def _fitted(block: str, width: float) -> str:
    lines = block.splitlines()
    if not block.startswith("|") or max(map(len, lines)) <= width:
        return block
    rows = [[_plain(one) for one in _BETWEEN_CELLS.split(line)[1:-1]] for line in lines]
    return aligned(zip(*(rows[:1] + rows[2:]), strict=True))  # without the line below the header


def _plain(text: str) -> str:
    """What ``cell`` has made this text of."""
    return text.strip().replace("\\|", "|").replace("&lt;", "<")


def _column(place: int, values: Sequence[object]) -> list[str]:
    header, *cells = map(cell, values)
    width = max(3, len(header), *map(len, cells), 0)
    is_number = (place > 0 and any(map(str.isdigit, "".join(cells)))) or cells == ["–"] * len(cells)
    if place == 0 or not is_number:
        return [header.ljust(width), "-" * width, *(one.ljust(width) for one in cells)]
    return [header.rjust(width), "-" * (width - 1) + ":", *(one.rjust(width) for one in cells)]


def cell(value: object) -> str:
    """Text that can neither end its cell nor become HTML."""
    text = " ".join(str(value).split())
    return text.replace("|", "\\|").replace("<", "&lt;")


def fenced(text: str) -> str:
    """A block that nothing in ``text`` can end."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"
