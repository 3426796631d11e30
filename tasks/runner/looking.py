"""A second look by the nodes of a Ray cluster: whatever core is free gets a shard of problems."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from rstar_core.config import SandboxLimits, Verify
from rstar_core.curation.second_look import Claimed, SecondLook, open_looker
from rstar_core.machine.variables import SANDBOX_SERVERS
from tasks.runner.cluster import Spread, spread


@asynccontextmanager
async def on_nodes(limits: SandboxLimits, section: Verify) -> AsyncIterator[DistantLooker]:
    """The cluster's looker; programs have ``limits``.

    Raises:
        UserError: see ``cluster.spread``.
    """
    with spread(_look) as nodes:
        yield DistantLooker(nodes, limits, section)


@dataclass(slots=True)
class DistantLooker:
    """Implements ``second_look.Looker``."""

    nodes: Spread
    limits: SandboxLimits
    section: Verify
    level: str = ""

    @property
    def num_at_once(self) -> int:
        """One shard at work for each core, and one on its way."""
        return max(2 * self.nodes.num_cores, 1)

    async def look(self, shard: Sequence[Claimed]) -> list[dict[str, Any]]:
        self.level, rows = await self.nodes.call(list(shard), self.limits, self.section)
        return list(rows)


# --- on a node ------------------------------------------------------------------------------------------------


class _Open(NamedTuple):
    """A looker that is open as long as its process lives. Without ``stack`` it would be closed as nobody's."""

    runner: asyncio.Runner
    stack: AsyncExitStack
    looker: SecondLook


@cache
def _opened(limits: SandboxLimits, section: Verify) -> _Open:
    os.environ[SANDBOX_SERVERS.name] = "1"  # Ray gives this process one core
    runner, stack = asyncio.Runner(), AsyncExitStack()
    return _Open(runner, stack, runner.run(stack.enter_async_context(open_looker(limits, section))))


def _look(shard: Sequence[Claimed], limits: SandboxLimits, section: Verify) -> tuple[str, list[dict[str, Any]]]:
    its = _opened(limits, section)
    return its.looker.level, its.runner.run(its.looker.look(shard))
