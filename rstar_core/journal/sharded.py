"""Work on many items, a shard of them at a time: what a killed stage has finished of it is not done again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

from rstar_core.journal import Journal

Item = TypeVar("Item")


async def by_shard(
    journal: Journal, items: Iterable[Item], size: int, work: Callable[[Sequence[Item]], Awaitable[list[Any]]]
) -> AsyncIterator[tuple[Item, Any]]:
    """Each item with what ``work`` makes of it (plain JSON), in order; ``work`` gets up to ``size`` items at a time.

    The journal must be named after the items. What ``work`` makes comes back from the journal in the first run too,
    so a run that was interrupted can't differ.
    """
    left, start = iter(items), 0
    while shard := list(islice(left, size)):
        key = f"shard {start}"
        start += size
        if key not in journal:
            journal.append(key, await work(shard))
        (made,) = journal.read([key])
        for pair in zip(shard, made, strict=True):
            yield pair
