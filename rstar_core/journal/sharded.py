"""Work on many items, a shard of them at a time: what a killed stage has finished of it is not done again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from rstar_core.journal import Journal

Item = TypeVar("Item")
Work = Callable[[Sequence[Item]], Awaitable[list[Any]]]


async def by_shard(
    journal: Journal, items: Iterable[Item], size: int, work: Work[Item], num_at_once: Callable[[], int] = lambda: 1
) -> AsyncIterator[tuple[Item, Any]]:
    """Each item with what ``work`` makes of it (plain JSON), in order; ``work`` gets up to ``size`` items at a time,
    and is at ``num_at_once`` shards together.

    The journal must be named after the items. What ``work`` makes comes back from the journal in the first run too,
    so a run that was interrupted can't differ.
    """
    begun: deque[asyncio.Task[list[tuple[Item, Any]]]] = deque()
    try:
        for number, shard in enumerate(_shards(items, size)):
            making = _made(journal, f"shard {number * size}", shard, work)
            if num_at_once() == 1 and not begun:  # no task: an interrupt is to end us, not it
                for pair in await making:
                    yield pair
                continue
            begun.append(asyncio.create_task(making))
            while len(begun) >= num_at_once():
                for pair in await begun.popleft():
                    yield pair
        while begun:
            for pair in await begun.popleft():
                yield pair
    finally:
        for task in begun:
            task.cancel()


def _shards(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    left = iter(items)
    while shard := list(islice(left, size)):
        yield shard


async def _made(journal: Journal, key: str, shard: Sequence[Item], work: Work[Item]) -> list[tuple[Item, Any]]:
    if key not in journal:
        journal.append(key, await work(shard))
    (made,) = journal.read([key])
    return list(zip(shard, made, strict=True))
