"""What ran once is not run again, and what the machine may have ended is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rstar_core.sandbox import memo
from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.memo import RememberingSandbox


class Counting:
    level = "toy"

    def __init__(self, status: Status = Status.OK) -> None:
        self.status = status
        self.runs: list[tuple[str, ...]] = []

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        self.runs.append((*parents, code))
        number = len(self.runs)
        await asyncio.sleep(0)
        return Outcome(self.status, str(number), "", 0.0, 0.0)


def run_all(box: RememberingSandbox, *runs: tuple[list[str], str]) -> list[str]:
    async def work() -> list[Outcome]:
        return await asyncio.gather(*(box.run(*run) for run in runs))

    return [outcome.stdout for outcome in asyncio.run(work())]


@pytest.mark.parametrize("status", [Status.OK, Status.ERROR])
def test_equal_runs_share_one_process_also_at_the_same_time(status: Status) -> None:
    box = Counting(status)
    assert run_all(RememberingSandbox(box), (["a"], "b"), (["a"], "b"), (["a"], "c"), ([], "b")) == ["1", "1", "2", "3"]
    assert len(box.runs) == 3


@pytest.mark.parametrize("status", [Status.TIMEOUT, Status.KILLED, Status.OOM, Status.PROTOCOL])
def test_what_the_machine_may_have_ended_is_tried_again(status: Status) -> None:
    async def twice() -> int:
        box = Counting(status)
        remembering = RememberingSandbox(box)
        await remembering.run([], "a")
        await remembering.run([], "a")
        return len(box.runs)

    assert asyncio.run(twice()) == 2


def test_only_the_latest_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "MAX_OUTCOMES", 2)

    async def work() -> list[tuple[str, ...]]:
        box = Counting()
        remembering = RememberingSandbox(box)
        for code in "abacb":  # a is younger than b when c comes
            await remembering.run([], code)
        return box.runs

    assert asyncio.run(work()) == [("a",), ("b",), ("c",), ("b",)]
