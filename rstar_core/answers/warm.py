"""The graders' own sandbox, in which math-verify runs: started when it is first asked, warm, with its own limits."""

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
# The warm process is kept; a comparison, whose processor time is far below, is not.
BUDGET = SnapshotBudget(max_count=4, max_mib=1024, min_cpu_seconds=0.3)


class GraderSandbox:
    """``rstar_core.sandbox.base.Sandbox`` as an async context manager; nothing starts before the first run."""

    def __init__(self) -> None:
        self._box: TieredSandbox | ContainerSandbox | None = None
        self._starting = asyncio.Lock()

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
        """See ``Sandbox.run``. Where a paused process can be gone on from, it has seen all kinds of answers."""
        async with self._starting:
            if self._box is None:
                self._box = await _started()
        return await self._box.run(WARM_UP if _has_snapshots(self._box) else parents, code)


async def _started() -> TieredSandbox | ContainerSandbox:
    box = await open_sandbox(LIMITS, (variables.SANDBOX_SERVERS.get() + 1) // 2, BUDGET).__aenter__()
    if not _has_snapshots(box):
        return box
    warm = await box.run(WARM_UP[:-1], WARM_UP[-1])
    if warm.status is not Status.OK:
        await box.__aexit__(None, None, None)
        raise UserError(
            f"the grader of answers does not start: {warm.error or warm.status}; is this machine overloaded?"
        )
    return box


def _has_snapshots(box: TieredSandbox | ContainerSandbox) -> bool:
    return "snapshots" in box.level.split("+")
