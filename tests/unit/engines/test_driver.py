"""Many callers, one worker thread: who joins which round, and whom a cancelled or failed one disturbs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import Executor
from typing import Any

import pytest

from rstar_core.engines.local.driver import Driver


class Kitchen:
    """A driver's other half: ``rounds`` are what each round was given. ``gate`` holds a round while it is cleared."""

    def __init__(self, worker: Executor, at_once: int = 99) -> None:
        self.rounds: list[list[str]] = []
        self.kept: list[tuple[Hashable, str]] = []
        self.at_once = at_once
        self.gate = threading.Event()
        self.gate.set()
        self.driver: Driver[str, str] = Driver(worker, self.take, self.advance, lambda: bool(self.kept))

    def take(self, waiting: Sequence[str]) -> int:
        return min(len(waiting), self.at_once)

    def advance(self, joining: Sequence[tuple[Hashable, str]]) -> list[tuple[Hashable, str]]:
        """Slow work is finished in the round after; what is bad fails the round."""
        self.rounds.append([work for _, work in joining])
        assert self.gate.wait(10)
        if any(work == "bad" for _, work in joining):
            raise ZeroDivisionError
        finished = self.kept + [(key, work) for key, work in joining if work != "slow"]
        self.kept = [(key, work) for key, work in joining if work == "slow"]
        return [(key, work.upper()) for key, work in finished]


@pytest.fixture
def kitchen(worker: Executor) -> Kitchen:
    return Kitchen(worker)


async def started(kitchen: Kitchen, *works: str) -> list[asyncio.Task[str]]:
    """The callers of ``works``, waiting in a round that the gate holds."""
    kitchen.gate.clear()
    tasks = [asyncio.create_task(kitchen.driver.result(work)) for work in works]
    while not kitchen.rounds:
        await asyncio.sleep(0.001)
    return tasks


def test_those_who_are_ready_share_the_first_round(kitchen: Kitchen) -> None:
    async def work() -> list[str]:
        return await asyncio.gather(*map(kitchen.driver.result, "abc"))

    assert asyncio.run(work()) == ["A", "B", "C"]
    assert kitchen.rounds == [["a", "b", "c"]]


def test_who_is_a_turn_late_still_joins_the_first_round(kitchen: Kitchen) -> None:
    async def late() -> str:
        await asyncio.sleep(0)
        return await kitchen.driver.result("b")

    async def work() -> list[str]:
        return await asyncio.gather(kitchen.driver.result("a"), late())

    assert asyncio.run(work()) == ["A", "B"]
    assert kitchen.rounds == [["a", "b"]]


def test_who_comes_while_a_round_runs_joins_the_next(kitchen: Kitchen) -> None:
    async def work() -> list[str]:
        first = await started(kitchen, "a")
        later = [asyncio.create_task(kitchen.driver.result(work)) for work in "bc"]
        await asyncio.sleep(0)
        kitchen.gate.set()
        return await asyncio.gather(*first, *later)

    assert asyncio.run(work()) == ["A", "B", "C"]
    assert kitchen.rounds == [["a"], ["b", "c"]]


def test_who_does_not_fit_waits_in_turn(worker: Executor) -> None:
    kitchen = Kitchen(worker, at_once=2)

    async def work() -> list[str]:
        return await asyncio.gather(*map(kitchen.driver.result, "abcde"))

    assert asyncio.run(work()) == list("ABCDE")
    assert kitchen.rounds == [["a", "b"], ["c", "d"], ["e"]]


def test_unfinished_work_gets_more_rounds_with_nobody_new(kitchen: Kitchen) -> None:
    assert asyncio.run(kitchen.driver.result("slow")) == "SLOW"
    assert kitchen.rounds == [["slow"], []]


def test_a_finished_driver_starts_again(kitchen: Kitchen) -> None:
    assert [asyncio.run(kitchen.driver.result(work)) for work in "ab"] == ["A", "B"]


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_cancelled_caller_disturbs_nobody(worker: Executor, is_taken: bool) -> None:
    kitchen = Kitchen(worker, at_once=2 if is_taken else 1)

    async def work() -> list[Any]:
        tasks = await started(kitchen, "a", "b", "c")
        tasks[1].cancel()
        await asyncio.sleep(0)
        kitchen.gate.set()
        return [*await asyncio.gather(*tasks, return_exceptions=True), await kitchen.driver.result("d")]

    first, cancelled, *others = asyncio.run(work())
    assert (first, *others) == ("A", "C", "D")
    assert isinstance(cancelled, asyncio.CancelledError)


def test_a_failed_round_is_told_to_all_who_wait_and_to_nobody_later(worker: Executor) -> None:
    kitchen = Kitchen(worker, at_once=2)

    async def work() -> tuple[list[Any], str]:
        failed = await asyncio.gather(*map(kitchen.driver.result, ("a", "bad", "c")), return_exceptions=True)
        return failed, await kitchen.driver.result("d")

    failed, later = asyncio.run(work())
    assert [type(one) for one in failed] == [ZeroDivisionError] * 3
    assert later == "D"
    assert kitchen.rounds == [["a", "bad"], ["d"]]
