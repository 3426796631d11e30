"""ForkSandbox: many runs at once, each in a process forked from a warm, isolated server or from its parent's state."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from rstar_core.config import SandboxLimits
from rstar_core.errors import UserError
from rstar_core.machine import variables
from rstar_core.sandbox.base import Outcome, Status
from rstar_core.sandbox.level import check_level, describe, say_once
from rstar_core.sandbox.process import Child, Lost
from rstar_core.sandbox.runners import Runner, Runners
from rstar_core.sandbox.server import LIBRARIES, ForkServer, ServerDied
from rstar_core.sandbox.snapshots import SnapshotBudget, Snapshots

CHILDREN_PER_SERVER = 2  # one runs while the other starts or ends
ATTEMPTS = 2  # a run whose server died under it is tried once more


class ForkSandbox:
    """The sandbox as an async context manager; it implements ``rstar_core.sandbox.base.Sandbox``.

    Runs beyond ``CHILDREN_PER_SERVER`` for each server wait for their turn; the wall clock starts with the child.
    ``layers`` names the isolation that the kernel granted; ``libraries`` are loaded before the first run.
    """

    def __init__(
        self,
        limits: SandboxLimits,
        num_servers: int | None = None,
        budget: SnapshotBudget | None = None,
        libraries: Sequence[str] = LIBRARIES,
    ) -> None:
        self._limits = limits
        self._libraries = libraries
        self._budget = budget or SnapshotBudget.from_environment()
        self._num_servers = num_servers or variables.SANDBOX_SERVERS.get()

    async def __aenter__(self) -> Self:
        self._restarts = [asyncio.Lock() for _ in range(self._num_servers)]
        self._slots = asyncio.Semaphore(self._num_servers * CHILDREN_PER_SERVER)
        self._turns = itertools.count()
        self._snapshots = Snapshots(self._budget)
        self._runners = Runners()
        self._servers = await _start_all(self._limits, self._num_servers, self._libraries)
        try:
            check_level(self.layers)
        except UserError:
            await self.__aexit__(None, None, None)
            raise
        say_once(self.description)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._snapshots.clear()
        self._runners.clear()
        await asyncio.gather(*(server.stop() for server in self._servers))

    @property
    def layers(self) -> tuple[str, ...]:
        return self._servers[0].layers

    @property
    def description(self) -> str:
        """The level in words, with what is missing."""
        return describe(self.layers)

    @property
    def level(self) -> str:
        """The layers in one line, as results are stored with it."""
        return "+".join(self.layers) or "none"

    @property
    def num_snapshots(self) -> int:
        return len(self._snapshots)

    @property
    def server_pids(self) -> tuple[int, ...]:
        return tuple(server.pid for server in self._servers)

    async def run(self, parents: Sequence[str], code: str, problem_id: str = "") -> Outcome:
        """See ``Sandbox.run``. An error in ``parents`` is reported as ``prefix: Type: message``."""
        if problem_id:
            outcome = await self._run_plain(problem_id, parents, code)
            if outcome is not None:
                return outcome
        async with self._slots:
            for _ in range(ATTEMPTS):
                try:
                    return await self._attempt(tuple(parents), code)
                except ServerDied:
                    continue
        return Outcome(Status.KILLED, "", "its process was lost, twice", 0.0, 0.0)

    async def _run_plain(self, problem_id: str, parents: Sequence[str], code: str) -> Outcome | None:
        """The outcome of a plain step in the problem's own process; None: run it the general way."""
        async with self._slots:
            try:
                return await (await self._runner(problem_id)).run(parents, code)
            except (Lost, ServerDied):
                self._runners.drop(problem_id)
                return None

    async def _runner(self, problem_id: str) -> Runner:
        if runner := self._runners.find(problem_id):
            return runner
        server = await self._live_server(next(self._turns) % self._num_servers)
        child = await server.spawn()
        if runner := self._runners.find(problem_id):  # another step of the problem has started one meanwhile
            child.kill()
            return runner
        return self._runners.keep(problem_id, child)

    async def _attempt(self, parents: tuple[str, ...], code: str) -> Outcome:
        """Run the step after those of its ancestors that no snapshot has run already."""
        server, child, length = await self._start(parents)
        is_kept = False
        try:
            place, outcome = await child.run([*parents[length:], code])
            if outcome.status is Status.OK and "snapshots" in self.layers:
                is_kept = self._snapshots.keep((*parents, code), server, child)
                child.signal(signal.SIGSTOP)
        finally:
            if not is_kept:
                child.kill()
        if not is_kept:
            await server.reaped(child)
        if place < len(parents) - length:
            return replace(outcome, stdout="", error=f"prefix: {outcome.error}")
        return outcome

    async def _start(self, parents: tuple[str, ...]) -> tuple[ForkServer, Child, int]:
        """A child that has run the first so many of ``parents``: from the nearest snapshot that branches, or anew."""
        while snapshot := self._snapshots.nearest(parents):
            try:
                return snapshot.server, await snapshot.server.branch(snapshot.child), snapshot.length
            except Lost:
                self._snapshots.drop(parents[: snapshot.length])
        server = await self._live_server(next(self._turns) % self._num_servers)
        return server, await server.spawn(), 0

    async def _live_server(self, number: int) -> ForkServer:
        async with self._restarts[number]:
            if self._servers[number].is_dead:
                await self._servers[number].stop()
                self._servers[number] = await ForkServer.start(self._limits, self._libraries)
            return self._servers[number]


async def _start_all(limits: SandboxLimits, num_servers: int, libraries: Sequence[str]) -> list[ForkServer]:
    """All servers, or none: if one does not start, the others are stopped before its error goes on."""
    starts = (ForkServer.start(limits, libraries) for _ in range(num_servers))
    started = await asyncio.gather(*starts, return_exceptions=True)
    servers = [server for server in started if isinstance(server, ForkServer)]
    for failure in started:
        if isinstance(failure, BaseException):
            await asyncio.gather(*(server.stop() for server in servers))
            raise failure
    return servers
