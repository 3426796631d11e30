"""One live child for each problem, for the plain steps of it: a step costs a message in place of a process."""

from __future__ import annotations

import asyncio
import resource
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rstar_core.sandbox.base import Outcome
from rstar_core.sandbox.process import Child, Lost

MAX_RUNNERS = 512  # each holds a megabyte or so of its own
_DESCRIPTORS = 2  # that a child takes here


@dataclass(frozen=True, slots=True)
class Runner:
    """A child of its own, which runs one step at a time."""

    child: Child
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, parents: Sequence[str], code: str) -> Outcome | None:
        """The outcome of a plain step; None where it is not plain.

        Raises:
            Lost: the runner is of no more use, and the step is to be run elsewhere.
        """
        async with self.turn:
            if self.child.is_gone:
                raise Lost
            return await self.child.run_plain(parents, code)


class Runners:
    """Least recently used first. Results never depend on what is here."""

    def __init__(self) -> None:
        self._live: OrderedDict[str, Runner] = OrderedDict()
        self._max_count = min(MAX_RUNNERS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // (4 * _DESCRIPTORS))

    def __len__(self) -> int:
        return len(self._live)

    def find(self, problem_id: str) -> Runner | None:
        """The live runner of the problem, if there is one."""
        runner = self._live.get(problem_id)
        if runner is None:
            return None
        if runner.child.is_gone:
            self.drop(problem_id)
            return None
        self._live.move_to_end(problem_id)
        return runner

    def keep(self, problem_id: str, child: Child) -> Runner:
        """Make ``child`` the problem's runner."""
        runner = self._live[problem_id] = Runner(child)
        for other in list(self._live)[: max(len(self._live) - self._max_count, 0)]:
            if not self._live[other].turn.locked():
                self.drop(other)
        return runner

    def drop(self, problem_id: str) -> None:
        """End the problem's runner; what it had not answered is lost."""
        if runner := self._live.pop(problem_id, None):
            runner.child.kill()

    def clear(self) -> None:
        for problem_id in list(self._live):
            self.drop(problem_id)
