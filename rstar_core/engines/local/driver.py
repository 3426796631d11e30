"""From many concurrent callers to batches on one worker thread, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


class Driver(Generic[Work, Result]):
    """Callers hand in work and wait; rounds of ``advance`` run on ``worker`` for as long as there is any.

    ``take`` says how much of what waits joins the next round. ``advance`` is given that much, and returns what has
    been finished by now: it may keep work for a later round, and says by ``has_more`` that it does.
    """

    def __init__(
        self,
        worker: Executor,
        take: Callable[[Sequence[Work]], int],
        advance: Callable[[Sequence[tuple[Hashable, Work]]], Iterable[tuple[Hashable, Result]]],
        has_more: Callable[[], bool],
    ) -> None:
        self._worker = worker
        self._take = take
        self._advance = advance
        self._has_more = has_more
        self._next_key = 0
        self._waiting: list[tuple[Hashable, Work]] = []
        self._results: dict[Hashable, asyncio.Future[Result]] = {}
        self._running: asyncio.Task[None] | None = None

    async def result(self, work: Work) -> Result:
        """What becomes of ``work``."""
        self._next_key += 1
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._results[self._next_key] = future
        self._waiting.append((self._next_key, work))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        await asyncio.sleep(0)  # whoever is ready to call may still join the first round
        try:
            while self._waiting or self._has_more():
                await self._round()
        except Exception as error:  # every caller waits for this task, so each is told
            for future in self._results.values():
                if not future.done():
                    future.set_exception(error)
            self._waiting, self._results = [], {}  # nobody waits for these any more

    async def _round(self) -> None:
        number = self._take([work for _, work in self._waiting])
        joining, self._waiting = self._waiting[:number], self._waiting[number:]
        finished = await asyncio.get_running_loop().run_in_executor(self._worker, self._advance, joining)
        for key, result in finished:
            future = self._results.pop(key)
            if not future.done():  # a caller may have been cancelled
                future.set_result(result)
