"""A sandbox for synchronous tests: one event loop kept open over many calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rstar_core.config import SandboxLimits
from rstar_core.sandbox.base import Outcome
from rstar_core.sandbox.broker import ForkSandbox
from rstar_core.sandbox.snapshots import SnapshotBudget

CASES = Path(__file__).parents[4] / "shared" / "cases"
LIMITS = SandboxLimits(wall_seconds=2.0, cpu_seconds=1, memory_mib=256, max_output_chars=200)
NO_SNAPSHOTS = SnapshotBudget(0, 0)
EVERY_SNAPSHOT = SnapshotBudget(128, 1024, 0)


class Shell:
    def __init__(self, runner: asyncio.Runner, sandbox: ForkSandbox) -> None:
        self.runner = runner
        self.sandbox = sandbox

    def run(self, code: str, *parents: str) -> Outcome:
        return self.runner.run(self.sandbox.run(parents, code))

    def run_all(self, codes: list[str]) -> list[Outcome]:
        return self.run_steps([[code] for code in codes])

    def run_steps(self, paths: Sequence[Sequence[str]]) -> list[Outcome]:
        """The last step of each path, all at once."""

        async def gather() -> list[Outcome]:
            return await asyncio.gather(*(self.sandbox.run(path[:-1], path[-1]) for path in paths))

        return self.runner.run(gather())


@contextmanager
def open_shell(
    limits: SandboxLimits = LIMITS,
    num_servers: int = 2,
    budget: SnapshotBudget = NO_SNAPSHOTS,
    libraries: Sequence[str] = (),
) -> Iterator[Shell]:
    """``libraries`` are those that the servers load first: most of a start."""
    with asyncio.Runner() as runner:
        sandbox = ForkSandbox(limits, num_servers, budget, libraries)
        runner.run(sandbox.__aenter__())
        try:
            yield Shell(runner, sandbox)
        finally:
            runner.run(sandbox.__aexit__(None, None, None))


def comes_true(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def descendants(pid: int) -> set[int]:
    """``pid`` and every process below it that is not a zombie."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
    found = {pid} & parents.keys()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found
