"""The graders' own sandbox, in which math-verify runs: started when it is first asked, with its own limits.

A warm process has compared all kinds of answers and takes hundredths of a second for one more; to make one takes
seconds. Where a handful of answers is hard, each is compared in a process that has only loaded the library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rstar_core.answers.in_sandbox import WARM_UP
from rstar_core.config import SandboxLimits
from rstar_core.errors import UserError
from rstar_core.machine import variables
from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.container import ContainerSandbox
from rstar_core.sandbox.load import open_sandbox
from rstar_core.sandbox.snapshots import SnapshotBudget
from rstar_core.sandbox.tiers import TieredSandbox

# Processor time decides, so that a verdict depends little on what else the machine does; the wall clock only ends
# what hangs without working.
LIMITS = SandboxLimits(wall_seconds=120.0, cpu_seconds=4, memory_mib=512, max_output_chars=200)
# Processes that have loaded the library, or are warm, are kept; a comparison is not gone on from.
BUDGET = SnapshotBudget(max_count=4, max_mib=1024, min_cpu_seconds=0.3)
NUM_COLD = 32  # comparisons: as many take about as long as it takes to be warm
ENDED_BY_A_LIMIT = (Status.TIMEOUT, Status.OOM, Status.KILLED)


class GraderSandbox:
    """``rstar_core.sandbox.base.Sandbox`` as an async context manager; nothing starts before the first run."""

    def __init__(self) -> None:
        self._box: TieredSandbox | ContainerSandbox | None = None
        self._starting = asyncio.Lock()
        self._num_asked = 0
        self._is_warm = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._box:
            await self._box.__aexit__(kind, error, trace)

    @property
    def level(self) -> str:
        """See ``Sandbox.level``; empty before the first run."""
        return self._box.level if self._box else ""

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        """See ``Sandbox.run``. The outcome is a warm process's: what a cold one has no time for is asked again."""
        self._num_asked += 1
        box = await self._opened()
        if not _has_snapshots(box):
            return await box.run(parents, code)
        if self._num_asked <= NUM_COLD:
            outcome = await box.run(parents, code)
            if outcome.status not in ENDED_BY_A_LIMIT:
                return outcome
        await self._warm(box)
        return await box.run(WARM_UP, code)

    async def _opened(self) -> TieredSandbox | ContainerSandbox:
        async with self._starting:
            if self._box is None:
                self._box = await open_sandbox(LIMITS, (variables.SANDBOX_SERVERS.get() + 1) // 2, BUDGET).__aenter__()
                if _has_snapshots(self._box):
                    await _begin(self._box, WARM_UP[:1])
            return self._box

    async def _warm(self, box: TieredSandbox | ContainerSandbox) -> None:
        async with self._starting:
            if not self._is_warm:
                await _begin(box, WARM_UP)
                self._is_warm = True


async def _begin(box: TieredSandbox | ContainerSandbox, steps: Sequence[str]) -> None:
    """Run what comparisons begin with; what has run it is there from now on.

    Raises:
        UserError: it does not run, so that every comparison would be undecided.
    """
    begun = await box.run(steps[:-1], steps[-1])
    if begun.status is not Status.OK:
        raise UserError(
            f"the grader of answers does not start: {begun.error or begun.status}; is this machine overloaded?"
        )


def _has_snapshots(box: TieredSandbox | ContainerSandbox) -> bool:
    return "snapshots" in box.level.split("+")
